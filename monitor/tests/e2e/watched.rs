//! The list of watched files: an operator's own, replaced while the agent runs.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use watchkeeper::proto::v1::{Event, EventKind, event::Detail};

use crate::harness::agent::Agent;
use crate::harness::podman::Podman;
use crate::harness::watch::container_id;
use crate::harness::{skipped, unique};

/// Reasons of an event, where it is about a file.
fn reasons(event: &Event) -> &[String] {
    match &event.detail {
        Some(Detail::FileOpen(open)) => &open.reasons,
        _ => &[],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_replaced_at_run_time() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let list = directory.path().join("watch.yaml");
    let watch = |name: &str, path: &str| {
        let text = format!("files:\n  - {{name: {name}, access: [write], paths: [{path}]}}\n");
        fs::write(&list, text).expect("a list can be written");
    };
    let (first, second) = (unique("first"), unique("second"));
    watch("first", &format!("/tmp/{first}"));
    let file = list.display().to_string();
    let agent = Agent::full(&["--watch-list", &file]);
    let container = podman.run(&unique("watched"), &[], &["/bin/sleep", "1000"]);
    let touch = |name: &str| {
        let command = format!("echo x > /tmp/{name}");
        let output = container.exec(&["/bin/sh", "-c", &command]);
        assert!(output.status.success(), "{output:?}");
    };
    let mut opens = agent.live_events(EventKind::FileOpen).await;
    touch(&second);
    touch(&first);
    let of = |event: &Event, name: &str| {
        container_id(event.container.as_ref()) == container.id
            && reasons(event).iter().any(|reason| reason == name)
    };
    opens
        .find("the first file", |event| of(event, "first"))
        .await;

    // What can't be read changes nothing.
    fs::write(&list, "files: [1]\n").expect("a list can be written");
    agent.signal(Signal::HUP);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    touch(&first);
    let again = opens.gather(2, |event| of(event, "first")).await;
    assert_eq!(again, 2, "the list before it stays in force");

    watch("second", &format!("/tmp/{second}"));
    agent.signal(Signal::HUP);
    // It is taken over within a second or so.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    touch(&first);
    touch(&second);
    opens
        .find("the second file", |event| of(event, "second"))
        .await;
    let of_first = opens.seen.iter().filter(|event| of(event, "first")).count();
    assert_eq!(of_first, 2, "the first one is watched no more");
}
