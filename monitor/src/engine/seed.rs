//! Taking in the processes that were there before the agent.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::Arc,
    time::SystemTime,
};

use super::{
    Engine,
    descent::{first_program, own_mnt_ns},
};
use crate::{
    container::{
        membership::{Membership, Origin},
        model::Container,
    },
    process::{
        clock,
        execution::{Process, ProcessKey},
        procfs,
    },
    store::{past::Past, read::Line},
};

impl Engine {
    /// Takes in the processes that are there already, the earliest first. Of those that an earlier run of the agent saw, it
    /// takes what that run knew: how they began, and whom they descend from, which procfs no longer tells.
    pub(super) fn seed(&mut self, past: Option<(Past, String)>) -> io::Result<()> {
        let mut found = procfs::scan(self.host, &self.redactor)?;
        found.sort_by_key(|found| (found.process.key.start_ticks, found.process.key.pid));
        let containers: HashMap<Arc<str>, Option<Arc<Container>>> = self.registry.paths().collect();
        let by_id: HashMap<String, Arc<Container>> = containers
            .values()
            .flatten()
            .map(|container| (container.id.clone(), Arc::clone(container)))
            .collect();
        // A process that has ended and was not waited for is still in /proc, and is not among them.
        let running: HashSet<ProcessKey> = found.iter().map(|found| found.process.key).collect();
        let mut past = past;
        if let Some((past, _)) = &mut past {
            self.end_what_is_gone(past, &by_id);
        }
        for procfs::Found { process, cgroups } in found {
            let container = self
                .hierarchy
                .path_in(&cgroups)
                .and_then(|path| containers.get(path)?.as_ref());
            let line = past
                .as_mut()
                .and_then(|(past, boot_id)| past.line(boot_id, process.key))
                .filter(|line| runs_the_same(&process, &line.process));
            let (process, membership) = match line {
                Some(line) => {
                    self.recall_ancestors(&line, &running, &by_id);
                    let membership = recalled(line.membership.as_ref(), &by_id).or_else(|| {
                        container.and_then(|_| self.seeded_membership(&process, container))
                    });
                    (Arc::clone(&line.process), membership)
                }
                None => {
                    let membership = self.seeded_membership(&process, container);
                    (Arc::new(process), membership)
                }
            };
            let init_of = membership
                .as_ref()
                .filter(|membership| membership.origin == Origin::Entrypoint)
                .map(|membership| Arc::clone(&membership.container));
            self.processes.put(Arc::clone(&process), membership);
            if let Some(container) = init_of {
                self.registry
                    .begins_with(&container, first_program(&process));
                self.ask_podman(&container, &process);
            }
        }
        Ok(())
    }

    /// Tells history of containers that ended while no agent ran. When they did is not known better than that.
    fn end_what_is_gone(&self, past: &mut Past, running: &HashMap<String, Arc<Container>>) {
        let gone = past.newest_containers(&|container| {
            container.details().ended.is_none() && !running.contains_key(&container.id)
        });
        for container in gone {
            container.learn(|details| details.ended = Some(SystemTime::now()));
            self.events.amend(container);
        }
    }

    /// Puts ancestors into the table that have ended since.
    fn recall_ancestors(
        &mut self,
        line: &Line,
        running: &HashSet<ProcessKey>,
        containers: &HashMap<String, Arc<Container>>,
    ) {
        let now = clock::since_boot();
        for ancestor in line.ancestors.iter().rev() {
            let key = ancestor.process.key;
            // Those that run are taken in by themselves, and before their children.
            if self.processes.get(key).is_some() || running.contains(&key) {
                continue;
            }
            let membership = recalled(ancestor.membership.as_ref(), containers);
            self.processes
                .put(Arc::clone(&ancestor.process), membership);
            self.processes.exit(key, now);
        }
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

/// Whether a process still runs the program that it was seen to run.
fn runs_the_same(found: &Process, known: &Process) -> bool {
    let (found, known) = (&found.program, &known.program);
    found.exe == known.exe && found.file.inode == known.file.inode && found.argv == known.argv
}

/// What an earlier run knew of a process's place, where its container is still there.
fn recalled(
    membership: Option<&Membership>,
    containers: &HashMap<String, Arc<Container>>,
) -> Option<Membership> {
    let membership = membership?;
    Some(Membership {
        container: Arc::clone(containers.get(&membership.container.id)?),
        ..membership.clone()
    })
}
