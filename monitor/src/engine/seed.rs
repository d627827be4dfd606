//! Taking in the processes that were there before the agent.

use std::{collections::HashMap, io, sync::Arc};

use super::{Engine, descent::container_mnt_ns};
use crate::{
    container::{
        membership::{Membership, Origin},
        registry::Place,
    },
    process::{execution::Process, procfs},
};

impl Engine {
    /// Takes in the processes that are there already, the earliest first.
    pub(super) fn seed(&mut self) -> io::Result<()> {
        let mut found = procfs::scan(self.host)?;
        found.sort_by_key(|found| (found.process.key.start_ticks, found.process.key.pid));
        let places: HashMap<Arc<str>, Place> = self.registry.places().collect();
        for procfs::Found { process, cgroups } in found {
            let place = self
                .hierarchy
                .path_in(&cgroups)
                .and_then(|path| places.get(path))
                .cloned()
                .unwrap_or(Place::Unknown);
            let membership = self.seeded_membership(&process, &place);
            let init_of = membership
                .as_ref()
                .filter(|membership| membership.origin == Origin::Entrypoint)
                .map(|membership| Arc::clone(&membership.container));
            let process = Arc::new(process);
            self.processes.put(Arc::clone(&process), membership);
            if let Some(container) = init_of {
                self.registry
                    .becomes_init(&container, process.key, container_mnt_ns(&process));
                self.ask_podman(&container, &process);
            }
        }
        Ok(())
    }

    /// What a process found in a container is: the first process of a pid namespace of its own, or else the earliest,
    /// is the entry point; children of members are what procfs still tells.
    pub(super) fn seeded_membership(&self, process: &Process, place: &Place) -> Option<Membership> {
        let Place::Container(container, _) = place else {
            let container = self
                .registry
                .of_mount_namespace(container_mnt_ns(process))?;
            return Some(Membership {
                container,
                origin: Origin::NamespaceEntry,
                entered_by: None,
            });
        };
        let member = |origin| {
            Some(Membership {
                container: Arc::clone(container),
                origin,
                entered_by: None,
            })
        };
        if self.registry.init(container).is_none() {
            return member(Origin::Entrypoint);
        }
        let parent = process
            .parent
            .and_then(|parent| self.processes.get(parent))
            .and_then(|entry| entry.attachment.as_ref())
            .filter(|membership| membership.container.slot == container.slot);
        match parent {
            // An orphan of an injected process has the first process for parent, too.
            Some(membership) if membership.origin == Origin::Entrypoint => member(Origin::Unknown),
            Some(membership) => member(membership.origin),
            None => member(Origin::Injected),
        }
    }
}
