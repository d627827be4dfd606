//! What container runtimes are asked about new containers, and whether they answer.

use std::{fmt, sync::PoisonError};

use super::{super::sources::Sources, writer::Writer};
use crate::container::{
    cluster::knowledge::Link,
    figures::{Outcome, Runtime},
};

pub(super) fn write(sources: &Sources, writer: &mut Writer<'_>) -> fmt::Result {
    let figures = &sources.enrichment;
    if figures.is_cri_wanted {
        let connection = sources
            .connection
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        writer.gauge(
            "runtime_connected",
            "Whether the container runtime answers at its CRI socket; without it pods and images have no names.",
            u64::from(connection.runtime.is_some()),
        )?;
    }
    if sources.cluster.is_asked {
        let links = sources.cluster.links();
        writer.gauges(
            "kubernetes_connected",
            "Whether the API server tells of pods and of namespaces; without it new pods have no workload, and policies that select by \
             labels of namespaces can't tell.",
            links.map(|(resource, link)| {
                ([("resource", resource)], u64::from(link == Link::Following))
            }),
        )?;
        writer.counters(
            "kubernetes_failures",
            "How often following what the API server tells failed.",
            sources
                .cluster
                .failures()
                .map(|(resource, count)| ([("resource", resource)], count)),
        )?;
    }
    writer.counter(
        "enrichment_questions",
        "Containers that a runtime was to be asked about.",
        figures.questions(),
    )?;
    writer.counter(
        "enrichment_questions_refused",
        "Containers that no runtime is asked about because too many waited.",
        figures.refused(),
    )?;
    writer.gauge(
        "enrichment_questions_pending",
        "Containers that a runtime is being asked about, or will be asked about again.",
        figures.pending(),
    )?;
    let answers = Runtime::ALL.into_iter().flat_map(|runtime| {
        Outcome::ALL.into_iter().map(move |outcome| {
            let labels = [("runtime", runtime.name()), ("result", outcome.name())];
            (labels, figures.answers(runtime, outcome))
        })
    });
    writer.counters(
        "enrichment_answers",
        "What came of asking a runtime, each time that it was asked.",
        answers,
    )?;
    let amendments = [
        ("events", sources.events.recent.amendments()),
        ("alerts", sources.alerts.recent.amendments()),
    ];
    writer.counters(
        "amendments",
        "How often a stream was told that more is known of a container.",
        amendments.map(|(stream, count)| ([("stream", stream)], count)),
    )
}
