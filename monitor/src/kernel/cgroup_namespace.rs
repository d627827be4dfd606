//! The cgroup namespace that paths of cgroups are told in.
//!
//! A container on a node with version 2 alone has one of its own, in which the paths of all others begin with `/..`
//! (cgroup_namespaces(7)). The agent leaves it for that of the node's first process.

use std::{fs, io, os::fd::AsFd as _, path::Path};

use rustix::{
    fs::{Mode, OFlags, open},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// That of this thread, and that of the node's first process.
const OWN: &str = "/proc/thread-self/ns/cgroup";
const NODE: &str = "/proc/1/ns/cgroup";

/// The namespace can't be entered.
#[derive(Debug, thiserror::Error)]
#[error(
    "starting: entering the node's cgroup namespace ({NODE}): {0}; it needs CAP_SYS_ADMIN and CAP_SYS_PTRACE for that moment, or the \
     host's cgroup namespace"
)]
pub struct EnterError(io::Error);

/// Enters that of the node's first process. The thread does so, and those that it starts afterwards with it: call it before there
/// are others.
///
/// # Errors
/// When it is another one than this thread's, and can't be entered.
pub fn enter() -> Result<(), EnterError> {
    // A kernel that has no such namespaces (before 4.6) has one hierarchy for all.
    let is_same = |node: &Path| fs::read_link(OWN).is_ok_and(|own| own == node);
    match fs::read_link(NODE) {
        Ok(node) if is_same(&node) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        _ => {}
    }
    let entered = open(NODE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).and_then(|node| {
        move_into_link_name_space(node.as_fd(), Some(LinkNameSpaceType::ControlGroup))
    });
    entered.map_err(|error| EnterError(error.into()))
}
