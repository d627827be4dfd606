//! History on disk. Where none is wanted, nothing is told of it.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{super::sources::Sources, writer::Writer};

pub(super) fn write(sources: &Sources, writer: &mut Writer<'_>) -> fmt::Result {
    let trouble = match &sources.store {
        Some(store) => store.trouble(),
        None => sources.store_trouble.clone(),
    };
    if sources.store.is_some() || trouble.is_some() {
        writer.gauge(
            "history_up",
            "Whether history is written to disk.",
            u64::from(trouble.is_none()),
        )?;
    }
    let Some(store) = &sources.store else {
        return Ok(());
    };
    let figures = store.figures();
    let limits = store.limits();
    let number = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
    writer.gauge(
        "history_bytes",
        "Bytes that history takes on disk.",
        number(&figures.bytes),
    )?;
    writer.gauge(
        "history_limit_bytes",
        "The most bytes that history may take on disk.",
        limits.bytes,
    )?;
    writer.gauge(
        "history_limit_seconds",
        "How far back history may reach.",
        limits.age.as_secs(),
    )?;
    writer.gauge("history_segments", "Files of history.", store.parts().len())?;
    // Neither is there before the first event was written.
    if let Some(oldest) = figures.oldest_event.since_epoch() {
        writer.gauge(
            "history_oldest_timestamp_seconds",
            "When the oldest event on disk was, in seconds since the epoch.",
            oldest.as_secs_f64(),
        )?;
    }
    if let Some(last) = figures.last_commit.since_epoch() {
        writer.gauge(
            "history_last_commit_timestamp_seconds",
            "When events were written to disk last, in seconds since the epoch.",
            last.as_secs_f64(),
        )?;
    }
    writer.histogram(
        "history_commit_duration_seconds",
        "How long it took to write a batch of events and alerts to disk.",
        Duration::from_nanos(number(&figures.busy_ns)).as_secs_f64(),
        &figures.commits.classes(),
    )?;
    writer.counter(
        "history_failures",
        "How often writing to disk failed; what was to be written is tried again.",
        number(&figures.failures),
    )?;
    writer.counter(
        "history_events_written",
        "Events written to disk.",
        number(&figures.events),
    )?;
    writer.counter(
        "history_events_missed",
        "Events and amendments that were gone from memory before they were written to disk.",
        number(&figures.missed),
    )?;
    writer.counter(
        "history_alerts_missed",
        "Alerts and amendments that were gone from memory before they were written to disk.",
        number(&figures.alerts_missed),
    )
}
