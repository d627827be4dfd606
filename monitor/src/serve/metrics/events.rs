//! Events, and what was lost of them.

use std::fmt;

use watchkeeper_ebpf::loss::{Class, Lane, Reason};

use super::{super::sources::Sources, writer::Writer};
use crate::{
    engine::figures::Losses,
    event::{LossReason, class_name, lane_name},
    proto::kind_name,
};

pub(super) fn write(sources: &Sources, writer: &mut Writer<'_>) -> fmt::Result {
    writer.counters(
        "events",
        "Events, by kind.",
        sources
            .figures
            .events()
            .map(|(kind, count)| ([("kind", kind_name(kind))], count)),
    )?;
    let losses = sources.figures.losses();
    writer.counters(
        "events_lost",
        "Events that were lost, by what they were about, the ring buffer that they were for (none: another place) and why.",
        places().map(|key @ (class, lane, reason)| {
            let labels = [
                ("class", class_name(class)),
                ("lane", lane_name(lane)),
                ("reason", reason.name()),
            ];
            (labels, losses.all.get(&key).copied().unwrap_or(0))
        }),
    )?;
    of_containers(&losses, writer)
}

/// Everything that can be lost: a full ring is one of the two lanes, all else is lost before or after them.
fn places() -> impl Iterator<Item = (Class, Lane, LossReason)> {
    let reasons = LossReason::ALL.into_iter().flat_map(|reason| {
        let lanes: &[Lane] = match reason {
            LossReason::Kernel(Reason::RingFull) => &[Lane::Telemetry, Lane::Critical],
            _ => &[Lane::None],
        };
        lanes.iter().map(move |lane| (*lane, reason))
    });
    Class::ALL.into_iter().flat_map(move |class| {
        reasons
            .clone()
            .map(move |(lane, reason)| (class, lane, reason))
    })
}

fn of_containers(losses: &Losses, writer: &mut Writer<'_>) -> fmt::Result {
    let samples = losses
        .containers
        .iter()
        .map(|((_, class, reason), (container, count))| {
            let details = container.details();
            let description = &details.description;
            let pod = description.pod.as_ref();
            let of_pod = |part: Option<&String>| part.cloned().unwrap_or_default();
            let labels = [
                ("class", class_name(*class).to_owned()),
                ("reason", reason.name().to_owned()),
                ("container_id", container.id.clone()),
                ("container", description.name.clone()),
                ("pod", of_pod(pod.map(|pod| &pod.name))),
                ("namespace", of_pod(pod.map(|pod| &pod.namespace))),
            ];
            (labels, *count)
        });
    writer.counters(
        "container_events_lost",
        "Events of single containers that were lost, from the first on, by what they were about and why.",
        samples,
    )
}
