//! How a process comes to be in a container, from what it descends from and where it runs.

use std::sync::Arc;

use watchkeeper_ebpf::record::flag;

use super::Engine;
use crate::{
    container::{
        membership::{Membership, Origin},
        model::Container,
        registry::{FirstProgram, Place},
    },
    process::execution::{Process, ProcessKey, Source},
};

/// What is known of a process that another descends from.
pub(super) enum Kin {
    /// It is in a container.
    Member(Membership),
    /// It is in none.
    Outside,
    /// It is not in the table.
    Unknown,
}

impl Engine {
    /// What is known of a process that another descends from.
    pub(super) fn kin(&self, key: Option<ProcessKey>) -> Kin {
        match key.and_then(|key| self.processes.get(key)) {
            Some(entry) => match &entry.attachment {
                Some(membership) => Kin::Member(membership.clone()),
                None => Kin::Outside,
            },
            None => Kin::Unknown,
        }
    }

    pub(super) fn is_in(&self, cgroup_id: u64, container: &Container) -> bool {
        matches!(
            self.registry.place(cgroup_id, 0),
            Place::Container(found, _) if found.slot == container.slot
        )
    }

    /// What a process is, given what it descends from and where it runs.
    pub(super) fn membership_of_child(
        &self,
        kin: &Kin,
        place: &Place,
        by: Option<Arc<Process>>,
    ) -> Option<Membership> {
        match (kin, place) {
            (Kin::Member(kin), Place::Container(container, _))
                if kin.container.slot == container.slot =>
            {
                Some(kin.of_child())
            }
            (Kin::Unknown, Place::Container(container, _)) => {
                Some(self.registry.enter(container, Origin::Unknown, by))
            }
            (_, Place::Container(container, _)) => {
                Some(self.registry.enter(container, Origin::Injected, by))
            }
            (Kin::Member(kin), _) if kin.origin == Origin::NamespaceEntry => Some(kin.of_child()),
            _ => None,
        }
    }

    /// What a process is when it runs a program: its cgroup may have changed unseen, or its mount namespace may by
    /// now be a container's.
    pub(super) fn membership_on_exec(
        &self,
        own: Option<Membership>,
        place: &Place,
        process: &Process,
    ) -> Option<Membership> {
        match (own, place) {
            (Some(own), Place::Container(container, _)) if own.container.slot == container.slot => {
                Some(own)
            }
            (_, Place::Container(container, _)) => {
                Some(self.registry.enter(container, Origin::Injected, None))
            }
            (own, Place::Host(_) | Place::Unknown) => {
                let container = self.registry.of_mount_namespace(own_mnt_ns(process)?)?;
                // It entered before, or has only left the container's cgroup.
                if let Some(own) = own
                    && own.container.slot == container.slot
                {
                    return Some(own);
                }
                Some(Membership {
                    container,
                    origin: Origin::NamespaceEntry,
                    entered_by: self.before(process),
                })
            }
        }
    }

    /// Who is behind a move: the process that made it, or where a service manager did so on request (systemd, for
    /// the runtimes' systemd driver) the parent of the one that was moved.
    pub(super) fn mover(&self, caller: ProcessKey, moved: ProcessKey) -> Option<Arc<Process>> {
        if caller.pid == 1 {
            self.process_at(self.process_at(moved)?.parent?)
        } else {
            self.process_at(caller)
        }
    }

    /// Who is behind what a process runs now: itself with the program it ran before, or where it was only forked to
    /// run this one, its parent.
    fn before(&self, process: &Process) -> Option<Arc<Process>> {
        match self.process_at(process.key) {
            Some(before) if before.source != Source::Fork => Some(before),
            _ => self.process_at(process.parent?),
        }
    }
}

/// The mount namespace of a process; `None` when that is the host's.
pub(super) fn own_mnt_ns(process: &Process) -> Option<u32> {
    let program = &process.program;
    (program.host_namespaces & flag::HOST_MNT_NS == 0).then_some(program.namespaces.mnt)
}

/// What a process that may be a container's first one runs.
pub(super) fn first_program(process: &Process) -> FirstProgram {
    let program = &process.program;
    FirstProgram {
        key: process.key,
        mnt_ns: own_mnt_ns(process),
        first_in_pid_ns: program.namespaces.pid_inside == 1
            && program.host_namespaces & flag::HOST_PID_NS == 0,
    }
}
