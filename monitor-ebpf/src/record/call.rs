//! System calls of the table in [`calls`](crate::calls).

use super::{File, Identity, ProcessId};
use crate::wire;

/// Flags of [`Call::flags`].
pub mod call_flag {
    /// The arguments are not known.
    pub const NO_ARGUMENTS: u32 = 1 << 0;
    /// [`Call::before`](super::Call::before) is filled in.
    pub const BEFORE: u32 = 1 << 1;
    /// Number of the first of six bits, two for each of the paths (the bases of the strings, and the descriptor's): it has no
    /// place in a directory tree, and it was cut.
    pub const PATHS: u32 = 2;
    /// The first of a path's two bits.
    pub const DETACHED: u32 = 1 << 0;
    /// The second.
    pub const TRUNCATED: u32 = 1 << 1;
    /// The process has a seccomp filter.
    pub const SECCOMP: u32 = 1 << 11;
}

wire! {
    /// Body of [`Kind::Call`](super::Kind::Call). The variable bytes follow in the order of their lengths here.
    pub struct Call {
        /// A [`calls::Call`](crate::calls::Call).
        pub call: u32,
        /// Bits of [`call_flag`].
        pub flags: u32,
        /// What it returned, as the bits of an `i64`.
        pub result: u64,
        /// Its arguments.
        pub arguments: [u64; 6],
        /// The state of the process before.
        pub before: Identity,
        /// The state of the process now.
        pub after: Identity,
        /// What its descriptor leads to.
        pub file: File,
        /// The process that it is about.
        pub target: ProcessId,
        /// Cgroup of that process.
        pub target_cgroup_id: u64,
        /// Bits of [`watch`](crate::watch) of the names that its paths are made of.
        pub watched: u32,
        /// Bytes of the strings, without NUL.
        pub string_lengths: [u32; 3],
        /// Bytes of the path components of the directories that the first two strings are relative to, and of the
        /// descriptor's file, the last component first.
        pub path_lengths: [u32; 3],
        /// Device of the descriptor's file, where it is a device file.
        pub device: u32,
        /// The beginning of the structure that an argument points to.
        pub pointed: [u64; 8],
    }
}
