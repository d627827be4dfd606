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
