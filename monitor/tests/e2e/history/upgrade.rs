//! Another file takes the agent's place, as an upgrade has it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rustix::process::Signal;
use watchkeeper::proto::v1::{AlertsWatchRequest, Event};

use super::{few_sensors, of_container};
use crate::harness::agent::{Agent, binary};
use crate::harness::command::{output, refused};
use crate::harness::held::Held;
use crate::harness::podman::{Container, Podman};
use crate::harness::watch::{argv, container_id};
use crate::harness::{eventually, skipped, unique};

/// What is pinned in the kernel's file system for that.
fn pinned() -> BTreeSet<String> {
    let entries = fs::read_dir("/sys/fs/bpf").into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Ids of the alerts about a container.
async fn alerts(agent: &Agent, container: &Container<'_>) -> Vec<String> {
    let alerts = agent.past_alerts().await.into_iter();
    alerts
        .filter(|alert| container_id(alert.container.as_ref()) == container.id)
        .map(|alert| alert.id)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_program_goes_on_where_the_older_one_was_stopped() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let (state, history) = (
        directory.path().join("state"),
        directory.path().join("kept"),
    );
    let newer = directory.path().join("watchkeeper-next");
    fs::copy(binary(), &newer).expect("the program can be copied");
    let history = history.display().to_string();
    let mut arguments = few_sensors();
    arguments.extend(["--history-dir", &history]);
    let start = |program: &Path| Agent::start_as(program, &state, &arguments);
    let before = pinned();

    let mut older = start(&binary());
    let container = podman.run(&unique("upgraded"), &[], &["/bin/sleep", "1000"]);
    // A shell that goes on over the upgrade, and starts shells of its own.
    let steps = "while :; do sh -c 'sleep 0.1; true'; done >/dev/null 2>&1 & exit 0";
    let injected = container.exec(&["/bin/sh", "-c", steps]);
    assert!(injected.status.success(), "{injected:?}");
    let is_step = |event: &Event| {
        argv(event) == ["sleep", "0.1"] && container_id(event.container.as_ref()) == container.id
    };
    let step = older.exec("a step", is_step).await;
    let mut live = older.live_alerts().await;
    live.find("an alert about the shell", |alert| {
        container_id(alert.container.as_ref()) == container.id
    })
    .await;
    let found = alerts(&older, &container).await;
    let all = older.past_alerts().await;
    let last_read = all.last().expect("there is one").cursor.clone();

    // Too early: the older one goes on, and nothing of it is touched.
    let mut early = std::process::Command::new(&newer);
    early.args(["agent", "--cri-socket", "none", "--state-dir"]);
    let line = refused(&output(early.arg(&state)), 1);
    assert!(line.contains("another one is running"), "{line}");
    older.status().await;

    let held = Held::by(older.pid());
    let status = older.end_with(Signal::TERM);
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(!older.socket().exists(), "the socket is free");
    eventually("the kernel frees what the older one had", || {
        let left = held.left();
        (left.programs.is_empty() && left.links.is_empty() && left.maps.is_empty()).then_some(())
    });
    assert_eq!(pinned(), before, "nothing is pinned");
    drop(older);

    let restarted = prost_types::Timestamp::from(std::time::SystemTime::now());
    let newer = start(&newer);
    let known = of_container(newer.past_execs().await, &container.id);
    assert!(
        known.iter().any(|event| event.cursor == step.cursor),
        "what the older one saw is known"
    );
    let running = newer.containers(false).await;
    assert!(running.iter().any(|one| one.id == container.id));
    let later = newer
        .exec("a step that the newer one sees", |event| {
            is_step(event)
                && event
                    .time
                    .is_some_and(|time| time.seconds > restarted.seconds)
        })
        .await;
    let shell = |event: &Event| event.ancestors[1].exec_id.clone();
    assert_eq!(shell(&later), shell(&step), "the shell is known to it");
    assert_eq!(
        alerts(&newer, &container).await,
        found,
        "none is there twice"
    );

    // A client that had read all goes on with what is new.
    let another = podman.run(&unique("later"), &[], &["/bin/sleep", "1000"]);
    let injected = another.exec(&["/bin/sh", "-c", "true"]);
    assert!(injected.status.success(), "{injected:?}");
    let mut resumed = newer
        .watch_alerts(AlertsWatchRequest {
            cursor: last_read,
            follow: true,
            ..Default::default()
        })
        .await;
    resumed
        .find("an alert that the newer one finds", |alert| {
            container_id(alert.container.as_ref()) == another.id
        })
        .await;
    let old = resumed
        .seen
        .iter()
        .filter(|alert| container_id(alert.container.as_ref()) == container.id);
    assert_eq!(old.count(), 0, "{:#?}", resumed.seen);
    let absence = resumed
        .absences
        .first()
        .expect("it was told of the upgrade");
    assert!(absence.reason.contains("was stopped"), "{absence:#?}");
}
