//! The records that cross the ring buffers: a fixed header, a body per kind, and the bytes after it.
//!
//! A record is `Header`, then the body of its kind, then that kind's variable bytes; [`Header::length`]
//! counts all three, and only used bytes cross. [`decode`] checks the version, the kind and every length.

use crate::wire;
use crate::wire::Wire;

/// Version of this format; the agent refuses records of another.
pub const ABI: u16 = 1;

/// Most bytes of a path that the kernel side collects, in bytes of its components.
pub const MAX_PATH: usize = 4_096;
/// Most bytes of the arguments that cross.
pub const MAX_ARGV: usize = 4_096;
/// Most bytes of one path component, its terminating NUL included (`NAME_MAX` + 1).
pub const MAX_COMPONENT: usize = 256;

/// Kinds of records.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A process (not a thread) was created.
    Fork = 1,
    /// A process runs a new program.
    Exec = 2,
    /// The last thread of a process ended.
    Exit = 3,
    /// A cgroup was created.
    CgroupMkdir = 4,
    /// A cgroup was removed.
    CgroupRmdir = 5,
    /// A process was moved to another cgroup.
    CgroupAttach = 6,
}

/// Flags of [`Header::flags`].
pub mod flag {
    /// The mount namespace of the process is the host's.
    pub const HOST_MNT_NS: u32 = 1 << 0;
    /// The pid namespace of the process is the host's.
    pub const HOST_PID_NS: u32 = 1 << 1;
    /// The network namespace of the process is the host's.
    pub const HOST_NET_NS: u32 = 1 << 2;
}

wire! {
    /// What every record begins with.
    pub struct Header {
        /// [`ABI`].
        pub abi: u16,
        /// A [`Kind`].
        pub kind: u16,
        /// Bytes of the whole record.
        pub length: u32,
        /// When, in nanoseconds since boot, suspended time included (`CLOCK_BOOTTIME`).
        pub time_ns: u64,
        /// Cgroup of the process in the hierarchy that the agent watches.
        pub cgroup_id: u64,
        /// When the process (its thread-group leader) started, in nanoseconds since boot.
        pub start_ns: u64,
        /// Process id in the host's pid namespace (the kernel's `tgid`).
        pub pid: u32,
        /// Thread id (the kernel's `pid`).
        pub tid: u32,
        /// Real user id, in the initial user namespace.
        pub uid: u32,
        /// Bits of [`flag`].
        pub flags: u32,
        /// Container slot of the cgroup, see [`crate::cgroup::CgroupState`]; 0 for none.
        pub container_slot: u32,
        /// Always 0.
        pub reserved: u32,
    }
}

wire! {
    /// A process by what never comes twice: its id together with its start.
    pub struct ProcessId {
        /// When it started, in nanoseconds since boot.
        pub start_ns: u64,
        /// Process id in the host's pid namespace.
        pub pid: u32,
        /// Always 0.
        pub reserved: u32,
    }
}

wire! {
    /// Body of [`Kind::Fork`]. The header is that of the process which called fork or clone.
    pub struct Fork {
        /// The new process.
        pub child: ProcessId,
        /// Its parent as the kernel records it: not the caller where `CLONE_PARENT` was given.
        pub parent: ProcessId,
        /// The new process's cgroup: not the caller's where `CLONE_INTO_CGROUP` was given.
        pub child_cgroup_id: u64,
        /// Container slot of that cgroup; 0 for none.
        pub child_container_slot: u32,
        /// Always 0.
        pub reserved: u32,
    }
}

/// Flags of [`File::flags`].
pub mod file_flag {
    /// The file lies on an overlay filesystem.
    pub const OVERLAY: u32 = 1 << 0;
    /// The file lies in the overlay's upper layer: written since the container was created.
    pub const UPPER_LAYER: u32 = 1 << 1;
    /// The kernel's type information does not say where overlayfs keeps the upper layer's entry.
    pub const UPPER_LAYER_UNKNOWN: u32 = 1 << 2;
    /// The file exists in memory only: on the kernel's own tmpfs mount, as from memfd_create(2).
    pub const MEMFD: u32 = 1 << 3;
    /// The file lies on a tmpfs.
    pub const TMPFS: u32 = 1 << 4;
}

wire! {
    /// A file as the kernel knows it, whatever it was called.
    pub struct File {
        /// Inode number (`inode.i_ino`).
        pub inode: u64,
        /// Bytes.
        pub size: u64,
        /// Seconds since the epoch of its last change (`ctime`).
        pub ctime_s: u64,
        /// Nanoseconds of the same.
        pub ctime_ns: u32,
        /// Device of its filesystem, in the kernel's encoding (major << 20 | minor).
        pub device: u32,
        /// Names it has: 0 when it was unlinked.
        pub links: u32,
        /// Type and permission bits, as `st_mode`.
        pub mode: u32,
        /// Owner, in the initial user namespace.
        pub uid: u32,
        /// Bits of [`file_flag`].
        pub flags: u32,
        /// Magic number of its filesystem (include/uapi/linux/magic.h).
        pub filesystem: u32,
        /// Always 0.
        pub reserved: u32,
    }
}

/// What a file descriptor of a process leads to ([`Descriptor::kind`]).
pub mod descriptor {
    /// Nothing: closed.
    pub const CLOSED: u32 = 0;
    /// A terminal.
    pub const TTY: u32 = 1;
    /// A pipe or named pipe.
    pub const PIPE: u32 = 2;
    /// A socket.
    pub const SOCKET: u32 = 3;
    /// A regular file.
    pub const FILE: u32 = 4;
    /// `/dev/null`.
    pub const NULL: u32 = 5;
    /// Another character or block device.
    pub const DEVICE: u32 = 6;
    /// Anything else: a directory, an eventfd, a pidfd.
    pub const OTHER: u32 = 7;
}

wire! {
    /// A file descriptor.
    pub struct Descriptor {
        /// Inode number: of a pipe or socket it names both ends' object.
        pub inode: u64,
        /// One of [`descriptor`].
        pub kind: u32,
        /// Device that a device file stands for, in the kernel's encoding; 0 for others.
        pub device: u32,
    }
}

wire! {
    /// User and group ids in the initial user namespace, and capability sets as bit masks.
    pub struct Credentials {
        /// Effective capabilities.
        pub cap_effective: u64,
        /// Permitted capabilities.
        pub cap_permitted: u64,
        /// Inheritable capabilities.
        pub cap_inheritable: u64,
        /// Bounding set.
        pub cap_bounding: u64,
        /// Ambient capabilities.
        pub cap_ambient: u64,
        /// Real user.
        pub uid: u32,
        /// Real group.
        pub gid: u32,
        /// Effective user.
        pub euid: u32,
        /// Effective group.
        pub egid: u32,
        /// User who logged in, as the audit system records it; `u32::MAX` where none did.
        pub loginuid: u32,
        /// Audit session; `u32::MAX` for none.
        pub sessionid: u32,
    }
}

wire! {
    /// Inode numbers of the namespaces of a process; 0 where it could not be read.
    pub struct Namespaces {
        /// Mount namespace.
        pub mnt: u32,
        /// Pid namespace of the process itself.
        pub pid: u32,
        /// Network namespace.
        pub net: u32,
        /// UTS namespace.
        pub uts: u32,
        /// IPC namespace.
        pub ipc: u32,
        /// Cgroup namespace.
        pub cgroup: u32,
        /// User namespace of its credentials.
        pub user: u32,
        /// Process id in its own pid namespace.
        pub pid_inside: u32,
    }
}

/// Flags of [`Exec::flags`].
pub mod exec_flag {
    /// Arguments were cut at [`super::MAX_ARGV`] bytes.
    pub const ARGV_TRUNCATED: u32 = 1 << 0;
    /// Arguments could not be read.
    pub const ARGV_UNREADABLE: u32 = 1 << 1;
    /// The executable's path was cut: the components nearest to the root are missing.
    pub const EXE_TRUNCATED: u32 = 1 << 2;
    /// The working directory's path was cut likewise.
    pub const CWD_TRUNCATED: u32 = 1 << 3;
    /// The executable has no place in a directory tree (memfd): its path is a bare name.
    pub const EXE_DETACHED: u32 = 1 << 4;
    /// The working directory has no place in a directory tree.
    pub const CWD_DETACHED: u32 = 1 << 5;
    /// The kernel was asked to run a script, and runs its interpreter.
    pub const SCRIPT: u32 = 1 << 6;
}

wire! {
    /// Body of [`Kind::Exec`]. The variable bytes follow in the order of their lengths here.
    pub struct Exec {
        /// Parent of the process at this moment.
        pub parent: ProcessId,
        /// Credentials after the exec.
        pub credentials: Credentials,
        /// Namespaces.
        pub namespaces: Namespaces,
        /// The executable: of a script, the interpreter's.
        pub exe: File,
        /// Descriptors 0, 1 and 2.
        pub stdio: [Descriptor; 3],
        /// Bytes of the arguments before truncation.
        pub argv_total: u64,
        /// Name of the controlling terminal (`pts0`), NUL-terminated; empty for none.
        pub tty: [u8; 32],
        /// Bits of [`exec_flag`].
        pub flags: u32,
        /// Bytes of the executable's path components, the last component first, each ended by NUL.
        pub exe_length: u32,
        /// Bytes of the working directory's path components, likewise.
        pub cwd_length: u32,
        /// Bytes of the path that was given to execve(2), at most [`MAX_COMPONENT`].
        pub filename_length: u32,
        /// Bytes of the arguments, each ended by NUL.
        pub argv_length: u32,
        /// Always 0.
        pub reserved: u32,
    }
}

wire! {
    /// Body of [`Kind::Exit`].
    pub struct Exit {
        /// Wait status, as waitpid(2) gives it: exit code << 8 | signal.
        pub status: u32,
        /// Always 0.
        pub reserved: u32,
    }
}

wire! {
    /// Body of [`Kind::CgroupMkdir`] and [`Kind::CgroupRmdir`]; the variable bytes are the cgroup's path
    /// from the root of its hierarchy. The header is that of the process which did it.
    pub struct Cgroup {
        /// The cgroup.
        pub id: u64,
        /// The cgroup above it; 0 for the root.
        pub parent_id: u64,
        /// State it inherited or had: a container slot, or 0.
        pub container_slot: u32,
        /// Bytes of the path.
        pub path_length: u32,
    }
}

wire! {
    /// Body of [`Kind::CgroupAttach`]. The header is that of the process which moved it.
    pub struct CgroupAttach {
        /// Cgroup it is in now.
        pub cgroup_id: u64,
        /// The process that was moved.
        pub process: ProcessId,
        /// Thread that was moved; the whole process where it equals its id.
        pub tid: u32,
        /// Container slot of that cgroup; 0 for none.
        pub container_slot: u32,
    }
}

/// A decoded record; the bytes are borrowed from the ring buffer.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives on the stack for one call, where a box would be an allocation for every exec"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// [`Kind::Fork`].
    Fork(Fork),
    /// [`Kind::Exec`].
    Exec(ExecRecord<'a>),
    /// [`Kind::Exit`].
    Exit(Exit),
    /// [`Kind::CgroupMkdir`], with the path.
    CgroupMkdir(Cgroup, &'a [u8]),
    /// [`Kind::CgroupRmdir`], with the path.
    CgroupRmdir(Cgroup, &'a [u8]),
    /// [`Kind::CgroupAttach`].
    CgroupAttach(CgroupAttach),
}

/// A decoded exec, with its variable bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecRecord<'a> {
    /// The fixed part.
    pub body: Exec,
    /// Path components of the executable, see [`Exec::exe_length`].
    pub exe: &'a [u8],
    /// Path components of the working directory.
    pub cwd: &'a [u8],
    /// What was given to execve(2).
    pub filename: &'a [u8],
    /// Arguments.
    pub argv: &'a [u8],
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than the header, the body or a stated length needs.
    Short,
    /// The header's length is not that of the bytes.
    Length,
    /// Another version of the format.
    Abi(u16),
    /// A kind this version does not know.
    Kind(u16),
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Short => write!(f, "fewer bytes than stated"),
            Self::Length => write!(f, "stated and actual length differ"),
            Self::Abi(abi) => write!(f, "record format {abi}, not {ABI}"),
            Self::Kind(kind) => write!(f, "unknown kind {kind}"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Decodes one record, which is all of `bytes`.
///
/// # Errors
/// [`DecodeError`] when the bytes are not a record of this version.
pub fn decode(bytes: &[u8]) -> Result<(Header, Record<'_>), DecodeError> {
    let header = Header::read(bytes).ok_or(DecodeError::Short)?;
    if header.abi != ABI {
        return Err(DecodeError::Abi(header.abi));
    }
    if header.length as usize != bytes.len() {
        return Err(DecodeError::Length);
    }
    let mut rest = Rest(bytes.get(size_of::<Header>()..).ok_or(DecodeError::Short)?);
    let record = match header.kind {
        kind if kind == Kind::Fork as u16 => Record::Fork(rest.body()?),
        kind if kind == Kind::Exec as u16 => {
            let body: Exec = rest.body()?;
            Record::Exec(ExecRecord {
                exe: rest.take(body.exe_length)?,
                cwd: rest.take(body.cwd_length)?,
                filename: rest.take(body.filename_length)?,
                argv: rest.take(body.argv_length)?,
                body,
            })
        }
        kind if kind == Kind::Exit as u16 => Record::Exit(rest.body()?),
        kind if kind == Kind::CgroupMkdir as u16 => {
            let body: Cgroup = rest.body()?;
            Record::CgroupMkdir(body, rest.take(body.path_length)?)
        }
        kind if kind == Kind::CgroupRmdir as u16 => {
            let body: Cgroup = rest.body()?;
            Record::CgroupRmdir(body, rest.take(body.path_length)?)
        }
        kind if kind == Kind::CgroupAttach as u16 => Record::CgroupAttach(rest.body()?),
        kind => return Err(DecodeError::Kind(kind)),
    };
    rest.end()?;
    Ok((header, record))
}

/// The bytes of a record that are still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn body<T: Wire>(&mut self) -> Result<T, DecodeError> {
        let body = T::read(self.0).ok_or(DecodeError::Short)?;
        self.0 = self.0.get(size_of::<T>()..).ok_or(DecodeError::Short)?;
        Ok(body)
    }

    fn take(&mut self, length: u32) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length as usize)
            .ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn end(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The bytes of a structure as the kernel side writes them.
    fn bytes_of<T: Copy>(value: &T) -> Vec<u8> {
        // SAFETY: only used with structures of `wire!`, which have no padding, so every byte is initialised.
        unsafe {
            std::slice::from_raw_parts(std::ptr::from_ref(value).cast::<u8>(), size_of::<T>())
        }
        .to_vec()
    }

    fn record(kind: u16, body: &[u8]) -> Vec<u8> {
        let header = Header {
            abi: ABI,
            kind,
            length: u32::try_from(size_of::<Header>() + body.len()).expect("short"),
            time_ns: 7,
            pid: 42,
            ..Header::default()
        };
        [bytes_of(&header), body.to_vec()].concat()
    }

    fn exec_record() -> (Exec, Vec<u8>) {
        let body = Exec {
            parent: ProcessId {
                pid: 1,
                start_ns: 5,
                reserved: 0,
            },
            credentials: Credentials {
                uid: 1_000,
                cap_effective: 1 << 21,
                loginuid: u32::MAX,
                ..Credentials::default()
            },
            exe: File {
                inode: 99,
                flags: file_flag::OVERLAY | file_flag::UPPER_LAYER,
                ..File::default()
            },
            stdio: [
                Descriptor {
                    inode: 3,
                    kind: descriptor::TTY,
                    device: 0x0880_0000,
                },
                Descriptor::default(),
                Descriptor::default(),
            ],
            argv_total: 6,
            exe_length: 7,
            cwd_length: 0,
            filename_length: 4,
            argv_length: 6,
            ..Exec::default()
        };
        let bytes = [bytes_of(&body), b"sh\0bin\0/x/yab\0cd\0".to_vec()].concat();
        (body, bytes)
    }

    /// The kernel side writes the structures in place; the agent reads each field at its offset.
    #[test]
    fn layout_is_the_same_on_both_sides() {
        assert_eq!(size_of::<Header>(), 56);
        assert_eq!(size_of::<Exec>() % 8, 0);
        let (body, bytes) = exec_record();
        let bytes = record(Kind::Exec as u16, &bytes);
        let (header, decoded) = decode(&bytes).expect("valid");
        assert_eq!((header.time_ns, header.pid), (7, 42));
        assert_eq!(
            decoded,
            Record::Exec(ExecRecord {
                body,
                exe: b"sh\0bin\0",
                cwd: b"",
                filename: b"/x/y",
                argv: b"ab\0cd\0",
            })
        );
    }

    #[test]
    fn every_kind_decodes() {
        let attach = CgroupAttach {
            cgroup_id: 8,
            tid: 3,
            ..CgroupAttach::default()
        };
        let cgroup = Cgroup {
            id: 1 << 40,
            path_length: 2,
            ..Cgroup::default()
        };
        let cases: [(Kind, Vec<u8>, Record<'_>); 5] = [
            (
                Kind::Fork,
                bytes_of(&Fork::default()),
                Record::Fork(Fork::default()),
            ),
            (
                Kind::Exit,
                bytes_of(&Exit::default()),
                Record::Exit(Exit::default()),
            ),
            (
                Kind::CgroupMkdir,
                [bytes_of(&cgroup), b"/a".to_vec()].concat(),
                Record::CgroupMkdir(cgroup, b"/a"),
            ),
            (
                Kind::CgroupRmdir,
                [bytes_of(&cgroup), b"/a".to_vec()].concat(),
                Record::CgroupRmdir(cgroup, b"/a"),
            ),
            (
                Kind::CgroupAttach,
                bytes_of(&attach),
                Record::CgroupAttach(attach),
            ),
        ];
        for (kind, body, expected) in cases {
            let bytes = record(kind as u16, &body);
            assert_eq!(decode(&bytes).expect("valid").1, expected, "{kind:?}");
        }
    }

    #[test]
    fn damaged_records_are_refused() {
        let (_, body) = exec_record();
        let whole = record(Kind::Exec as u16, &body);
        assert_eq!(decode(&[]), Err(DecodeError::Short));
        assert_eq!(decode(&whole[..whole.len() - 1]), Err(DecodeError::Length));
        let mut other_abi = whole;
        other_abi[0] = 9;
        assert_eq!(decode(&other_abi), Err(DecodeError::Abi(9)));
        assert_eq!(
            decode(&record(77, &[])),
            Err(DecodeError::Kind(77)),
            "unknown kind"
        );
        // A stated length beyond the record's end, and bytes that no length covers.
        assert_eq!(
            decode(&record(Kind::Exec as u16, &body[..body.len() - 1])),
            Err(DecodeError::Short)
        );
        let surplus = [body, vec![0]].concat();
        assert_eq!(
            decode(&record(Kind::Exec as u16, &surplus)),
            Err(DecodeError::Length)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_048)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn no_change_of_a_valid_record_makes_it_panic(at in 0usize..500, value in any::<u8>()) {
            let (_, body) = exec_record();
            let mut bytes = record(Kind::Exec as u16, &body);
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = decode(&bytes);
        }
    }
}
