//! The cgroup namespace that paths of cgroups are told in.
//!
//! A container on a node with version 2 alone has one of its own, in which the paths of all others begin with `/..`
//! (cgroup_namespaces(7)). The agent leaves it for the initial one, which is that of the node.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::PathBuf,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// `PROC_CGROUP_INIT_INO` of include/linux/proc_ns.h: the inode number of the initial one.
const INITIAL: u64 = 0xefff_fffb;

/// Processes that are looked at for it, at most.
const MAX_PROCESSES: usize = 4_096;

/// The namespace can't be entered.
#[derive(Debug, thiserror::Error)]
#[error(
    "starting: entering the node's cgroup namespace: {0}; it needs CAP_SYS_ADMIN and CAP_SYS_PTRACE for that moment, or the host's \
     cgroup namespace"
)]
pub struct EnterError(io::Error);

/// Enters the initial one. The thread does so, and those that it starts afterwards with it: call it before there are others.
///
/// # Errors
/// When it can't be entered, or no process that is in it can be looked at.
pub fn enter() -> Result<(), EnterError> {
    let is_initial = match fs::metadata("/proc/thread-self/ns/cgroup") {
        Ok(own) => own.ino() == INITIAL,
        // A kernel that has no such namespaces (before 4.6) has one hierarchy for all.
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if is_initial {
        return Ok(());
    }
    let initial = find().map_err(EnterError)?;
    move_into_link_name_space(initial.as_fd(), Some(LinkNameSpaceType::ControlGroup))
        .map_err(|error| EnterError(error.into()))
}

/// The initial one, by a process that is in it. The first process of the node is, but may be shielded even from root.
fn find() -> io::Result<File> {
    let others = fs::read_dir("/proc")?
        .flatten()
        .map(|entry| entry.path())
        .take(MAX_PROCESSES);
    let mut refused = None;
    for process in std::iter::once(PathBuf::from("/proc/1")).chain(others) {
        let opened = File::open(process.join("ns/cgroup"));
        match opened.and_then(|file| Ok((file.metadata()?.ino(), file))) {
            Ok((INITIAL, file)) => return Ok(file),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused = Some(error),
            _ => {}
        }
    }
    Err(refused.unwrap_or_else(|| {
        io::Error::other("no process is in it; is this the host's pid namespace?")
    }))
}
