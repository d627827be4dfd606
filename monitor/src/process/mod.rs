//! Processes: what each one runs, who started it, and what is kept of those that have ended.
//!
//! Knows nothing of containers: a table entry carries whatever the next stage attaches to a process.

pub mod clock;
pub mod execution;
pub mod procfs;
pub mod table;
