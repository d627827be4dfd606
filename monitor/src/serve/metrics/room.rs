//! How full queues and caches are, against their ceilings.
//!
//! A queue that is full loses something or holds somebody up. A cache that is full forgets what is oldest, which most do in
//! the course of time.

use std::fmt;

use super::{
    super::sources::{QUESTIONS, Sources},
    writer::Writer,
};
use crate::container::metadata;

/// A name, how many elements there are, and how many there may be.
type Room = (&'static str, u64, u64);

pub(super) fn write(sources: &Sources, writer: &mut Writer<'_>) -> fmt::Result {
    let queues = queues(sources);
    gauges(
        writer,
        "queue",
        ("queue_length", "What waits in a queue of the agent."),
        queues.iter().map(|(name, length, _)| (*name, *length)),
    )?;
    gauges(
        writer,
        "queue",
        ("queue_limit", "The most that may wait in a queue."),
        queues.iter().map(|(name, _, limit)| (*name, *limit)),
    )?;
    let caches = caches(sources);
    gauges(
        writer,
        "cache",
        (
            "cache_entries",
            "What the agent remembers, by what it is about.",
        ),
        caches.iter().map(|(name, length, _)| (*name, *length)),
    )?;
    gauges(
        writer,
        "cache",
        (
            "cache_entries_limit",
            "The most that the agent remembers, by what it is about.",
        ),
        caches.iter().map(|(name, _, limit)| (*name, *limit)),
    )
}

fn gauges(
    writer: &mut Writer<'_>,
    label: &'static str,
    (name, help): (&str, &str),
    samples: impl Iterator<Item = (&'static str, u64)>,
) -> fmt::Result {
    writer.gauges(
        name,
        help,
        samples.map(|(of, value)| ([(label, of)], value)),
    )
}

fn queues(sources: &Sources) -> Vec<Room> {
    let (waiting, most) = sources.detection.queue();
    let undecided = &sources.detection.undecided;
    let places = QUESTIONS as u64;
    let free = sources.questions.available_permits() as u64;
    let mut queues = vec![
        // Events for the detection thread.
        ("detection", waiting, most),
        // Findings that wait until the runtime has told of their container.
        (undecided.name, undecided.get(), undecided.limit),
        // Containers that the runtime is to be asked about.
        (
            "runtime-questions",
            sources.enrichment.queued(),
            metadata::QUEUE as u64,
        ),
        // Questions of history that are being answered.
        ("history-questions", places.saturating_sub(free), places),
    ];
    if let Some(store) = &sources.store {
        let settled = *store.settled().borrow();
        // What memory lets go of before it is written is missing from history.
        let events = &sources.events.recent;
        let alerts = &sources.alerts.recent;
        let behind = |last: u64, written: u64| last.saturating_sub(written);
        queues.push((
            "history-events",
            behind(events.last(), settled.events),
            events.room().1 as u64,
        ));
        queues.push((
            "history-alerts",
            behind(alerts.last(), settled.alerts),
            alerts.room().1 as u64,
        ));
    }
    queues
}

fn caches(sources: &Sources) -> Vec<Room> {
    let recent = [
        ("recent-events", sources.events.recent.room()),
        ("recent-alerts", sources.alerts.recent.room()),
    ]
    .map(|(name, (length, limit))| (name, length as u64, limit as u64));
    let engine = sources.figures.caches.all();
    let detection = sources.detection.caches();
    let cluster = sources.cluster.is_asked.then(|| sources.cluster.caches());
    engine
        .into_iter()
        .chain(detection)
        .chain(cluster.into_iter().flatten())
        .map(|cache| (cache.name, cache.get(), cache.limit))
        .chain(recent)
        .collect()
}
