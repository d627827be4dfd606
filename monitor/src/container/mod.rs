//! Containers: which cgroup belongs to which container, and what the runtime knows of it.

pub mod cgroups;
pub mod cluster;
pub mod cpu;
pub mod cri;
pub mod figures;
pub mod isolation;
pub mod listing;
pub mod membership;
pub mod metadata;
pub mod model;
pub mod podman;
pub mod registry;
pub mod runtime_sockets;
pub mod shape;
