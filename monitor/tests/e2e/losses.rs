//! What the agent could not read in time is counted by cgroup, told in the stream, and shown in the status.

use std::process::{Command, Stdio};

use rustix::process::Signal;
use watchkeeper::proto::v1::{EventKind, EventsWatchRequest, Location, event::Detail};

use crate::harness::agent::Agent;
use crate::harness::cgroup::Cgroup;
use crate::harness::{command, eventually, skipped, unique, within};

/// Cgroups that come and go, which use up a small budget.
const CGROUPS: usize = 100;
/// Execs that fill the smallest ring several times over.
const EXECS: usize = 500;

/// Fills the ring while nobody reads it.
fn flood_unread(agent: &Agent, cgroup: &Cgroup) {
    // An agent that does not run does not read.
    agent.signal(Signal::STOP);
    let mut shell: Command = cgroup.command("/bin/sh");
    let flood = format!("n=0; while [ $n -lt {EXECS} ]; do /usr/bin/true; n=$((n + 1)); done");
    let mut flood = shell
        .args(["-c", &flood])
        .stdin(Stdio::null())
        .spawn()
        .expect("a shell can be run");
    let status = eventually("the flood ends", || {
        flood.try_wait().expect("the flood is a child")
    });
    agent.signal(Signal::CONT);
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_many_losses_the_node_is_not_served() {
    if skipped() {
        return;
    }
    let cgroup = Cgroup::make(&format!("/{}", unique("watchkeeper-flood")));
    let agent = Agent::start(&["--ring-size", "64"]);
    let health = |agent: &Agent, arguments: &[&str]| {
        let outcome = command::output(&mut agent.client(arguments));
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        (outcome.status.code(), said)
    };
    eventually("the node is served", || {
        (health(&agent, &["health"]).0 == Some(0)).then_some(())
    });

    // More than a thousand: each program is a process that begins and ends, too.
    flood_unread(&agent, &cgroup);

    let lost = "events were lost within 60 s, and not because a container exceeds its budget";
    eventually("health says what is wrong", || {
        let (code, said) = health(&agent, &["health"]);
        (code == Some(1) && said.contains(lost)).then_some(())
    });
    // A restart would not help.
    assert_eq!(health(&agent, &["health", "--live"]).0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_find_no_room_are_counted_and_told_with_their_cgroup() {
    if skipped() {
        return;
    }
    let cgroup = Cgroup::make(&format!("/{}", unique("watchkeeper-flood")));
    let agent = Agent::start(&["--ring-size", "64", "--metrics-listen", "127.0.0.1:0"]);

    flood_unread(&agent, &cgroup);

    let mut watch = agent.live_events(EventKind::Loss).await;
    let event = watch
        .find("a loss of the flooded cgroup", |event| {
            event.cgroup_path == cgroup.path()
        })
        .await;
    assert_eq!(event.location(), Location::Host, "{event:#?}");
    let Some(Detail::Loss(loss)) = event.detail else {
        panic!("a loss says what was lost: {event:#?}");
    };
    assert!(loss.count > 0 && loss.cgroup_id != 0, "{loss:#?}");
    assert_eq!(
        (loss.class.as_str(), loss.reason.as_str()),
        ("process", "ring full")
    );
    let counters = agent.status().await.counters.expect("counters are set");
    assert!(counters.lost >= loss.count, "{counters:#?}");
    assert_eq!(counters.malformed, 0, "a full ring damages nothing");
    let metrics = agent.metrics();
    let lost =
        "watchkeeper_events_lost_total{class=\"process\",lane=\"telemetry\",reason=\"ring full\"}";
    assert!(
        metrics[lost] >= loss.count,
        "{} of {}",
        metrics[lost],
        loss.count
    );
    let ring =
        |what: &str| metrics[&format!("watchkeeper_ring_{what}_bytes{{lane=\"telemetry\"}}")];
    assert_eq!(ring("size"), 64 << 10);
    // The next record found no room: there was less than the longest takes.
    assert!(ring("peak") > 32 << 10, "{}", ring("peak"));
    assert!(ring("used") < ring("peak"), "{}", ring("used"));

    // It goes on as before.
    let argument = unique("afterwards");
    let status = cgroup.command("/usr/bin/true").arg(&argument).status();
    assert!(status.is_ok_and(|status| status.success()));
    agent.exec_with(&argument).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_whose_removal_is_lost_has_ended_all_the_same() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&["--budget", "cgroup=5"]);
    let id = "5e".repeat(32);
    let container = Cgroup::make(&format!("/docker-{id}.scope"));
    let path = container.path().to_owned();
    let listed = async |ended| {
        let containers = agent.containers(ended).await;
        containers.iter().any(|container| container.id == id)
    };
    within("it is listed", async {
        while !listed(false).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..CGROUPS {
        drop(Cgroup::make(&format!("/{}", unique("watchkeeper-churn"))));
    }
    drop(container);
    within("it has ended", async {
        while listed(false).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(listed(true).await, "it is among those that have ended");
    let removed = agent
        .past_events(EventsWatchRequest {
            kinds: vec![EventKind::CgroupRemoved.into()],
            ..Default::default()
        })
        .await;
    assert!(
        removed.iter().all(|event| match &event.detail {
            Some(Detail::Cgroup(cgroup)) => cgroup.path != path,
            _ => true,
        }),
        "its removal was reported: the budget was not used up"
    );
}
