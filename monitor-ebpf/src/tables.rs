//! Keys and values of the maps that the programs keep for themselves, with their ceilings.

use crate::record::{Addresses, ProcessId};

/// Numbers of system calls are below this, on every architecture.
pub const MAX_SYSTEM_CALLS: u32 = 512;
/// System calls of the table that are under way at a time.
pub const MAX_PENDING: u32 = 8_192;
/// Threads whose credentials are remembered.
pub const MAX_TASKS: u32 = 32_768;
/// TCP connections that are remembered.
pub const MAX_FLOWS: u32 = 32_768;
/// TCP connections under way at a time.
pub const MAX_CONNECTING: u32 = 4_096;
/// UDP flows that are remembered.
pub const MAX_DATAGRAM_FLOWS: u32 = 16_384;
/// TCP connections whose first segments are gathered.
pub const MAX_JSON_FLOWS: u32 = 4_096;
/// Operations of `io_uring` that are remembered.
pub const MAX_URING: u32 = 8_192;
/// Processes with unusual rounding modes that are remembered.
pub const MAX_ROUNDINGS: u32 = 4_096;

/// The rounding mode of floating-point numbers that programs start with.
pub const NEAREST: u32 = 0;

/// What is compared to find a change of credentials that nothing explains.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownCredentials {
    /// uid, gid, suid, sgid, euid, egid, fsuid, fsgid: as they follow each other in `struct cred`, two in a word.
    pub ids: [u64; 4],
    /// Effective capabilities.
    pub effective: u64,
    /// Permitted capabilities.
    pub permitted: u64,
    /// The user who logged in.
    pub loginuid: u64,
    /// Start of the process, in nanoseconds since boot: ids of threads come again.
    pub start_ns: u64,
}

/// Whose a TCP connection is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// The process that opened or accepted it.
    pub process: ProcessId,
    /// Its cgroup.
    pub cgroup_id: u64,
    /// When the connection began, in nanoseconds since boot.
    pub started_ns: u64,
    /// The thread.
    pub tid: u32,
    /// Its real user.
    pub uid: u32,
    /// Not 0 where it was opened from here.
    pub outbound: u32,
    /// Always 0.
    pub reserved: u32,
}

/// A TCP connection under way.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connecting {
    /// Whose it is.
    pub flow: Flow,
    /// With whom; the own port is 0 where the kernel had not chosen one yet.
    pub addresses: Addresses,
}

/// An operation of `io_uring` in a process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UringKey {
    /// Process id.
    pub pid: u32,
    /// `IORING_OP_*`.
    pub opcode: u32,
}

/// An operation that was submitted to `io_uring`, as its process tells it from others.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UringSubmission {
    /// Address of the ring's context in the kernel.
    pub ring: u64,
    /// `user_data` of the entry.
    pub user: u64,
}

/// In which rounding modes the threads of a process were when they left the processor.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundingModes {
    /// Start of the process, in nanoseconds since boot.
    pub start_ns: u64,
    /// When it was reported last, likewise; 0 for never.
    pub reported_ns: u64,
    /// How often since: to the nearest (not counted), down, up, toward zero, as bits 13 and 14 of MXCSR count them.
    pub seen: [u32; 4],
}

impl RoundingModes {
    /// Those of a process that is seen in `mode` for the first time.
    #[must_use]
    pub const fn first(start_ns: u64, mode: u32) -> Self {
        let mut seen = [0; 4];
        seen[(mode & 3) as usize] = 1;
        Self {
            start_ns,
            reported_ns: 0,
            seen,
        }
    }
}
