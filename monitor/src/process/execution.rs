//! A process and the program it runs: the facts of one exec, decoded once and shared from then on.

use std::{
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use watchkeeper_ebpf::{
    decode::ExecRecord,
    record::{
        Credentials, Descriptor, File, Fork, Header, Namespaces, ProcessId, descriptor, exec_flag,
        flag,
    },
};

use super::clock;
use crate::{kernel::paths, redact::Redactor};

/// A process by what never comes twice on a boot: its id together with its start.
///
/// The start is in clock ticks, the finest that procfs tells. The kernel hands out ids in a circle, so one
/// can't come twice within a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// Process id in the host's pid namespace.
    pub pid: u32,
    /// Start, in clock ticks since boot.
    pub start_ticks: u64,
}

impl ProcessKey {
    /// From a process id and a start in nanoseconds since boot.
    #[must_use]
    pub fn new(pid: u32, start_ns: u64) -> Self {
        Self {
            pid,
            start_ticks: start_ns / clock::NS_PER_TICK,
        }
    }
}

impl From<ProcessId> for ProcessKey {
    fn from(id: ProcessId) -> Self {
        Self::new(id.pid, id.start_ns)
    }
}

impl From<&Header> for ProcessKey {
    fn from(header: &Header) -> Self {
        Self::new(header.pid, header.start_ns)
    }
}

/// Where the facts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The kernel side saw the exec.
    Kernel,
    /// procfs, for a process that was there before the agent.
    Procfs,
    /// A process whose creation was seen: it runs what its parent ran.
    Fork,
}

/// A process, and the program it runs.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its identity.
    pub key: ProcessKey,
    /// Its parent when it ran the program.
    pub parent: Option<ProcessKey>,
    /// When it started.
    pub started: SystemTime,
    /// Its own pid namespace, and its id there; `None` where that is not known.
    pub inside: Option<(u32, u32)>,
    /// What it runs, shared with the process it was forked from.
    pub program: Arc<Execution>,
    /// Where this is known from.
    pub source: Source,
}

impl Process {
    /// From an exec record of the kernel side.
    #[must_use]
    pub fn from_record(header: &Header, record: &ExecRecord<'_>, redactor: &Redactor) -> Self {
        let parent = record.body.parent;
        Self {
            key: ProcessKey::from(header),
            parent: (parent.pid != 0).then(|| parent.into()),
            started: clock::wall(header.start_ns),
            inside: inside(
                record.body.namespaces.pid,
                record.body.namespaces.pid_inside,
            ),
            program: Arc::new(Execution::from_record(header, record, redactor)),
            source: Source::Kernel,
        }
    }

    /// Stands for a process that nothing is known of.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            key: ProcessKey {
                pid: 0,
                start_ticks: 0,
            },
            parent: None,
            started: SystemTime::UNIX_EPOCH,
            inside: None,
            program: Arc::new(Execution {
                exec_ns: 0,
                executed: None,
                exe: String::new(),
                argv: Arguments::default(),
                redacted: 0,
                cwd: String::new(),
                filename: String::new(),
                flags: 0,
                credentials: Credentials::default(),
                namespaces: Namespaces::default(),
                host_namespaces: 0,
                file: File::default(),
                seccomp: 0,
                stdio: [Descriptor::default(); 3],
                tty: String::new(),
                recognised: OnceLock::new(),
            }),
            source: Source::Kernel,
        }
    }

    /// A child that fork(2) created: it runs the same program.
    #[must_use]
    pub fn forked(&self, fork: &Fork) -> Self {
        let Fork { child, parent, .. } = *fork;
        Self {
            key: child.into(),
            parent: (parent.pid != 0).then(|| parent.into()),
            started: clock::wall(child.start_ns),
            inside: inside(fork.child_pid_ns, fork.child_pid_inside),
            program: Arc::clone(&self.program),
            source: Source::Fork,
        }
    }
}

/// A pid namespace with an id in it, where both are known.
fn inside(namespace: u32, pid: u32) -> Option<(u32, u32)> {
    (namespace != 0 && pid != 0).then_some((namespace, pid))
}

/// One execution of a program.
#[derive(Clone, Debug)]
pub struct Execution {
    /// When, in nanoseconds since boot; 0 when it is not known.
    pub exec_ns: u64,
    /// The same as wall-clock time.
    pub executed: Option<SystemTime>,
    /// Path of the executable; bytes that are not UTF-8 are replaced.
    pub exe: String,
    /// Arguments, without secrets.
    pub argv: Arguments,
    /// How many secrets were cut out of them.
    pub redacted: u32,
    /// Working directory.
    pub cwd: String,
    /// The path given to execve(2).
    pub filename: String,
    /// Bits of [`exec_flag`].
    pub flags: u32,
    /// Ids and capabilities.
    pub credentials: Credentials,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// Bits of [`flag`]: which of them are the host's.
    pub host_namespaces: u32,
    /// The executable.
    pub file: File,
    /// Mode of seccomp: 0 for off, 1 for strict, 2 for a filter.
    pub seccomp: u32,
    /// Descriptors 0, 1 and 2.
    pub stdio: [Descriptor; 3],
    /// Controlling terminal; empty for none.
    pub tty: String,
    /// What kind of program it is. Found out by detection, a moment after the exec.
    pub recognised: OnceLock<Recognised>,
}

/// What kind of program something is, by the content of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recognised {
    /// A shell.
    Shell(Shell),
    /// A program that mines a currency, of this name.
    Miner(String),
    /// Another one.
    Other,
}

/// A shell, and how it was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shell {
    /// Its family ("bash"), or the binary with its applet ("busybox sh").
    pub family: String,
    /// "content", "applet", or "name" with the reason why nothing better was to be had.
    pub recognised_by: String,
    /// What recognised it is a thing the process says of itself.
    pub claimed: bool,
}

impl Execution {
    fn from_record(header: &Header, record: &ExecRecord<'_>, redactor: &Redactor) -> Self {
        let ExecRecord {
            body,
            exe,
            cwd,
            filename,
            argv,
            loader: _,
        } = record;
        let (argv, redacted) = Arguments::without_secrets(argv, redactor);
        Self {
            exec_ns: header.time_ns,
            executed: Some(clock::wall(header.time_ns)),
            exe: paths::from_components(
                exe,
                body.flags & exec_flag::EXE_TRUNCATED != 0,
                body.flags & exec_flag::EXE_DETACHED != 0,
            ),
            argv,
            redacted,
            cwd: paths::from_components(
                cwd,
                body.flags & exec_flag::CWD_TRUNCATED != 0,
                body.flags & exec_flag::CWD_DETACHED != 0,
            ),
            filename: text(filename),
            flags: body.flags,
            credentials: body.credentials,
            namespaces: body.namespaces,
            host_namespaces: header.flags
                & (flag::HOST_MNT_NS | flag::HOST_PID_NS | flag::HOST_NET_NS),
            file: body.exe,
            seccomp: body.seccomp,
            stdio: body.stdio,
            tty: text(until_nul(&body.tty)),
            recognised: OnceLock::new(),
        }
    }

    /// What shell it is, as far as that is known.
    #[must_use]
    pub fn shell(&self) -> Option<&Shell> {
        match self.recognised.get()? {
            Recognised::Shell(shell) => Some(shell),
            Recognised::Miner(_) | Recognised::Other => None,
        }
    }

    /// What miner it is, as far as that is known.
    #[must_use]
    pub fn miner(&self) -> Option<&str> {
        match self.recognised.get()? {
            Recognised::Miner(name) => Some(name),
            Recognised::Shell(_) | Recognised::Other => None,
        }
    }

    /// Whether somebody can type: a controlling terminal, or a terminal as standard input.
    #[must_use]
    pub fn is_interactive(&self) -> bool {
        !self.tty.is_empty() || self.stdio[0].kind == descriptor::TTY
    }

    /// Last component of the executable's path.
    #[must_use]
    pub fn name(&self) -> &str {
        base_name(&self.exe)
    }

    /// About how many bytes it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + self.exe.len()
            + self.cwd.len()
            + self.filename.len()
            + self.argv.0.len()
    }
}

/// Arguments as the kernel keeps them: one after the other, each ended by NUL. Kept like that, because a few kilobytes
/// can hold thousands of empty ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments(Box<str>);

impl Arguments {
    /// From the bytes of the kernel; those that are not UTF-8 are replaced.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
        Self(String::from_utf8_lossy(bytes).into())
    }

    /// From the bytes of the kernel, with secrets cut out, and how many.
    #[must_use]
    pub fn without_secrets(bytes: &[u8], redactor: &Redactor) -> (Self, u32) {
        match redactor.argv(bytes) {
            Some(redacted) => (Self::new(&redacted.argv), redacted.count),
            None => (Self::new(bytes), 0),
        }
    }

    /// Each argument.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        // No bytes are no argument, not one that is empty.
        let mut rest = (!self.0.is_empty()).then_some(&*self.0);
        std::iter::from_fn(move || {
            let text = rest?;
            let end = memchr::memchr(0, text.as_bytes());
            rest = end.map(|end| &text[end + 1..]);
            Some(&text[..end.unwrap_or(text.len())])
        })
    }

    /// All of them, with a NUL byte between each two.
    #[must_use]
    pub fn joined(&self) -> &str {
        &self.0
    }

    /// Whether one of them is `wanted`.
    #[must_use]
    pub fn contains(&self, wanted: &str) -> bool {
        self.iter().any(|argument| argument == wanted)
    }

    /// All of them.
    #[must_use]
    pub fn to_vec(&self) -> Vec<String> {
        self.iter().map(str::to_owned).collect()
    }
}

/// What follows the last slash.
#[must_use]
pub fn base_name(path: &str) -> &str {
    memchr::memrchr(b'/', path.as_bytes()).map_or(path, |slash| &path[slash + 1..])
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A process that runs `exe` with that as its only argument.
    pub(crate) fn process(key: ProcessKey, parent: Option<ProcessKey>, exe: &str) -> Process {
        let mut process = Process {
            key,
            parent,
            ..Process::unknown()
        };
        let program = Arc::make_mut(&mut process.program);
        program.exec_ns = 1;
        program.executed = Some(SystemTime::UNIX_EPOCH);
        exe.clone_into(&mut program.exe);
        exe.clone_into(&mut program.filename);
        program.argv = Arguments::new(exe.as_bytes());
        "/".clone_into(&mut program.cwd);
        process
    }

    #[test]
    fn arguments_keep_empty_ones() {
        let arguments = |bytes| Arguments::new(bytes).to_vec();
        assert_eq!(arguments(b"sh\0-c\0\0x\0"), ["sh", "-c", "", "x"]);
        assert_eq!(arguments(b"cut"), ["cut"]);
        assert!(arguments(b"\0").is_empty());
        assert!(arguments(b"").is_empty());
        assert!(Arguments::new(b"runc\0exec\0").contains("exec"));
    }

    #[test]
    fn the_same_process_has_the_same_key_from_both_sources() {
        // 12.345678901 s after boot, which procfs shows as 1234 ticks.
        let kernel = ProcessKey::new(7, 12_345_678_901);
        let procfs = ProcessKey {
            pid: 7,
            start_ticks: 1_234,
        };
        assert_eq!(kernel, procfs);
    }
}
