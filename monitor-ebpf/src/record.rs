//! The layout of the records that cross the ring buffers: a fixed header, a body per kind, and the bytes after it.
//!
//! A record is `Header`, then the body of its kind, then that kind's variable bytes; [`Header::length`]
//! counts all three, and only used bytes cross. They are read by [`decode`](crate::decode).

mod call;
mod cgroup;
mod file;
mod identity;
mod kernel;
mod network;
mod process;

pub use call::*;
pub use cgroup::*;
pub use file::*;
pub use identity::*;
pub use kernel::*;
pub use network::*;
pub use process::*;

use crate::wire;

/// Version of this format; the agent refuses records of another.
pub const ABI: u16 = 2;

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
    /// A system call of the table in [`calls`](crate::calls) ended.
    Call = 7,
    /// Something happened to a socket.
    Socket = 8,
    /// A packet that is looked at.
    Packet = 9,
    /// A file was opened.
    Open = 10,
    /// Credentials changed, and no system call that was seen explains it.
    CredentialJump = 11,
    /// A signal was sent to a process of another container, or of the host.
    Signal = 12,
    /// A process used an io_uring operation for the first time.
    IoUring = 13,
    /// A kernel module was loaded or unloaded.
    Module = 14,
    /// SELinux denied something.
    Denial = 15,
    /// A process keeps changing how floating-point numbers are rounded.
    Rounding = 16,
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
