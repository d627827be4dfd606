//! A TCP port that others than root can reach: whoever connects can neither use up memory and descriptors, nor keep others out for
//! long.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::io::Errno;
use tokio::{net::TcpStream, sync::Semaphore};

/// Connections at a time; more wait.
const MOST: usize = 64;
/// Connections of one address at a time; more are closed at once. Behind an address there may be a node with all that runs there.
const MOST_OF_ONE: usize = 8;
/// How long one may take as a whole, below the 10 s that a kubelet or Prometheus waits for an answer at most.
const PATIENCE: Duration = Duration::from_secs(4);

/// The address can't be listened at.
#[derive(Debug, thiserror::Error)]
#[error("listening for {purpose} on {address}: {source}")]
pub struct ListenError {
    purpose: &'static str,
    address: SocketAddr,
    source: io::Error,
}

/// A port that listens.
#[derive(Debug)]
pub struct Port {
    listener: TcpListener,
    purpose: &'static str,
}

impl Port {
    /// Listens at an address, for something that messages call by name. `[::]` is every address of both versions of IP, also where
    /// the kernel has only one.
    ///
    /// # Errors
    /// When it is taken, or none of this host.
    pub fn at(address: SocketAddr, purpose: &'static str) -> Result<Self, ListenError> {
        let listen = || {
            let listener = match TcpListener::bind(address) {
                Err(error) if is_without_ipv6(&error) && address.ip().is_unspecified() => {
                    TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port()))
                }
                other => other,
            }?;
            listener.set_nonblocking(true)?;
            // Port 0 is any that is free.
            tracing::info!("listening for {purpose} on {}", listener.local_addr()?);
            Ok(Self { listener, purpose })
        };
        listen().map_err(|source| ListenError {
            purpose,
            address,
            source,
        })
    }

    /// Has each connection served, until it is dropped.
    pub(super) async fn serve<F>(self, serve: impl Fn(TcpStream) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let purpose = self.purpose;
        let listener = match tokio::net::TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!("taking {purpose}: {error}");
                return;
            }
        };
        let room = Arc::new(Semaphore::new(MOST));
        let shares = Shares::default();
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("taking {purpose}: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            let Some(share) = shares.take(peer.ip()) else {
                tracing::debug!("taking {purpose}: {peer} has {MOST_OF_ONE} connections already");
                continue;
            };
            let served = serve(stream);
            tokio::spawn(async move {
                // A client that hangs up, or asks for nothing, has nothing coming.
                let _ = tokio::time::timeout(PATIENCE, served).await;
                drop((share, place));
            });
        }
    }
}

fn is_without_ipv6(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT)
}

/// How many connections each address has. There are no more addresses than connections.
#[derive(Clone, Debug, Default)]
struct Shares(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection of an address.
#[derive(Debug)]
struct Share {
    shares: Shares,
    address: IpAddr,
}

impl Shares {
    /// `None` where the address has its share.
    fn take(&self, address: IpAddr) -> Option<Share> {
        let address = address.to_canonical();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count == MOST_OF_ONE {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Share {
            shares: self.clone(),
            address,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let counts = self.shares.0.lock();
        let mut counts = counts.unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = counts.entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn one_address_has_its_share_and_leaves_nothing_behind() {
        let shares = Shares::default();
        let one = Ipv4Addr::new(192, 0, 2, 1);
        let mut taken: Vec<Share> = (0..MOST_OF_ONE)
            .map(|_| shares.take(one.into()).expect("there is room"))
            .collect();
        assert!(shares.take(one.into()).is_none());
        // The same, as a socket of both versions tells it.
        assert!(shares.take(one.to_ipv6_mapped().into()).is_none());
        let other = shares.take(Ipv6Addr::LOCALHOST.into());
        assert!(other.is_some());
        taken.pop();
        taken.push(shares.take(one.into()).expect("there is room again"));
        drop((taken, other));
        assert!(shares.0.lock().expect("not poisoned").is_empty());
    }
}
