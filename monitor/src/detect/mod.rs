//! Detection: from events to alerts.
//!
//! Works on a thread of its own, behind a bounded queue: what looks into files of a container can't hold up the
//! reading of the kernel's rings.

pub mod alert;
pub mod detector;
pub mod executable;
pub mod listening;
pub mod shell;
