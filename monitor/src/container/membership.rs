//! Which container a process is in, and how it came there.
//!
//! The first process that is put into a container's cgroup from outside, and its children, make up the
//! container's own tree; every later one that comes from outside was injected. Children inherit from the process that
//! called fork(2), not from the parent the kernel records: runtimes give the container's first process
//! another parent (`CLONE_PARENT`).

use std::sync::Arc;

use super::model::Container;
use crate::process::{execution::Process, table::Attachment};

/// How a process came to be in its container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The container's first process.
    Entrypoint,
    /// Descends from the first process that entered.
    Descendant,
    /// Entered the cgroup from outside later, or descends from one that did.
    Injected,
    /// Entered a namespace of the container and not its cgroup, or descends from one that did.
    NamespaceEntry,
    /// Was there before the agent, and its descent can't be told.
    Unknown,
}

/// A process's place in a container.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The container.
    pub container: Arc<Container>,
    /// How it came there.
    pub origin: Origin,
    /// Who put it, or the process it descends from, into the container; `None` where that is not known.
    pub entered_by: Option<Arc<Process>>,
}

impl Membership {
    /// That of a child.
    #[must_use]
    pub fn of_child(&self) -> Self {
        Self {
            container: Arc::clone(&self.container),
            origin: match self.origin {
                Origin::Entrypoint => Origin::Descendant,
                other => other,
            },
            entered_by: self.entered_by.clone(),
        }
    }
}

impl Attachment for Option<Membership> {
    type Owner = u32;

    fn owner(&self) -> Option<u32> {
        self.as_ref().map(|membership| membership.container.slot)
    }
}
