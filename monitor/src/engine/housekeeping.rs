//! What is done once a second: losses are reported, and what is over is let go of.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use watchkeeper_ebpf::{
    budget::{BucketKey, CONTAINER},
    loss::{Class, Lane, LossKey, Reason},
};

use super::Engine;
use crate::{
    container::{membership::Origin, model::Container, registry::Place},
    event::{Detail, Event, Loss, LossReason},
    kernel::loader::Shared,
    process::{clock, execution::ProcessKey, procfs},
};

/// Processes that are looked for in a second, after records of ends were lost.
const VERIFIED_AT_A_TIME: usize = 512;

impl Engine {
    /// Reports losses, and lets go of what is over.
    pub(super) fn keep_house(&mut self, now_ns: u64) {
        clock::synchronise();
        self.take_new_list();
        self.report_losses(now_ns);
        self.tell_slow_connections(now_ns);
        self.report_usage(now_ns);
        self.verify_some(now_ns);
        self.processes.sweep(now_ns);
        self.registry.sweep(now_ns);
        self.figures
            .processes
            .store(self.processes.len() as u64, Ordering::Relaxed);
        self.figures
            .processes_refused
            .store(self.processes.refused(), Ordering::Relaxed);
        let caches = &self.figures.caches;
        caches.cgroups.set(self.registry.cgroups());
        caches.moved.set(self.moved.len());
        self.network.report(caches);
    }

    /// After records were lost, looks for processes whose end was among them: some each second.
    fn verify_some(&mut self, now_ns: u64) {
        let rest = self.unverified.len().saturating_sub(VERIFIED_AT_A_TIME);
        for key in self.unverified.split_off(rest) {
            if procfs::start_ticks(key.pid) != Some(key.start_ticks) {
                self.processes.exit(key, now_ns);
            }
        }
    }

    fn report_losses(&mut self, now_ns: u64) {
        let mut losses = Vec::new();
        let counters: Vec<(LossKey, u64)> = self
            .maps
            .losses
            .iter()
            .filter_map(Result::ok)
            .map(|(key, counts)| (key.0, counts.iter().sum()))
            .collect();
        self.figures.caches.losses.set(counters.len());
        for (key, count) in counters {
            let seen = self.losses_seen.insert(key, count).unwrap_or(0);
            let new = count.saturating_sub(seen);
            let class = Class::ALL
                .into_iter()
                .find(|class| *class as u32 == key.class);
            let reason = Reason::ALL
                .into_iter()
                .find(|reason| *reason as u16 == key.reason);
            let lane = Lane::ALL
                .into_iter()
                .find(|lane| *lane as u16 == key.lane)
                .unwrap_or(Lane::None);
            if let (true, Some(class), Some(reason)) = (new > 0, class, reason) {
                let loss = Loss {
                    cgroup_id: key.cgroup_id,
                    class,
                    reason: LossReason::Kernel(reason),
                    count: new,
                };
                losses.push((loss, lane));
            }
            // A cgroup that is gone loses nothing any more; its counter makes room for another.
            if key.cgroup_id != 0 && new == 0 && self.registry.path(key.cgroup_id).is_none() {
                self.losses_seen.remove(&key);
                let _ = self.maps.losses.remove(&Shared(key));
            }
        }
        for (cgroup_id, count) in self.detector.take_overloaded() {
            let loss = Loss {
                cgroup_id,
                class: Class::Process,
                reason: LossReason::DetectionOverloaded,
                count,
            };
            losses.push((loss, Lane::None));
        }
        let cgroups_lost = losses.iter().any(|(loss, _)| loss.class == Class::Cgroup);
        if cgroups_lost {
            self.find_removed(now_ns);
        }
        let exits_lost = losses.iter().any(|(loss, _)| {
            loss.class == Class::Process && matches!(loss.reason, LossReason::Kernel(_))
        });
        if exits_lost {
            self.unverified = self
                .processes
                .iter()
                .filter(|entry| entry.exited_ns.is_none())
                .map(|entry| entry.process.key)
                .collect();
        }
        let now = SystemTime::now();
        for (loss, lane) in losses {
            let cgroup_id = loss.cgroup_id;
            let place = if loss.cgroup_id == 0 {
                Place::Unknown
            } else {
                self.registry.place(loss.cgroup_id, 0)
            };
            let container = match &place {
                Place::Container(container, _) => Some(container),
                Place::Host(_) | Place::Unknown => None,
            };
            self.figures.count_loss(&loss, lane, container);
            let event = Arc::new(Event {
                time: now,
                process: None,
                origin: None,
                injected_by: None,
                ancestors: Vec::new(),
                place,
                target: None,
                detail: Detail::Loss(loss),
            });
            let number = self.events.push(Arc::clone(&event), event.size());
            self.detector.observe(&event, cgroup_id, number, None);
        }
        self.figures.sweep_losses(now);
    }

    /// After records of cgroups were lost, lets go of those whose removal was among them. What was made meanwhile is found when
    /// something happens there.
    fn find_removed(&mut self, now_ns: u64) {
        let mount = &self.hierarchy.mount;
        let root = fs::metadata(mount).ok().map(|root| root.ino());
        // Where the hierarchy itself can't be seen, nothing is known of what is in it.
        if root.and_then(|id| self.registry.path(id)).as_deref() != Some("/") {
            return;
        }
        let is_gone =
            |id: u64, path: &str| match fs::metadata(mount.join(path.trim_start_matches('/'))) {
                // Another one of that name is not the same.
                Ok(found) => found.ino() != id,
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
        let gone: Vec<u64> = self
            .registry
            .present()
            .filter(|(id, path)| is_gone(*id, path))
            .map(|(id, _)| id)
            .collect();
        for id in gone {
            self.cgroup_removed(id, now_ns);
        }
    }

    /// Lets go of a cgroup that was removed, and of the container that has ended with it.
    pub(super) fn cgroup_removed(&mut self, id: u64, now_ns: u64) {
        // The kernel side has done so already, unless the state was only put there afterwards.
        let _ = self.maps.cgroups.remove(&id);
        self.forget_budgets(id);
        if let Some(container) = self.registry.removed(id, now_ns) {
            self.forget_budgets(CONTAINER | u64::from(container.slot));
            self.network.forget(container.slot);
            self.usage.forget(container.slot);
            self.end_members(&container, now_ns);
            self.events.amend(container);
        }
    }

    /// What is gone makes room for those that live.
    fn forget_budgets(&mut self, owner: u64) {
        for class in Class::ALL {
            let key = BucketKey {
                owner,
                class: class as u32,
                reserved: 0,
            };
            // Of most classes it has none.
            let _ = self.maps.budgets.remove(&Shared(key));
        }
    }

    /// A cgroup can only be removed when no process is in it: those whose end was not seen have ended.
    pub(super) fn end_members(&mut self, container: &Container, now_ns: u64) {
        let members: Vec<ProcessKey> = self
            .processes
            .iter()
            .filter(|entry| {
                entry.exited_ns.is_none()
                    && entry.attachment.as_ref().is_some_and(|membership| {
                        membership.container.slot == container.slot
                            && membership.origin != Origin::NamespaceEntry
                    })
            })
            .map(|entry| entry.process.key)
            .collect();
        for key in members {
            // One that left the cgroup in time lives on.
            if procfs::start_ticks(key.pid) != Some(key.start_ticks) {
                self.processes.exit(key, now_ns);
            }
        }
    }
}
