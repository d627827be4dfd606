//! A ceiling of the agent's memory as a whole, below that of its container.
//!
//! Tables, queues and caches have ceilings of their own. Where all of them together take more than they may, the agent lets go of what
//! it can do without, in this order: what the allocator keeps for later, recent events, recent alerts. What history has is read from
//! disk then. Without a history less of the past can be asked for, and whoever follows and has fallen behind is told how much was missed.

use std::{
    fs,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crate::{
    memory,
    serve::sources::{Room, Sources},
    store::recent::Recent,
};

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// About how many bytes of events or of alerts are left when the others are let go of.
const LEFT: usize = 1 << 20;

/// Runs until the agent stops.
pub(super) async fn watch(sources: Sources) {
    let room = Arc::clone(&sources.room);
    let mut was_over = false;
    loop {
        tokio::time::sleep(LOOK).await;
        let is_over = is_over(&room);
        if is_over {
            shed(&sources);
        }
        if is_over && !was_over {
            tracing::warn!(
                "the agent took more memory than the {} MiB that it may: recent events and alerts are on disk alone as far as they \
                 are there",
                room.limit >> 20
            );
        }
        was_over = is_over;
    }
}

/// Lets go of things until it is enough.
fn shed(sources: &Sources) {
    let room = &sources.room;
    memory::release();
    if !is_over(room) {
        return;
    }
    let settled = sources
        .store
        .as_ref()
        .map(|store| *store.settled().borrow());
    // Without history there is nothing that has to be written first.
    let (events, alerts) = settled.map_or((u64::MAX, u64::MAX), |settled| {
        (settled.events, settled.alerts)
    });
    forget(&sources.events.recent, events, &room.events_let_go);
    if is_over(room) {
        forget(&sources.alerts.recent, alerts, &room.alerts_let_go);
    }
}

fn forget<T>(recent: &Recent<T>, through: u64, count: &std::sync::atomic::AtomicU64) {
    count.fetch_add(recent.forget(through, LEFT), Ordering::Relaxed);
    memory::release();
}

fn is_over(room: &Room) -> bool {
    let used = anonymous().unwrap_or(0);
    room.used.store(used, Ordering::Relaxed);
    used > room.limit
}

/// Bytes of memory that are the agent's alone and backed by no file.
fn anonymous() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_memory_is_known() {
        let before = anonymous().expect("procfs tells");
        let mut taken = vec![0_u8; 8 << 20];
        for page in taken.chunks_mut(4_096) {
            page[0] = 1;
        }
        let after = anonymous().expect("procfs tells");
        assert!(after >= before + (7 << 20), "{before} {after}");
        drop(taken);
    }
}
