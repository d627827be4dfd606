//! The kernel side as the agent sees it: load and attach the programs, read their rings and maps.
//!
//! Everything here is about the kernel; what a record means for processes and containers is decided later.

pub mod attach;
pub mod btf;
pub mod cgroup_namespace;
pub mod costs;
pub mod hierarchy;
pub mod loader;
pub mod offsets;
pub mod paths;
pub mod probe;
pub mod ring_fill;
pub mod rings;
pub mod sensors;
#[cfg(test)]
mod stack;
pub mod syscalls;
pub mod tracefs;
