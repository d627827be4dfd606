//! The clients that follow the streams of events and alerts.

use std::fmt;

use super::{super::sources::Sources, writer::Writer};

pub(super) fn write(sources: &Sources, writer: &mut Writer<'_>) -> fmt::Result {
    let (events, alerts) = (&sources.events, &sources.alerts);
    let label = |name| [("stream", name)];
    writer.gauges(
        "subscribers",
        "Clients that follow a stream.",
        [
            (label("events"), sources.followers()),
            (label("alerts"), alerts.subscribers.count()),
        ],
    )?;
    let streams = [
        ("events", &events.subscribers, events.recent.last()),
        ("alerts", &alerts.subscribers, alerts.recent.last()),
    ];
    writer.gauges(
        "subscriber_lag",
        "Elements of a stream that the slowest client has not been sent yet.",
        streams.map(|(name, subscribers, last)| (label(name), subscribers.lag(last))),
    )?;
    writer.counters(
        "subscriber_missed",
        "Elements of a stream that clients were too slow for; each is told how many it missed.",
        streams.map(|(name, subscribers, _)| (label(name), subscribers.missed())),
    )
}
