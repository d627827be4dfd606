//! The agent itself, and what it knows of the node.

use std::{fmt, sync::atomic::Ordering, time::UNIX_EPOCH};

use super::{super::sources::Sources, writer::Writer};
use crate::process::table;

pub(super) fn write(sources: &Sources, writer: &mut Writer<'_>) -> fmt::Result {
    let figures = &sources.figures;
    writer.info(
        "build",
        "The agent and the kernel.",
        &[
            ("version", env!("CARGO_PKG_VERSION")),
            ("kernel", sources.kernel.as_str()),
        ],
    )?;
    let started = sources.started.duration_since(UNIX_EPOCH);
    writer.gauge(
        "start_time_seconds",
        "When the agent started, in seconds since the epoch.",
        started.unwrap_or_default().as_secs_f64(),
    )?;
    let room = &sources.room;
    writer.gauge(
        "memory_bytes",
        "Memory that is the agent's alone and backed by no file, looked at every 2 s.",
        room.used.load(Ordering::Relaxed),
    )?;
    writer.gauge(
        "memory_limit_bytes",
        "What that may be: beyond it recent events and alerts are kept on disk alone.",
        room.limit,
    )?;
    writer.counters(
        "memory_let_go",
        "Recent events and alerts that were let go of to keep to the limit of memory.",
        [
            (
                [("what", "events")],
                room.events_let_go.load(Ordering::Relaxed),
            ),
            (
                [("what", "alerts")],
                room.alerts_let_go.load(Ordering::Relaxed),
            ),
        ],
    )?;
    writer.gauge(
        "containers",
        "Containers that run.",
        sources.containers.running(),
    )?;
    writer.gauge(
        "processes",
        "Processes in the table, those included that ended but have living descendants.",
        figures.processes.load(Ordering::Relaxed),
    )?;
    writer.gauge(
        "processes_limit",
        "Most processes in the table.",
        table::CEILING,
    )?;
    writer.counter(
        "processes_refused",
        "Processes that found no room in the table.",
        figures.processes_refused.load(Ordering::Relaxed),
    )?;
    writer.counter(
        "records_malformed",
        "Records of the kernel side that could not be decoded.",
        figures.malformed.load(Ordering::Relaxed),
    )
}
