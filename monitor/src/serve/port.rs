//! A TCP port that others than root can reach: connections are few, short, and make way for later ones, so that whoever connects can
//! neither use up memory and descriptors nor keep others out.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{AbortHandle, AbortRegistration, Abortable};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt},
};
use tokio::net::TcpStream;

/// Connections at a time. One more ends the earliest of the address that has most.
const MOST: usize = 128;
/// Connections of one address at a time. One more ends the earliest of them. Behind an address there may be a node with all that runs
/// there.
const MOST_OF_ONE: usize = 32;
/// How long one may take as a whole, below the 10 s that a kubelet or Prometheus waits for an answer at most.
const PATIENCE: Duration = Duration::from_secs(4);
/// Where none can be taken, for want of descriptors or memory, it is tried again after this time.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections that wait for being taken: as many as the kernel lets wait by itself (net.core.somaxconn since 5.4).
const BACKLOG: i32 = 4_096;

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
        let port = || {
            let listener = match listener(address) {
                Err(Errno::AFNOSUPPORT) if address.ip().is_unspecified() => {
                    listener((Ipv4Addr::UNSPECIFIED, address.port()).into())
                }
                other => other,
            }?;
            // Port 0 is any that is free.
            tracing::info!("listening for {purpose} on {}", listener.local_addr()?);
            Ok(Self { listener, purpose })
        };
        port().map_err(|source| ListenError {
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
        let guests = Guests::default();
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("taking {purpose}: {error}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let (guest, until_ended) = guests.add(peer.ip());
            let served = Abortable::new(serve(stream), until_ended);
            tokio::spawn(async move {
                // A client that hangs up, or asks for nothing, has nothing coming.
                let _ = tokio::time::timeout(PATIENCE, served).await;
                drop(guest);
            });
        }
    }
}

/// Listens at an address; at `[::]` for both versions of IP, whatever net.ipv6.bindv6only says.
fn listener(address: SocketAddr) -> Result<TcpListener, Errno> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    // Connections of an agent before this one may not have been forgotten yet.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Who is connected.
#[derive(Clone, Debug, Default)]
struct Guests(Arc<Mutex<Connected>>);

#[derive(Debug, Default)]
struct Connected {
    /// How many there were.
    taken: u64,
    /// By their numbers, and so the earliest first.
    all: BTreeMap<u64, (IpAddr, AbortHandle)>,
}

/// One connection.
#[derive(Debug)]
struct Guest {
    number: u64,
    guests: Guests,
}

impl Guests {
    fn connected(&self) -> MutexGuard<'_, Connected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one in, which lasts until it is ended for another. Where there are too many, another is ended for it.
    fn add(&self, address: IpAddr) -> (Guest, AbortRegistration) {
        let address = address.to_canonical();
        let mut connected = self.connected();
        let Connected { taken, all } = &mut *connected;
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for (of, _) in all.values() {
            *counts.entry(*of).or_default() += 1;
        }
        let leaves = if counts.get(&address) >= Some(&MOST_OF_ONE) {
            Some(address)
        } else if all.len() >= MOST {
            let most = counts.into_iter().max_by_key(|(_, count)| *count);
            most.map(|(address, _)| address)
        } else {
            None
        };
        let earliest = all.iter().find(|(_, (of, _))| Some(*of) == leaves);
        if let Some(number) = earliest.map(|(number, _)| *number)
            && let Some((_, handle)) = all.remove(&number)
        {
            handle.abort();
        }
        let number = *taken;
        *taken += 1;
        let (handle, until_ended) = AbortHandle::new_pair();
        all.insert(number, (address, handle));
        drop(connected);
        let guests = self.clone();
        (Guest { number, guests }, until_ended)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.connected().all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn one_more_ends_the_earliest_of_its_address_or_of_the_one_with_most() {
        let guests = Guests::default();
        let add = |address: IpAddr| guests.add(address).0;
        let ended = |guest: &Guest| !guests.connected().all.contains_key(&guest.number);
        let one = Ipv4Addr::new(192, 0, 2, 1);
        let other = add(Ipv6Addr::LOCALHOST.into());
        let of_one: Vec<Guest> = (0..MOST_OF_ONE).map(|_| add(one.into())).collect();
        assert!(!of_one.iter().any(ended));
        // The same, as a socket of both versions tells it.
        let more = add(one.to_ipv6_mapped().into());
        assert!(ended(&of_one[0]) && !of_one[1..].iter().any(ended));
        let subnet = (0..).map(|host| add(Ipv4Addr::new(198, 51, 100, host).into()));
        let room = MOST - guests.connected().all.len();
        let of_others: Vec<Guest> = subnet.take(room).collect();
        assert!(!ended(&of_one[1]));
        let last = add(Ipv4Addr::new(203, 0, 113, 1).into());
        assert!(ended(&of_one[1]) && !of_others.iter().any(ended) && !ended(&other));
        assert_eq!(guests.connected().all.len(), MOST);
        drop((other, of_one, more, of_others, last));
        assert!(guests.connected().all.is_empty());
    }

    #[tokio::test]
    async fn whoever_is_ended_for_another_is_not_served_any_more() {
        let guests = Guests::default();
        let address = Ipv4Addr::LOCALHOST.into();
        let (first, until_ended) = guests.add(address);
        let served = Abortable::new(std::future::pending::<()>(), until_ended);
        let others: Vec<_> = (0..MOST_OF_ONE).map(|_| guests.add(address)).collect();
        assert!(served.await.is_err());
        drop((first, others));
    }
}
