//! One container can't blind the node: what it does beyond its budget is counted in its name, and what others do is reported
//! all the same.

use std::collections::BTreeMap;

use watchkeeper::proto::v1::{
    Event, EventKind, EventsWatchRequest, Location, Severity, event::Detail,
};

use crate::catalogue::say;
use crate::harness::agent::Agent;
use crate::harness::skipped;
use crate::harness::watch::container_id;
use crate::signals::actor::{Acted, act};

/// How often the other container does it.
const STEPS: usize = 50;

/// Facts of an action that every kernel offers.
async fn acted(action: &str) -> crate::signals::case::Facts {
    match act(action).await {
        Ok(Acted::Done(facts)) => facts,
        Ok(Acted::NotOffered(why)) => panic!("{action} is not offered: {why}"),
        Err(error) => panic!("{action}: {error}"),
    }
}

/// Whether an event is the step: the file of the kernel was opened to write.
fn is_step(event: &Event) -> bool {
    match &event.detail {
        Some(Detail::FileOpen(open)) => {
            open.path == "/proc/sys/kernel/core_pattern"
                && open.reasons.iter().any(|reason| reason == "kernel-control")
        }
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_container_hides_nothing_of_another() {
    if skipped() {
        return;
    }
    let agent = Agent::full(&["--budget", "process=20", "--metrics-listen", "127.0.0.1:0"]);
    let flood = tokio::spawn(acted("flood"));
    // The flood has begun when its losses are told.
    let mut losses = agent.live_events(EventKind::Loss).await;
    losses.find("the flood's first loss", |_| true).await;
    let mut opens = agent.live_events(EventKind::FileOpen).await;
    // Whoever watches reads all the time.
    let (seen, steps) = tokio::join!(opens.gather(STEPS, is_step), acted("escape-steps"));
    let flood = flood.await.expect("the flood is played");

    assert_eq!(seen, STEPS, "every step is reported");
    for step in opens.seen.iter().filter(|event| is_step(event)) {
        let container = container_id(step.container.as_ref());
        assert_eq!(container, steps.text("container"), "{step:#?}");
    }

    let lost = agent
        .past_events(EventsWatchRequest {
            kinds: vec![EventKind::Loss.into()],
            ..Default::default()
        })
        .await;
    let mut classes = BTreeMap::new();
    for event in &lost {
        let Some(Detail::Loss(loss)) = &event.detail else {
            panic!("{event:#?}");
        };
        assert_eq!(loss.reason, "over budget", "{event:#?}");
        // What else runs on the host may be busy, too.
        if event.location() == Location::Host {
            continue;
        }
        assert_eq!(
            container_id(event.container.as_ref()),
            flood.text("container"),
            "no other container loses anything: {event:#?}"
        );
        *classes.entry(loss.class.clone()).or_insert(0) += loss.count;
    }
    for class in ["file", "network", "process"] {
        assert!(classes.contains_key(class), "{class} in {classes:?}");
    }
    // Somebody may want to hide something among so much.
    let alerts = agent.past_alerts().await;
    for (rule, severity) in [
        ("tamper.flood", Severity::High),
        ("tamper.flood-network", Severity::Medium),
    ] {
        let found = alerts.iter().any(|alert| {
            alert.rule_id == rule
                && alert.severity() == severity
                && container_id(alert.container.as_ref()) == flood.text("container")
        });
        assert!(found, "no {rule} among {alerts:#?}");
        say(&format!("{rule}/flood"), None);
    }
    let metrics = agent.metrics();
    for (class, told) in &classes {
        let what = format!("class=\"{class}\",reason=\"over budget\"");
        let anywhere = format!("class=\"{class}\",lane=\"none\",reason=\"over budget\"");
        let all = metrics[&format!("watchkeeper_events_lost_total{{{anywhere}}}")];
        let of_flood = format!("{what},container_id=\"{}\"", flood.text("container"));
        let of_containers: Vec<_> = metrics
            .iter()
            .filter(|(name, _)| name.starts_with("watchkeeper_container_events_lost_total"))
            .filter(|(name, _)| name.contains(&what))
            .collect();
        assert_eq!(of_containers.len(), 1, "{of_containers:?}");
        let (name, count) = of_containers[0];
        assert!(name.contains(&of_flood), "{name}");
        // More may have been told since, and of the host.
        assert!(
            (*told..=all).contains(count),
            "{name}: {told} to {all}, not {count}"
        );
    }
    eprintln!(
        "{} opens, {} connects, {} execs; {} losses were told",
        flood.number("opens"),
        flood.number("connects"),
        flood.number("execs"),
        lost.len()
    );
}
