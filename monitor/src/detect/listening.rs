//! Whether a process listens on the network, or still has what came in there, from procfs.
//!
//! Asked on the thread that reads the kernel's rings, while the process lives. What one container can make it read is
//! limited by the second, and answers are kept for a second.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, BufRead as _, BufReader, Read as _},
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

/// The TCP sockets that a process has open.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    /// The port of one that listens.
    listens: Option<u16>,
    /// All ports at its own end.
    local: HashSet<u16>,
    /// Some could not be seen: there are too many, or a table can't be read.
    is_partial: bool,
}

/// Looks processes up, within limits.
#[derive(Debug)]
pub struct Listening {
    known: LruCache<ProcessKey, (Instant, Sockets)>,
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
        self.sockets(key, slot)?.listens
    }

    /// Whether a process is there that listened on a port, and has no socket of that port any more: neither one that listens nor a
    /// connection that came in there. Where that can't be told, it has not.
    pub fn has_closed(&mut self, key: ProcessKey, slot: u32, port: u16) -> bool {
        let has = |sockets: &Sockets| sockets.local.contains(&port);
        // An answer that is kept may be from before it began to listen.
        if self.kept(key).is_some_and(has) {
            return false;
        }
        self.ask(key, slot)
            .is_some_and(|sockets| !sockets.is_partial && !has(sockets))
    }

    /// `None` when the process is gone or ends, or the container has used up its limit.
    fn sockets(&mut self, key: ProcessKey, slot: u32) -> Option<&Sockets> {
        if self.kept(key).is_some() {
            return self.kept(key);
        }
        self.ask(key, slot)
    }

    fn kept(&mut self, key: ProcessKey) -> Option<&Sockets> {
        let (asked, sockets) = self.known.get(&key)?;
        (asked.elapsed() < KEPT_FOR).then_some(sockets)
    }

    fn ask(&mut self, key: ProcessKey, slot: u32) -> Option<&Sockets> {
        let now = Instant::now();
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.looked.clear();
        }
        let looked = self.looked.entry(slot).or_default();
        if *looked >= MAX_PROCESSES {
            return None;
        }
        *looked += 1;
        let sockets = look(key)?;
        self.known.put(key, (now, sockets));
        self.known.get(&key).map(|(_, sockets)| sockets)
    }
}

/// The TCP sockets of a process; `None` when it is gone or ends.
fn look(key: ProcessKey) -> Option<Sockets> {
    let inodes = inodes(key.pid)?;
    let mut found = Sockets {
        is_partial: inodes.len() >= MAX_DESCRIPTORS,
        ..Sockets::default()
    };
    let inodes: HashSet<u64> = inodes.into_iter().flatten().collect();
    if !inodes.is_empty() {
        for table in ["tcp", "tcp6"] {
            if let Err(error) = read(key.pid, table, &inodes, &mut found) {
                // A kernel without IPv6 has one table only.
                found.is_partial |= error.kind() != io::ErrorKind::NotFound;
            }
        }
    }
    // The id must still have named the same process when it was read, and one that ends seems to have no descriptors.
    procfs::is_whole(key).then_some(found)
}

/// Inode numbers of the sockets among the descriptors of a process; `None` for a descriptor of something else.
fn inodes(pid: u32) -> Option<Vec<Option<u64>>> {
    let inodes = fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .take(MAX_DESCRIPTORS)
        .flatten()
        .map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            target
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?
                .parse()
                .ok()
        })
        .collect();
    Some(inodes)
}

/// Adds the sockets of a table of the process's network namespace that are among `inodes`.
fn read(pid: u32, table: &str, inodes: &HashSet<u64>, found: &mut Sockets) -> io::Result<()> {
    let file = fs::File::open(format!("/proc/{pid}/net/{table}"))?;
    let mut table = BufReader::new(file.take(MAX_TABLE));
    for line in table.by_ref().lines() {
        let line = line?;
        if let Some((port, inode, listens)) = socket(&line)
            && inodes.contains(&inode)
        {
            found.local.insert(port);
            if listens {
                found.listens.get_or_insert(port);
            }
        }
    }
    found.is_partial |= table.into_inner().limit() == 0;
    Ok(())
}

/// Local port and inode of a line of `/proc/net/tcp`, and whether it listens.
fn socket(line: &str) -> Option<(u16, u64, bool)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, port) = fields.get(1)?.rsplit_once(':')?;
    Some((
        u16::from_str_radix(port, 16).ok()?,
        fields.get(9)?.parse().ok()?,
        *fields.get(3)? == LISTEN,
    ))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn sockets_that_listen_are_told_from_connections() {
        let listen =
            "0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1 x";
        assert_eq!(socket(listen), Some((8_080, 4_711, true)));
        let connection = listen.replace(" 0A ", " 01 ");
        assert_eq!(socket(&connection), Some((8_080, 4_711, false)));
        assert_eq!(socket("sl local_address"), None);
    }

    #[test]
    fn this_process_listens_while_it_does() {
        let pid = std::process::id();
        let key = ProcessKey {
            pid,
            start_ticks: procfs::start_ticks(pid).expect("alive"),
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("bound").port();
        assert!(look(key).is_some_and(|found| found.listens.is_some()));
        assert!(!Listening::default().has_closed(key, 1, port));
        let other = ProcessKey {
            start_ticks: key.start_ticks + 1,
            ..key
        };
        assert!(look(other).is_none(), "another process under the same id");
        assert!(!Listening::default().has_closed(other, 1, port));

        // As tools do that serve one connection only.
        let client = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        let (connection, _) = listener.accept().expect("accepted");
        drop(listener);
        assert!(!Listening::default().has_closed(key, 1, port));
        drop((connection, client));
        let mut listening = Listening::default();
        assert!(listening.has_closed(key, 1, port));

        // What was seen before it listened again says nothing of now.
        let again = TcpListener::bind(("127.0.0.1", 0)).expect("bound");
        let port = again.local_addr().expect("bound").port();
        assert!(!listening.has_closed(key, 1, port));
    }

    #[test]
    fn a_process_that_ends_has_not_closed_its_sockets_before() {
        let mut child = std::process::Command::new("true").spawn().expect("started");
        let pid = child.id();
        let key = ProcessKey {
            pid,
            start_ticks: procfs::start_ticks(pid).expect("not waited for yet"),
        };
        // It ends, and stays until it is waited for.
        while procfs::is_whole(key) {
            std::thread::yield_now();
        }
        assert_eq!(procfs::start_ticks(pid), Some(key.start_ticks));
        assert!(!Listening::default().has_closed(key, 1, 8_080));
        child.wait().expect("waited for");
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
