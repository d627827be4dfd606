//! How much CPU time each container uses, from its cgroup, at intervals.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use super::Engine;
use crate::{
    container::{cpu::Accounts, model::Container, registry::Place},
    event::{Detail, Event},
    process::clock,
    proto::v1::{self, EventKind},
};

/// Least use that is reported, as a part of one CPU: a container that sleeps is no news.
const LEAST: u64 = 1_000;

/// What was seen last.
pub(super) struct Usage {
    accounts: Accounts,
    interval_ns: u64,
    counted_ns: u64,
    /// CPU time by container slot, and when that was.
    seen: HashMap<u32, (u64, u64)>,
}

impl Usage {
    pub(super) fn new(mount: &Path, interval: Duration) -> Self {
        Self {
            accounts: Accounts::new(mount),
            interval_ns: u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX),
            counted_ns: 0,
            seen: HashMap::new(),
        }
    }

    /// Forgets a container that has ended.
    pub(super) fn forget(&mut self, slot: u32) {
        self.seen.remove(&slot);
    }

    /// What a container used since it was looked at before; `None` at the first time, and for next to nothing.
    fn of(&mut self, container: &Container, now_ns: u64) -> Option<v1::CpuUsage> {
        let used = self.accounts.used_ns(&container.cgroup_path)?;
        let (before, then) = self.seen.insert(container.slot, (used, now_ns))?;
        let used_ns = used.saturating_sub(before);
        let interval_ns = now_ns.saturating_sub(then);
        (used_ns > interval_ns / LEAST).then(|| v1::CpuUsage {
            used_ns,
            interval_ns,
            limit_cpus: self.accounts.limit(&container.cgroup_path),
        })
    }
}

impl Engine {
    /// Reports what the containers used, where it is time.
    pub(super) fn report_usage(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.usage.counted_ns) < self.usage.interval_ns {
            return;
        }
        self.usage.counted_ns = now_ns;
        for container in self.registry.living() {
            let Some(usage) = self.usage.of(&container, now_ns) else {
                continue;
            };
            let path: Arc<str> = container.cgroup_path.as_str().into();
            let event = Arc::new(Event {
                time: clock::wall(now_ns),
                process: None,
                origin: None,
                injected_by: None,
                ancestors: Vec::new(),
                place: Place::Container(container, path),
                target: None,
                detail: Detail::Message(
                    EventKind::CpuUsage,
                    Box::new(v1::event::Detail::CpuUsage(usage)),
                ),
            });
            self.events.push(Arc::clone(&event), event.size());
        }
    }
}
