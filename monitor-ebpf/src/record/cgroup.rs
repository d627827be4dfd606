//! Cgroups: created, removed, entered.

use super::ProcessId;
use crate::wire;

wire! {
    /// Body of [`Kind::CgroupMkdir`](super::Kind::CgroupMkdir) and [`Kind::CgroupRmdir`](super::Kind::CgroupRmdir); the variable bytes are the cgroup's path
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
    /// Body of [`Kind::CgroupAttach`](super::Kind::CgroupAttach). The header is that of the process which moved it.
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
