//! What the kernel side keeps of each cgroup, in a hash map keyed by cgroup id.
//!
//! The id is the inode number of the cgroup's directory (`kernfs_node.id`, 64 bits). A child cgroup
//! inherits its parent's state at `cgroup_mkdir`, before any process can be in it. A cgroup that is not in
//! the map is monitored.

/// Most cgroups with a state of their own; a node runs a few thousand.
pub const MAX_CGROUPS: u32 = 32_768;

/// Nothing is reported from processes of the cgroup.
pub const IGNORED: u32 = 1 << 0;
/// The cgroup is known to be no container's: only the classes that are chosen for the host are reported. A child does not
/// inherit it, as it may become a container's.
pub const HOST: u32 = 1 << 1;

/// State of one cgroup; the value of the map `CGROUPS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupState {
    /// Number the agent gave the container that this cgroup is part of, never used twice; 0 for none.
    pub container_slot: u32,
    /// [`IGNORED`], [`HOST`], or nothing.
    pub flags: u32,
}
