//! Records of processes: created, running a program, moved to another cgroup. They keep the process table, and decide which
//! container a process is in.

use std::sync::Arc;

use watchkeeper_ebpf::record::{self, Header, file_flag, flag};

use super::{
    Engine,
    descent::{Kin, first_program},
};
use crate::{
    container::{
        membership::{Membership, Origin},
        model::{Container, First},
        podman,
        registry::Place,
        shape::Runtime,
    },
    event::Detail,
    process::{
        clock,
        execution::{Process, ProcessKey},
        procfs,
        table::Entry,
    },
};

impl Engine {
    /// A process was created.
    pub(super) fn fork(&mut self, header: &Header, fork: &record::Fork) {
        let caller = ProcessKey::from(header);
        let child = ProcessKey::from(fork.child);
        if self.processes.get(child).is_some() {
            return;
        }
        let by = self.process_at(caller);
        // CLONE_INTO_CGROUP puts the child elsewhere than its caller.
        let place = self.place(fork.child_cgroup_id, fork.child_container_slot);
        let creator = match (self.kin(Some(caller)), &place) {
            // A caller in another cgroup is outside, even when nothing else is known of it.
            (Kin::Unknown, Place::Container(container, _))
                if !self.is_in(header.cgroup_id, container) =>
            {
                Kin::Outside
            }
            (kin, _) => kin,
        };
        let membership = self.membership_of_child(&creator, &place, by.clone());
        let process = match by {
            Some(caller) => Some(caller.forked(fork)),
            // Nothing is known of the caller: see what procfs tells of the child.
            None => procfs::read(child.pid, self.host, &self.redactor)
                .map(|found| found.process)
                .filter(|found| found.key == child),
        };
        if let Some(process) = process {
            self.processes.put(Arc::new(process), membership);
        }
        // The agent's own children are its heartbeats, which are events by themselves.
        if caller.pid != std::process::id() {
            self.emit(
                header,
                caller,
                Detail::Fork {
                    child,
                    started: clock::wall(fork.child.start_ns),
                },
            );
        }
    }

    /// A process runs a new program.
    pub(super) fn exec(&mut self, header: &Header, process: Process) {
        let key = process.key;
        let place = self.place(header.cgroup_id, header.container_slot);
        let own = match self.processes.get(key) {
            Some(entry) => entry.attachment.clone(),
            // Its creation was not seen: it was moved into a container, or is judged by its parent.
            None => self.moved.pop(&key).or_else(|| {
                let parent = process.parent.and_then(|parent| self.process_at(parent));
                self.membership_of_child(&self.kin(process.parent), &place, parent)
            }),
        };
        let membership = self.membership_on_exec(own, &place, &process);
        let membership = membership.map(|membership| {
            let mut program = first_program(&process);
            // Still where whoever put it there is: the runtime, before it sets the container up.
            if let Some(by) = &membership.entered_by
                && by.program.namespaces.mnt == process.program.namespaces.mnt
            {
                program.mnt_ns = None;
            }
            let processes = &self.processes;
            self.registry.ran(membership, program, |key| {
                processes
                    .get(key)
                    .is_some_and(|entry| entry.exited_ns.is_none())
            })
        });
        let first_of = membership
            .as_ref()
            .filter(|membership| membership.origin == Origin::Entrypoint)
            .map(|membership| Arc::clone(&membership.container));
        let process = Arc::new(process);
        // Where the table has no room for it, it is an event all the same.
        self.processes.put(Arc::clone(&process), membership.clone());
        if let Some(container) = first_of {
            let program = &process.program;
            let is_image = program.file.flags & file_flag::OVERLAY != 0;
            container.begins(First {
                root_device: if is_image { program.file.device } else { 0 },
                bounding: program.credentials.cap_bounding,
                user_ns: program.namespaces.user,
            });
            self.ask_podman(&container, &process);
        }
        self.emit_of(header, Some(process), membership, place, Detail::Exec, None);
    }

    /// A process was moved to another cgroup.
    pub(super) fn attach(&mut self, header: &Header, attach: &record::CgroupAttach) {
        let moved = ProcessKey::from(attach.process);
        // The thread that stands for its process; the others move with it.
        if attach.tid == attach.process.pid {
            let place = self.place(attach.cgroup_id, attach.container_slot);
            let own = self
                .processes
                .get(moved)
                .and_then(|entry| entry.attachment.clone());
            let membership = match (own, &place) {
                (Some(own), Place::Container(container, _))
                    if own.container.slot == container.slot =>
                {
                    Some(own)
                }
                (_, Place::Container(container, _)) => {
                    let by = self.mover(ProcessKey::from(header), moved);
                    Some(self.registry.enter(container, Origin::Injected, by))
                }
                // It has left the cgroup; whether it has left the container, its next exec tells.
                (own, _) => own,
            };
            if self.processes.get(moved).is_some() {
                self.processes.attach(moved, membership);
            } else if let Some(membership) = membership {
                self.moved.put(moved, membership);
            }
        }
        let detail = Detail::CgroupAttach {
            moved,
            process: self.process_at(moved),
            cgroup_id: attach.cgroup_id,
            path: self.registry.path(attach.cgroup_id),
        };
        self.emit(header, ProcessKey::from(header), detail);
    }

    /// Asks about a podman container whose first process is known: its monitor is among the ancestors.
    pub(super) fn ask_podman(&self, container: &Arc<Container>, init: &Process) {
        if container.shape_runtime != Runtime::Podman {
            return;
        }
        // Only a process of the host is believed.
        let storage_of = |entry: &Entry<Option<Membership>>| {
            let program = &entry.process.program;
            let on_host =
                entry.attachment.is_none() && program.host_namespaces & flag::HOST_MNT_NS != 0;
            if on_host {
                podman::storage_from_monitor(program, &container.id)
            } else {
                None
            }
        };
        // It is an ancestor, unless a process between them was not seen.
        let storage = self
            .processes
            .ancestors(init)
            .into_iter()
            .find_map(storage_of)
            .or_else(|| self.processes.iter().find_map(storage_of));
        self.ask(Arc::clone(container), storage);
    }
}
