//! The layout of the records that cross the ring buffers: a fixed header, a body per kind, and the bytes after it.
//!
//! A record is `Header`, then the body of its kind, then that kind's variable bytes; [`Header::length`]
//! counts all three, and only used bytes cross. They are read by [`decode`](crate::decode).

use crate::wire;

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
        /// Bytes of the path.
        pub path_length: u32,
        /// Always 0.
        pub reserved: u32,
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
