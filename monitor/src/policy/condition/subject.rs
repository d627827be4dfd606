//! What conditions can ask of a process: of the one that acts, of its ancestors, of the one that something is done to.

use watchkeeper_ebpf::record::{descriptor, exec_flag, file_flag, flag};

use super::value::{Texts, Type, Value};
use crate::{
    container::{membership::Origin, model::Container},
    event::{Ancestor, Event, Target},
    process::execution::Process,
};

/// A process, with what is known of it beside what it runs.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The process.
    pub process: &'a Process,
    /// How it came into its container; `None` outside.
    pub origin: Option<Origin>,
    /// The container it is in.
    pub container: Option<&'a Container>,
    /// What detection remembers.
    pub memory: &'a dyn Memory,
}

/// What detection remembers of processes from earlier events.
pub trait Memory {
    /// A TCP port that a process of the container with this slot listens on.
    fn listening_port(&self, process: &Process, slot: u32) -> Option<u16>;

    /// Process id of the agent.
    fn agent(&self) -> u32 {
        std::process::id()
    }
}

impl std::fmt::Debug for dyn Memory + '_ {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Memory")
    }
}

impl<'a> Subject<'a> {
    /// The process of an event.
    #[must_use]
    pub fn of_event(event: &'a Event, memory: &'a dyn Memory) -> Option<Self> {
        Some(Self {
            process: event.process.as_deref()?,
            origin: event.origin,
            container: event.container().map(|container| &**container),
            memory,
        })
    }

    /// An ancestor.
    #[must_use]
    pub fn of_ancestor(ancestor: &'a Ancestor, memory: &'a dyn Memory) -> Self {
        let membership = ancestor.membership.as_ref();
        Self {
            process: &ancestor.process,
            origin: membership.map(|membership| membership.origin),
            container: membership.map(|membership| &*membership.container),
            memory,
        }
    }

    /// The process that something is done to.
    #[must_use]
    pub fn of_target(target: &'a Target, memory: &'a dyn Memory) -> Option<Self> {
        Some(Self {
            process: target.process.as_deref()?,
            origin: None,
            container: target.container(),
            memory,
        })
    }

    /// Its executable is not from the container's image: it was written since the container was created, lies on another
    /// filesystem than the container's root, is in memory only, or has no name any more.
    #[must_use]
    pub fn is_drifted(&self) -> bool {
        let Some(container) = self.container else {
            return false;
        };
        let file = &self.process.program.file;
        if file.inode == 0 {
            return false;
        }
        let written = file_flag::UPPER_LAYER | file_flag::TMPFS | file_flag::MEMFD;
        if file.flags & written != 0 || file.links == 0 {
            return true;
        }
        let root = container.root_device();
        root != 0 && file.flags & file_flag::OVERLAY == 0 && file.device != root
    }

    /// Its executable is in memory only, or has no name any more.
    #[must_use]
    pub fn is_fileless(&self) -> bool {
        let file = &self.process.program.file;
        file.inode != 0 && (file.flags & file_flag::MEMFD != 0 || file.links == 0)
    }

    /// It does not descend from the container's first process.
    #[must_use]
    pub fn is_injected(&self) -> bool {
        matches!(self.origin, Some(Origin::Injected | Origin::NamespaceEntry))
    }
}

/// One field of processes.
pub struct ProcessField {
    /// Its name, after the process's.
    pub path: &'static str,
    /// Its type.
    pub kind: Type,
    /// The values it can have; empty for any.
    pub values: &'static [&'static str],
    /// What it says.
    pub comment: &'static str,
    /// Reads it.
    pub read: for<'a> fn(&Subject<'a>) -> Value<'a>,
}

const LAYERS: &[&str] = &["", "image", "upper", "overlay-unknown", "tmpfs", "memfd"];
const ORIGINS: &[&str] = &[
    "",
    "entrypoint",
    "descendant",
    "injected",
    "namespace-entry",
    "unknown",
];
const DESCRIPTORS: &[&str] = &[
    "closed",
    "tty",
    "pipe",
    "socket",
    "inet-socket",
    "file",
    "null",
    "device",
    "other",
];
const SECCOMP: &[&str] = &["off", "strict", "filter"];

/// Which namespaces are the host's.
const HOST: &[(u32, &str)] = &[
    (flag::HOST_MNT_NS, "mnt"),
    (flag::HOST_PID_NS, "pid"),
    (flag::HOST_NET_NS, "net"),
];

fn number(number: impl Into<u64>) -> Value<'static> {
    Value::Int(i64::try_from(number.into()).unwrap_or(i64::MAX))
}

fn stdio(subject: &Subject<'_>, index: usize) -> Value<'static> {
    let kind = subject.process.program.stdio[index].kind;
    Value::Text(match kind {
        descriptor::CLOSED => "closed",
        descriptor::TTY => "tty",
        descriptor::PIPE => "pipe",
        descriptor::SOCKET => "socket",
        descriptor::INET_SOCKET => "inet-socket",
        descriptor::FILE => "file",
        descriptor::NULL => "null",
        descriptor::DEVICE => "device",
        _ => "other",
    })
}

macro_rules! process_fields {
    ($($path:literal, $kind:ident $(, $values:ident)?; $comment:literal, |$subject:ident| $read:expr;)*) => {
        /// Every field of processes.
        pub const PROCESS_FIELDS: &[ProcessField] = &[$(
            ProcessField {
                path: $path,
                kind: Type::$kind,
                values: process_fields!(@values $($values)?),
                comment: $comment,
                read: |$subject| $read,
            },
        )*];
    };
    (@values) => { &[] };
    (@values $values:ident) => { $values };
}

process_fields! {
    "exe", Text; "Path of the executable, resolved by the kernel; of a script the interpreter's.",
        |subject| Value::Text(&subject.process.program.exe);
    "name", Text; "Last component of the executable's path.",
        |subject| Value::Text(subject.process.program.name());
    "argv", Texts; "Arguments, the program's name first. Claimed: whoever starts a program chooses them.",
        |subject| Value::Texts(Texts::Arguments(&subject.process.program.argv));
    "argv_redactions", Int; "How many secrets were cut out of the arguments.",
        |subject| number(subject.process.program.redacted);
    "cwd", Text; "Working directory when the program was run.",
        |subject| Value::Text(&subject.process.program.cwd);
    "cwd_detached", Bool; "The working directory has no place in the process's directory tree: in none, or in that of another mount namespace.",
        |subject| Value::Bool(subject.process.program.flags & exec_flag::CWD_DETACHED != 0);
    "filename", Text; "The path that was given to execve(2). Claimed.",
        |subject| Value::Text(&subject.process.program.filename);
    "script", Bool; "A script was run, and not a program.",
        |subject| Value::Bool(subject.process.program.flags & exec_flag::SCRIPT != 0);
    "kernel_started", Bool; "The kernel itself started it, as a helper: its parent is a thread of the kernel.",
        |subject| Value::Bool(subject.process.program.flags & exec_flag::KERNEL_STARTED != 0);
    "pid", Int; "Process id on the host.",
        |subject| number(subject.process.key.pid);
    "pid_inside", Int; "Process id in its own pid namespace.",
        |subject| number(subject.process.inside.map_or(0, |(_, pid)| pid));
    "tty", Text; "Controlling terminal; empty for none.",
        |subject| Value::Text(&subject.process.program.tty);
    "interactive", Bool; "It has a controlling terminal, or a terminal as standard input.",
        |subject| Value::Bool(subject.process.program.is_interactive());
    "terminal_pid", Int; "Its process id where it has a terminal, else 0: to fold by, tells sessions of people apart and not what is run again and again.",
        |subject| number(if subject.process.program.is_interactive() { subject.process.key.pid } else { 0 });
    "stdin", Text, DESCRIPTORS; "What descriptor 0 was when the program was run.",
        |subject| stdio(subject, 0);
    "stdout", Text, DESCRIPTORS; "What descriptor 1 was when the program was run.",
        |subject| stdio(subject, 1);
    "stderr", Text, DESCRIPTORS; "What descriptor 2 was when the program was run.",
        |subject| stdio(subject, 2);
    "shell", Text; "What shell it is by the content of its executable (\"bash\", \"busybox sh\"); empty for none.",
        |subject| Value::Text(subject.process.program.shell().map_or("", |shell| &shell.family));
    "miner", Text; "What miner of a currency it is by the content of its executable (\"XMRig\"); empty for none.",
        |subject| Value::Text(subject.process.program.miner().unwrap_or_default());
    "listening_port", Int; "A TCP port that it listens on; 0 for none.",
        |subject| {
            let slot = subject.container.map_or(0, |container| container.slot);
            number(subject.memory.listening_port(subject.process, slot).unwrap_or(0))
        };
    "origin", Text, ORIGINS; "How it came into its container.",
        |subject| Value::Text(match subject.origin {
            None => "",
            Some(Origin::Entrypoint) => "entrypoint",
            Some(Origin::Descendant) => "descendant",
            Some(Origin::Injected) => "injected",
            Some(Origin::NamespaceEntry) => "namespace-entry",
            Some(Origin::Unknown) => "unknown",
        });
    "injected", Bool; "It does not descend from the container's first process.",
        |subject| Value::Bool(subject.is_injected());
    "in_container", Bool; "It is in a container.",
        |subject| Value::Bool(subject.container.is_some());
    "container_id", Text; "The container it is in.",
        |subject| Value::Text(subject.container.map_or("", |container| &container.id));
    "drifted", Bool; "Its executable is not from the container's image: written later, on another filesystem than the root, in memory only, or unlinked.",
        |subject| Value::Bool(subject.is_drifted());
    "fileless", Bool; "Its executable is in memory only (memfd), or was unlinked before it ran.",
        |subject| Value::Bool(subject.is_fileless());
    "file.inode", Int; "Inode of the executable.",
        |subject| number(subject.process.program.file.inode);
    "file.layer", Text, LAYERS; "Where the executable's content lies: \"image\" is an overlay's lower layers, \"upper\" what was written since the container was created; empty for an ordinary filesystem.",
        |subject| Value::Text(crate::interpret::identity::layer_name(&subject.process.program.file));
    "file.links", Int; "Names of the executable; 0 when it was unlinked.",
        |subject| number(subject.process.program.file.links);
    "file.setuid", Bool; "The executable has the setuid or setgid bit.",
        |subject| Value::Bool(subject.process.program.file.mode & 0o6000 != 0);
    "file.uid", Int; "Owner of the executable.",
        |subject| number(subject.process.program.file.uid);
    "credentials.uid", Int; "Real user id, in the initial user namespace.",
        |subject| number(subject.process.program.credentials.uid);
    "credentials.gid", Int; "Real group id.",
        |subject| number(subject.process.program.credentials.gid);
    "credentials.euid", Int; "Effective user id.",
        |subject| number(subject.process.program.credentials.euid);
    "credentials.egid", Int; "Effective group id.",
        |subject| number(subject.process.program.credentials.egid);
    "credentials.cap_effective", Texts; "Effective capabilities (\"CAP_SYS_ADMIN\").",
        |subject| Value::Texts(Texts::Capabilities(subject.process.program.credentials.cap_effective));
    "credentials.cap_permitted", Texts; "Permitted capabilities.",
        |subject| Value::Texts(Texts::Capabilities(subject.process.program.credentials.cap_permitted));
    "credentials.cap_bounding", Texts; "Capabilities that it can gain at most.",
        |subject| Value::Texts(Texts::Capabilities(subject.process.program.credentials.cap_bounding));
    "seccomp", Text, SECCOMP; "Mode of seccomp.",
        |subject| Value::Text(match subject.process.program.seccomp {
            0 => "off",
            1 => "strict",
            _ => "filter",
        });
    "no_new_privileges", Bool; "It can't gain privileges by running programs.",
        |subject| Value::Bool(subject.process.program.flags & exec_flag::NO_NEW_PRIVILEGES != 0);
    "namespaces.host", Texts; "Which of \"mnt\", \"pid\" and \"net\" are the host's.",
        |subject| Value::Texts(Texts::Bits(subject.process.program.host_namespaces, HOST));
}
