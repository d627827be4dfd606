//! What the kernel side and the agent share: the layout of records, maps and globals.
//!
//! Both sides compile this crate, so a field can't mean two things. It is `no_std`, knows nothing of
//! aya, and is tested on the host. The eBPF programs are the binary beside it (`main.rs`).

#![cfg_attr(not(test), no_std)]

pub mod budget;
pub mod calls;
pub mod cgroup;
pub mod decode;
pub mod loss;
pub mod offsets;
pub mod record;
pub mod tables;
pub mod watch;
pub mod wire;
