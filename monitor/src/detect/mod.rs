//! Detection: from events to alerts.
//!
//! Works on a thread of its own, behind a bounded queue: what looks into files of a container can't hold up the
//! reading of the kernel's rings.

pub mod alert;
pub mod baseline;
pub mod detector;
pub mod evaluator;
pub mod executable;
pub mod figures;
pub mod fold;
pub mod listeners;
pub mod listening;
pub mod rehearsal;
pub mod reverse_shell;
pub mod said;
pub mod scope;
pub mod shell;
pub mod threshold;
