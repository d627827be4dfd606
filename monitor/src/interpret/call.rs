//! System calls of the table: what was asked for and what came of it.

use watchkeeper_ebpf::{
    calls::{Call as Name, Row},
    decode::CallRecord,
    record::{Call, call_flag},
    watch::{CHANGE, WRITE},
};

use super::{
    constants::{self, flags, name},
    errors,
    identity::{self, changed},
};
use crate::{
    kernel::paths,
    proto::v1::{self, EventKind, event::Detail},
    watch::WatchList,
};

/// Bits of a mode that let a file be run as its owner or group.
const SETUID_SETGID: u64 = 0o6_000;
/// Bits that let it be run.
const EXECUTABLE: u64 = 0o111;

/// `union bpf_attr` of include/uapi/linux/bpf.h: commands, and where names are in their structures.
const BPF_MAP_CREATE: u32 = 0;
const BPF_PROG_LOAD: u32 = 5;
const MAP_NAME: usize = 28;
const PROG_NAME: usize = 48;
const BPF_OBJ_NAME_LEN: usize = 16;

/// The attribute that holds a file's capabilities.
const FILE_CAPABILITIES: &str = "security.capability";
/// `-1` for an owner or group that does not change.
const UNCHANGED: u32 = u32::MAX;

/// A record with its call, to be taken apart.
struct Observed<'a> {
    row: &'static Row,
    body: &'a Call,
    record: &'a CallRecord<'a>,
    host_namespaces: u32,
}

/// What a record means; `None` where it is of no interest after all. `host_namespaces` are the bits of the header.
#[must_use]
pub fn meaning(
    record: &CallRecord<'_>,
    host_namespaces: u32,
    watch: &WatchList,
) -> Option<(EventKind, Detail)> {
    let observed = Observed {
        row: Name::from_number(record.body.call)?,
        body: &record.body,
        record,
        host_namespaces,
    };
    observed.meaning(watch)
}

impl Observed<'_> {
    fn meaning(&self, watch: &WatchList) -> Option<(EventKind, Detail)> {
        Some(match self.row.call {
            Name::Mount
            | Name::Umount
            | Name::MoveMount
            | Name::Fsopen
            | Name::Fsconfig
            | Name::Fsmount
            | Name::OpenTree
            | Name::MountSetattr
            | Name::PivotRoot
            | Name::Chroot => (EventKind::Mount, Detail::Mount(self.mount())),
            Name::Setns | Name::Unshare => (
                EventKind::NamespaceChange,
                Detail::NamespaceChange(self.namespaces()),
            ),
            Name::Setuid
            | Name::Setgid
            | Name::Setreuid
            | Name::Setregid
            | Name::Setresuid
            | Name::Setresgid
            | Name::Setfsuid
            | Name::Setfsgid
            | Name::Setgroups
            | Name::Capset => (
                EventKind::CredentialChange,
                Detail::CredentialChange(self.credentials()),
            ),
            Name::Ptrace | Name::ProcessVmWritev | Name::ProcessVmReadv | Name::PidfdGetfd => (
                EventKind::ProcessAccess,
                Detail::ProcessAccess(self.access()),
            ),
            Name::MemfdCreate | Name::Userfaultfd | Name::Prctl => (
                EventKind::ProcessControl,
                Detail::ProcessControl(self.control()),
            ),
            Name::InitModule | Name::FinitModule | Name::DeleteModule => {
                (EventKind::KernelModule, Detail::KernelModule(self.module()))
            }
            Name::Bpf
            | Name::PerfEventOpen
            | Name::KexecLoad
            | Name::KexecFileLoad
            | Name::Keyctl
            | Name::AddKey
            | Name::RequestKey
            | Name::IoUringSetup => (
                EventKind::KernelCall,
                Detail::KernelCall(self.kernel_call()),
            ),
            _ => (
                EventKind::FileChange,
                Detail::FileChange(self.file_change(watch)?),
            ),
        })
    }

    fn call(&self) -> v1::Call {
        let result = self.body.result.cast_signed();
        v1::Call {
            name: self.row.name.to_owned(),
            result,
            error: errors::of_result(result),
            maybe_refused_by_seccomp: self.body.flags & call_flag::SECCOMP != 0
                && [-libc::EPERM, -libc::EACCES, -libc::ENOSYS]
                    .iter()
                    .any(|error| i64::from(*error) == result),
            arguments_unknown: self.body.flags & call_flag::NO_ARGUMENTS != 0,
        }
    }

    fn argument(&self, number: usize) -> u64 {
        self.body.arguments.get(number).copied().unwrap_or(0)
    }

    /// The same where the kernel takes 32 bits of it.
    fn short(&self, number: usize) -> u32 {
        self.argument(number) as u32
    }

    fn string(&self, number: usize) -> String {
        self.record
            .strings
            .get(number)
            .map(|bytes| paths::text(bytes))
            .unwrap_or_default()
    }

    /// Path number 0, 1 or 2: the directories that the first two strings are relative to, and the descriptor's.
    fn path(&self, number: usize) -> String {
        let flags = self.body.flags >> (call_flag::PATHS as usize + 2 * number);
        match self.record.paths[number] {
            [] => String::new(),
            components => paths::from_components(
                components,
                flags & call_flag::TRUNCATED != 0,
                flags & call_flag::DETACHED != 0,
            ),
        }
    }

    /// A string, from the directory that it is relative to; empty where there is none.
    fn joined(&self, number: usize) -> String {
        let string = self.string(number);
        if string.is_empty() {
            return string;
        }
        // The components of a root are none.
        let base = self.path(number);
        paths::join(&base, &string)
    }

    fn mount(&self) -> v1::Mount {
        let mut mount = v1::Mount {
            call: Some(self.call()),
            namespaces: Some(identity::namespaces(
                &self.body.after.namespaces,
                self.host_namespaces,
            )),
            ..v1::Mount::default()
        };
        match self.row.call {
            Name::Mount => {
                // What is mounted is a path for some filesystems, and a mere name for others.
                mount.source = self.string(0);
                mount.target = self.joined(1);
                mount.filesystem = self.string(2);
                mount.flags = flags(self.argument(3) & 0xffff_ffff, constants::MOUNT);
            }
            Name::Umount => {
                mount.target = self.joined(0);
                mount.flags = flags(u64::from(self.short(1)), constants::UMOUNT);
            }
            Name::MoveMount => {
                mount.source = self.joined_or_base(0);
                mount.target = self.joined_or_base(1);
                mount.flags = flags(u64::from(self.short(4)), constants::MOVE_MOUNT);
            }
            Name::Fsopen => mount.filesystem = self.string(0),
            Name::Fsconfig => {
                mount.flags = vec![name(u64::from(self.short(1)), constants::FSCONFIG)];
                mount.key = self.string(0);
                mount.value = self.string(1);
            }
            Name::OpenTree => {
                mount.source = self.joined_or_base(0);
                mount.flags = flags(u64::from(self.short(2)), constants::OPEN_TREE);
            }
            Name::MountSetattr => mount.target = self.joined_or_base(0),
            Name::PivotRoot => {
                mount.source = self.joined(0);
                mount.target = self.joined(1);
                mount.root = self.root();
            }
            Name::Chroot => {
                mount.target = self.joined(0);
                mount.root = self.root();
            }
            _ => {}
        }
        mount
    }

    /// A string as [`joined`](Self::joined), or the descriptor itself where the string is empty (`AT_EMPTY_PATH`).
    fn joined_or_base(&self, number: usize) -> String {
        let joined = self.joined(number);
        if joined.is_empty() {
            self.path(number)
        } else {
            joined
        }
    }

    /// The root directory: no components are the root of the mount namespace.
    fn root(&self) -> String {
        match self.path(2) {
            path if path.is_empty() => "/".to_owned(),
            path => path,
        }
    }

    fn namespaces(&self) -> v1::NamespaceChange {
        let asked = match self.row.call {
            Name::Setns => u64::from(self.short(1)),
            _ => self.argument(0),
        };
        v1::NamespaceChange {
            call: Some(self.call()),
            before: Some(identity::namespaces(&self.body.before.namespaces, 0)),
            after: Some(identity::namespaces(
                &self.body.after.namespaces,
                self.host_namespaces,
            )),
            changed: changed(&self.body.before, &self.body.after),
            requested: constants::NAMESPACES
                .iter()
                .filter(|(flag, _)| asked & flag != 0)
                .map(|(_, name)| (*name).to_owned())
                .collect(),
            child_pid: 0,
        }
    }

    fn credentials(&self) -> v1::CredentialChange {
        v1::CredentialChange {
            call: Some(self.call()),
            unexplained: false,
            before: Some(identity::credentials(&self.body.before.credentials)),
            after: Some(identity::credentials(&self.body.after.credentials)),
        }
    }

    fn access(&self) -> v1::ProcessAccess {
        let is_ptrace = self.row.call == Name::Ptrace;
        v1::ProcessAccess {
            call: Some(self.call()),
            request: if is_ptrace && self.body.flags & call_flag::NO_ARGUMENTS == 0 {
                name(self.argument(0), constants::PTRACE)
            } else {
                String::new()
            },
            target: None,
            claimed_pid: match self.row.call {
                Name::Ptrace => self.short(1),
                Name::ProcessVmReadv | Name::ProcessVmWritev => self.short(0),
                _ => 0,
            },
        }
    }

    fn control(&self) -> v1::ProcessControl {
        const PR_SET_NAME: u64 = 15;
        let is_prctl = self.row.call == Name::Prctl;
        let is_named = !is_prctl || self.argument(0) == PR_SET_NAME;
        v1::ProcessControl {
            call: Some(self.call()),
            option: if is_prctl {
                name(self.argument(0), constants::PRCTL)
            } else {
                String::new()
            },
            name: if is_named {
                self.string(0)
            } else {
                String::new()
            },
            arguments: match self.row.call {
                Name::Prctl if !is_named => self.body.arguments[1..5].to_vec(),
                Name::MemfdCreate => vec![self.argument(1)],
                Name::Userfaultfd => vec![self.argument(0)],
                _ => Vec::new(),
            },
            inode: if self.row.call == Name::MemfdCreate {
                self.body.file.inode
            } else {
                0
            },
        }
    }

    fn module(&self) -> v1::KernelModule {
        let unloaded = self.row.call == Name::DeleteModule;
        v1::KernelModule {
            unloaded,
            name: if unloaded {
                self.string(0)
            } else {
                String::new()
            },
            path: self.path(2),
            call: Some(self.call()),
        }
    }

    fn kernel_call(&self) -> v1::KernelCall {
        let (command, kind, of) = match self.row.call {
            Name::Bpf => (
                name(u64::from(self.short(0)), constants::BPF),
                match self.short(0) {
                    BPF_MAP_CREATE => name(self.pointed_type(), constants::BPF_MAPS),
                    BPF_PROG_LOAD => name(self.pointed_type(), constants::BPF_PROGRAMS),
                    _ => String::new(),
                },
                match self.short(0) {
                    BPF_MAP_CREATE => self.pointed_name(MAP_NAME),
                    BPF_PROG_LOAD => self.pointed_name(PROG_NAME),
                    _ => String::new(),
                },
            ),
            Name::PerfEventOpen => (
                String::new(),
                name(self.pointed_type(), constants::PERF),
                String::new(),
            ),
            Name::Keyctl => (
                name(u64::from(self.short(0)), constants::KEYCTL),
                String::new(),
                String::new(),
            ),
            Name::AddKey | Name::RequestKey => (String::new(), self.string(0), self.string(1)),
            Name::KexecFileLoad => (String::new(), String::new(), self.path(2)),
            _ => (String::new(), String::new(), String::new()),
        };
        v1::KernelCall {
            call: Some(self.call()),
            command,
            r#type: kind,
            name: of,
        }
    }

    /// The 32 bits that a structure begins with: what kind of thing is asked for.
    fn pointed_type(&self) -> u64 {
        // The lower half of a word, as the machine is little-endian.
        self.body.pointed[0] & 0xffff_ffff
    }

    /// A name in the structure that was pointed to.
    fn pointed_name(&self, offset: usize) -> String {
        let bytes: Vec<u8> = self
            .body
            .pointed
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .skip(offset)
            .take(BPF_OBJ_NAME_LEN)
            .take_while(|byte| *byte != 0)
            .collect();
        paths::text(&bytes)
    }

    fn file_change(&self, watch: &WatchList) -> Option<v1::FileChange> {
        let by_descriptor = matches!(self.row.call, Name::Fchmod | Name::Fchown | Name::Fsetxattr);
        let is_symlink = matches!(self.row.call, Name::Symlink | Name::Symlinkat);
        let path = if by_descriptor {
            self.path(2)
        } else if is_symlink {
            self.string(0)
        } else {
            self.joined_or_base(0)
        };
        let new_path = match self.row.call {
            Name::Rename | Name::Renameat | Name::Renameat2 | Name::Link | Name::Linkat => {
                self.joined(1)
            }
            Name::Symlink | Name::Symlinkat => self.joined(1),
            _ => String::new(),
        };
        let mut change = v1::FileChange {
            call: Some(self.call()),
            path_claimed: !by_descriptor,
            ..v1::FileChange::default()
        };
        // The target of a symbolic link is not touched, but it is what is meant.
        change.reasons = watch.reasons([path.as_str(), new_path.as_str()], WRITE | CHANGE);
        let mut owner = |first: usize| {
            let id = |number: usize| {
                let id = self.short(number);
                (id != UNCHANGED).then_some(id)
            };
            (change.uid, change.gid) = (id(first), id(first + 1));
        };
        match self.row.call {
            Name::Chown | Name::Lchown | Name::Fchown => owner(1),
            Name::Fchownat => owner(2),
            Name::Chmod | Name::Fchmod => self.mode(&mut change, 1),
            Name::Fchmodat | Name::Fchmodat2 => self.mode(&mut change, 2),
            Name::Mknod => self.device(&mut change, 1),
            Name::Mknodat => self.device(&mut change, 2),
            Name::Setxattr | Name::Lsetxattr | Name::Fsetxattr => {
                change.attribute = self.string(1);
                if change.attribute == FILE_CAPABILITIES {
                    change.reasons.push("file-capability".to_owned());
                }
            }
            _ => {}
        }
        change.path = path;
        change.new_path = new_path;
        (!change.reasons.is_empty()).then_some(change)
    }

    fn mode(&self, change: &mut v1::FileChange, argument: usize) {
        let mode = self.argument(argument);
        change.mode = format!("{:o}", mode & 0o7_777);
        if mode & EXECUTABLE != 0 {
            change.reasons.push("executable".to_owned());
        }
        if mode & SETUID_SETGID != 0 {
            change.reasons.push("setuid".to_owned());
        }
    }

    fn device(&self, change: &mut v1::FileChange, argument: usize) {
        let mode = self.argument(argument);
        change.mode = format!("{:o}", mode & 0o7_777);
        let device = self.short(argument + 1);
        let kind = mode as u32 & libc::S_IFMT;
        // Character device 0:0 is how an overlay marks what was removed.
        if kind == libc::S_IFBLK || (kind == libc::S_IFCHR && device != 0) {
            change.device = constants::user_device(device);
            change.reasons.push("device".to_owned());
        }
    }
}
