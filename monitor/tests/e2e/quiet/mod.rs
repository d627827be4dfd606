//! Quiet on the healthy: workloads that do nothing wrong cause no alert of high or critical severity under the default rules.
//!
//! All of them run at once, each in containers of its own: servers, schedulers, compilers and package managers of Debian, and
//! what is made of busybox. Lesser alerts are allowed: some of what healthy workloads do is worth a look. What was found in a workload
//! goes to standard error, see [`report`]; `cargo xtask quiet --record` keeps it.

mod build;
mod probes;
mod report;
mod session;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use watchkeeper::proto::v1::{Alert, Severity};

use crate::harness::agent::Agent;
use crate::harness::containerd::Containerd;
use crate::harness::podman::Podman;
use crate::harness::watch::container_id;
use crate::harness::{debian, skipped, unique};

/// A workload that has come to its end.
struct Finished {
    name: &'static str,
    /// The ids of its containers.
    containers: BTreeSet<String>,
    took: Duration,
}

/// How long a workload may take: cron starts its first job after up to a minute.
const PATIENCE: Duration = Duration::from_secs(150);

#[tokio::test(flavor = "multi_thread")]
async fn healthy_workloads_cause_no_serious_alert() {
    if skipped() {
        return;
    }
    let containerd = Containerd::start().await;
    let podman = Podman::with_images(debian::store());
    let agent = Agent::full(&["--cri-socket", &containerd.socket()]);
    let files = workloads::Files::new();
    let build = build::start(&podman, &files);
    let mut running = workloads::start(&podman, &files);
    let pod = containerd.pod("shop", &[]).await;
    let mut finished = vec![probes::of_pod(&pod).await, probes::of_server(&podman).await];
    finished.push(build.finish(&agent).await);
    let deadline = Instant::now() + PATIENCE;
    while !running.is_empty() {
        let (over, still) = running.into_iter().partition(workloads::Running::is_over);
        running = still;
        finished.extend(over.into_iter().map(workloads::Running::finish));
        if let Some(one) = running.first().filter(|_| Instant::now() >= deadline) {
            panic!("{} does not finish:\n{}", one.name, one.said());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }

    was_watched(&agent, &finished);
    let alerts = all_alerts(&agent, &podman).await;
    let mut serious = Vec::new();
    for workload in &finished {
        let own = alerts.iter().filter(|alert| {
            let id = container_id(alert.container.as_ref());
            workload.containers.contains(id)
        });
        let own: Vec<&Alert> = own.collect();
        report::write(workload, &own);
        let grave = own
            .into_iter()
            .filter(|alert| alert.severity() >= Severity::High);
        serious.extend(grave.map(|alert| report::describe(workload.name, alert)));
    }
    assert!(serious.is_empty(), "{}", serious.join("\n"));
}

/// Checks that silence means something: programs were seen in every container.
fn was_watched(agent: &Agent, finished: &[Finished]) {
    for Finished {
        name, containers, ..
    } in finished
    {
        assert!(!containers.is_empty(), "{name} ran in no container");
        for id in containers {
            let execs = agent.query(&["events", "--kind", "exec", "--container", id]);
            assert!(!execs.is_empty(), "no program was seen in {name}, {id}");
        }
    }
}

/// The alerts of the agent's life, each once, with the highest severity that it had.
async fn all_alerts(agent: &Agent, podman: &Podman) -> Vec<Alert> {
    // An alert that is to come shows that all before it was looked at.
    let last = podman.run(&unique("last"), &[], &["/bin/sleep", "1000"]);
    last.exec(&["/bin/sh", "-c", "id"]);
    let mut alerts = agent.live_alerts().await;
    alerts
        .find("the alert that comes last", |alert| {
            alert.rule_id == "shell.injected" && container_id(alert.container.as_ref()) == last.id
        })
        .await;
    let mut highest: BTreeMap<String, Alert> = BTreeMap::new();
    for alert in alerts.seen {
        let known = highest.get(&alert.id).map(Alert::severity);
        if known.is_none_or(|known| known < alert.severity()) {
            highest.insert(alert.id.clone(), alert);
        }
    }
    highest.into_values().collect()
}
