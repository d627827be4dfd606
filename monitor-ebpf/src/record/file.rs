//! Files: what they are, and that they were opened.

use super::ProcessId;
use crate::wire;

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
    /// A socket between processes of this host, or of an unusual family.
    pub const SOCKET: u32 = 3;
    /// A regular file.
    pub const FILE: u32 = 4;
    /// `/dev/null`.
    pub const NULL: u32 = 5;
    /// Another character or block device.
    pub const DEVICE: u32 = 6;
    /// Anything else: a directory, an eventfd, a pidfd.
    pub const OTHER: u32 = 7;
    /// A socket of IPv4 or IPv6.
    pub const INET_SOCKET: u32 = 8;
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

/// Bits of [`Open::reasons`]: why an open is reported.
pub mod open_reason {
    /// A name near the end of its path is watched.
    pub const WATCHED: u32 = 1 << 0;
    /// It is a file by which the kernel itself is controlled, open for writing.
    pub const KERNEL_CONTROL: u32 = 1 << 1;
    /// It is a block device, or raw memory or ports.
    pub const DEVICE: u32 = 1 << 2;
    /// It was opened by its handle.
    pub const HANDLE: u32 = 1 << 3;
    /// It lies in another mount namespace than the process.
    pub const OTHER_MOUNT_NAMESPACE: u32 = 1 << 4;
    /// One of its other names is watched.
    pub const LINKED: u32 = 1 << 5;
    /// It is about another process: a file below `/proc/PID`.
    pub const OTHER_PROCESS: u32 = 1 << 6;
}

/// Flags of [`Open::path_flags`], for the path, the path in the filesystem and the linked path.
pub mod path_flag {
    /// The path was cut.
    pub const TRUNCATED: [u32; 3] = [1 << 0, 1 << 1, 1 << 2];
    /// The path has no place in a directory tree.
    pub const DETACHED: [u32; 3] = [1 << 3, 1 << 4, 1 << 5];
}

wire! {
    /// Body of [`Kind::Open`](super::Kind::Open). The variable bytes follow in the order of their lengths here.
    pub struct Open {
        /// The file.
        pub file: File,
        /// The process that a file below `/proc/PID` is about.
        pub target: ProcessId,
        /// Cgroup of that process.
        pub target_cgroup_id: u64,
        /// A [`calls::Call`](crate::calls::Call), or [`calls::IO_URING`](crate::calls::IO_URING).
        pub call: u32,
        /// Flags it was opened with (`file.f_flags`).
        pub open_flags: u32,
        /// Bits of [`open_reason`].
        pub reasons: u32,
        /// Bits of [`watch`](crate::watch) of the names that are watched.
        pub watched: u32,
        /// Device that a device file stands for, in the kernel's encoding.
        pub device: u32,
        /// Inode number of the mount namespace that it lies in, where that is another one.
        pub mount_ns: u32,
        /// Bits of [`path_flag`].
        pub path_flags: u32,
        /// Bytes of the path components, the last one first, each ended by NUL.
        pub path_length: u32,
        /// The same from the root of its filesystem.
        pub inner_length: u32,
        /// The same of another name of the file that is watched.
        pub linked_length: u32,
    }
}
