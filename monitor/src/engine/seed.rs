//! Taking in the processes that were there before the agent.

use std::{collections::HashMap, io, sync::Arc};

use super::{
    Engine,
    descent::{first_program, own_mnt_ns},
};
use crate::{
    container::{
        membership::{Membership, Origin},
        model::Container,
    },
    process::{execution::Process, procfs},
};

impl Engine {
    /// Takes in the processes that are there already, the earliest first.
    pub(super) fn seed(&mut self) -> io::Result<()> {
        let mut found = procfs::scan(self.host, &self.redactor)?;
        found.sort_by_key(|found| (found.process.key.start_ticks, found.process.key.pid));
        let containers: HashMap<Arc<str>, Option<Arc<Container>>> = self.registry.paths().collect();
        for procfs::Found { process, cgroups } in found {
            let container = self
                .hierarchy
                .path_in(&cgroups)
                .and_then(|path| containers.get(path)?.as_ref());
            let membership = self.seeded_membership(&process, container);
            let init_of = membership
                .as_ref()
                .filter(|membership| membership.origin == Origin::Entrypoint)
                .map(|membership| Arc::clone(&membership.container));
            let process = Arc::new(process);
            self.processes.put(Arc::clone(&process), membership);
            if let Some(container) = init_of {
                self.registry
                    .begins_with(&container, first_program(&process));
                self.ask_podman(&container, &process);
            }
        }
        Ok(())
    }

    /// What a process that was found is. The earliest of a container is its entry point; of the others procfs tells only
    /// whose child they are.
    fn seeded_membership(
        &self,
        process: &Process,
        container: Option<&Arc<Container>>,
    ) -> Option<Membership> {
        let Some(container) = container else {
            let container = self.registry.of_mount_namespace(own_mnt_ns(process)?)?;
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
