//! Whether the node is watched, and how far heartbeats come.

use std::fmt;

use super::{super::sources::Sources, writer::Writer};
use crate::heartbeat::Stage;

pub(super) fn write(sources: &Sources, writer: &mut Writer<'_>) -> fmt::Result {
    let (is_serving, is_live) = {
        let health = sources.health.borrow();
        (health.is_serving, health.is_live)
    };
    writer.gauge(
        "serving",
        "1 where alerts are found and served: what health checks are told.",
        u64::from(is_serving),
    )?;
    writer.gauge(
        "live",
        "1 where the agent itself works: otherwise a restart may help.",
        u64::from(is_live),
    )?;
    let heartbeats = &sources.heartbeats;
    let label = |stage: Stage| [("stage", stage.name())];
    writer.counters(
        "heartbeats",
        "Number of the last heartbeat that came by a stage on its way from the kernel to a client.",
        Stage::ALL.map(|stage| (label(stage), heartbeats.number(stage))),
    )?;
    writer.gauges(
        "heartbeat_age_seconds",
        "How long ago the last heartbeat came by a stage. There is one every 5 s.",
        Stage::ALL.map(|stage| (label(stage), heartbeats.age(stage).as_secs_f64())),
    )
}
