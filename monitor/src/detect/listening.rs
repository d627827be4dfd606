//! Whether a process listens on the network, from procfs.
//!
//! Asked on the thread that reads the kernel's rings, while the process lives. What one container can make it read is
//! limited by the second, and answers are kept for a second.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{BufRead as _, BufReader, Read as _},
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use lru::LruCache;

use crate::process::{execution::ProcessKey, procfs};

/// Most bytes read of a table of sockets.
const MAX_TABLE: u64 = 1 << 20;
/// Most descriptors of a process that are looked at; what listens is opened early and has a low number.
const MAX_DESCRIPTORS: usize = 1_024;
/// Most processes of a container that are looked at in a second.
const MAX_PROCESSES: u32 = 32;
/// Answers that are kept, and for how long.
const KEPT: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");
const KEPT_FOR: Duration = Duration::from_secs(1);
/// `TCP_LISTEN` of include/net/tcp_states.h, as /proc/net/tcp shows it.
const LISTEN: &str = "0A";

/// Looks processes up, within limits.
#[derive(Debug)]
pub struct Listening {
    known: LruCache<ProcessKey, (Instant, Option<u16>)>,
    second: Instant,
    /// Processes that were looked at in this second, by container.
    looked: HashMap<u32, u32>,
}

impl Default for Listening {
    fn default() -> Self {
        Self {
            known: LruCache::new(KEPT),
            second: Instant::now(),
            looked: HashMap::new(),
        }
    }
}

impl Listening {
    /// A TCP port that a process of the container with this slot has a listening socket for; `None` when it has none,
    /// is gone, or the container has used up its limit.
    pub fn port(&mut self, key: ProcessKey, slot: u32) -> Option<u16> {
        let now = Instant::now();
        if let Some((asked, port)) = self.known.get(&key)
            && now.duration_since(*asked) < KEPT_FOR
        {
            return *port;
        }
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.looked.clear();
        }
        let looked = self.looked.entry(slot).or_default();
        if *looked >= MAX_PROCESSES {
            return None;
        }
        *looked += 1;
        let port = port(key);
        self.known.put(key, (now, port));
        port
    }
}

/// A TCP port that a process has a listening socket for; `None` when it has none or is gone.
fn port(key: ProcessKey) -> Option<u16> {
    let sockets = sockets(key.pid)?;
    let port = ["tcp", "tcp6"]
        .iter()
        .find_map(|table| listening_port(key.pid, table, &sockets));
    // The id must still have named the same process when it was read.
    port.filter(|_| procfs::start_ticks(key.pid) == Some(key.start_ticks))
}

/// Inode numbers of the sockets that a process has open.
fn sockets(pid: u32) -> Option<HashSet<u64>> {
    let sockets: HashSet<u64> = fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .take(MAX_DESCRIPTORS)
        .flatten()
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            target
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?
                .parse()
                .ok()
        })
        .collect();
    (!sockets.is_empty()).then_some(sockets)
}

/// The port of the first listening socket in a table of the process's network namespace that is one of `sockets`.
fn listening_port(pid: u32, table: &str, sockets: &HashSet<u64>) -> Option<u16> {
    let file = fs::File::open(format!("/proc/{pid}/net/{table}")).ok()?;
    BufReader::new(file.take(MAX_TABLE))
        .lines()
        .map_while(Result::ok)
        .find_map(|line| {
            let (port, inode) = listening(&line)?;
            sockets.contains(&inode).then_some(port)
        })
}

/// Port and inode of a line of `/proc/net/tcp`, when it is that of a listening socket.
fn listening(line: &str) -> Option<(u16, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (_, port) = fields.get(1)?.rsplit_once(':')?;
    Some((
        u16::from_str_radix(port, 16).ok()?,
        fields.get(9)?.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_listening_sockets_count() {
        let listen =
            "0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1 x";
        assert_eq!(listening(listen), Some((8_080, 4_711)));
        assert_eq!(listening(&listen.replace(" 0A ", " 01 ")), None);
        assert_eq!(listening("sl local_address"), None);
    }

    #[test]
    fn this_process_listens_while_it_does() {
        let pid = std::process::id();
        let key = ProcessKey {
            pid,
            start_ticks: procfs::start_ticks(pid).expect("alive"),
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        assert!(port(key).is_some());
        let other = ProcessKey {
            start_ticks: key.start_ticks + 1,
            ..key
        };
        assert_eq!(port(other), None, "another process under the same id");
        drop(listener);
    }

    #[test]
    fn one_container_can_not_use_up_anothers_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let pid = std::process::id();
        let key = ProcessKey {
            pid,
            start_ticks: procfs::start_ticks(pid).expect("alive"),
        };
        let mut listening = Listening::default();
        for number in 0..u64::from(MAX_PROCESSES) {
            let nobody = ProcessKey {
                pid: u32::MAX,
                start_ticks: number,
            };
            assert_eq!(listening.port(nobody, 1), None);
        }
        assert_eq!(listening.port(key, 1), None, "its limit is used up");
        assert!(listening.port(key, 2).is_some());
        assert!(
            listening.port(key, 1).is_some(),
            "the answer is known by now"
        );
        drop(listener);
    }
}
