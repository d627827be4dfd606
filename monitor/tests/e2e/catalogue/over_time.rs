//! What only time tells: what a workload has not done before, and connections that last.

use std::fs;
use std::time::Duration;

use watchkeeper::proto::v1::{Alert, Severity};

use super::{APPLETS, find, say};
use crate::harness::agent::Agent;
use crate::harness::podman::{Container, Podman};
use crate::harness::watch::container_id;
use crate::harness::{skipped, unique};

fn run<'a>(podman: &'a Podman, name: &str) -> Container<'a> {
    podman.run(
        &unique(name),
        &["--cap-add", "NET_ADMIN"],
        &["/bin/sleep", "1000"],
    )
}

fn shell(container: &Container, script: &str) {
    container.exec(&["/bin/sh", "-c", &(APPLETS.to_owned() + script)]);
}

/// Waits for the finding of `rule`.
async fn found(agent: &Agent, container: &Container<'_>, rule: &str, severity: Severity) {
    let is_about = |alert: &Alert| container_id(alert.container.as_ref()) == container.id;
    let found = find(agent, is_about, rule, severity).await;
    let why = found.as_ref().err();
    say(
        &format!(
            "{rule}/{}",
            container.name.split("-of-").next().unwrap_or_default()
        ),
        why,
    );
    assert_eq!(why, None, "{rule}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_workload_has_not_done_before_is_found() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let agent = Agent::full(&["--learning", "4"]);
    let container = run(&podman, "after-learning-of");
    // What it does at first is usual, and stays so.
    let usual = "b ip addr add 10.0.0.9/32 dev lo; b timeout 1 /bin/busybox nc -l -p 4501 10.0.0.9 & \
                 b sleep 0.3; b timeout 1 /bin/busybox nc 10.0.0.9 4501; wait";
    shell(&container, usual);
    tokio::time::sleep(Duration::from_secs(5)).await;
    shell(&container, usual);
    shell(
        &container,
        "b timeout 1 /bin/busybox nc -l -p 4502 10.0.0.9 & b sleep 0.3; b timeout 1 /bin/busybox nc 10.0.0.9 4502; wait",
    );
    found(&agent, &container, "net.listener-new", Severity::Low).await;
    found(
        &agent,
        &container,
        "net.outside-policy",
        Severity::Informational,
    )
    .await;
    let usual: Vec<Alert> = agent
        .past_alerts()
        .await
        .into_iter()
        .filter(|alert| ["net.listener-new", "net.outside-policy"].contains(&&alert.rule_id[..]))
        .filter(|alert| alert.message.contains("4501"))
        .collect();
    assert!(usual.is_empty(), "{usual:#?}");
}

/// The built-in rule says ten minutes; here it is itself, with three seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_lasts_is_found() {
    const RULE: &str = "net.tunnel-connection";
    if skipped() {
        return;
    }
    let policy = include_str!("../../../policies/network.yaml");
    let (_, rule) = policy
        .split_once(&format!("  - id: {RULE}\n"))
        .expect("it has the rule");
    let (rule, _) = rule.split_once("    cases:\n").expect("it has cases");
    let shorter = rule.replace("600000000000", "3000000000");
    assert_ne!(rule, shorter, "the rule says how long");
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let site = "apiVersion: watchkeeper.dev/v1\nkind: Policy\nmetadata:\n  name: site\nrules:\n";
    fs::write(
        directory.path().join("site.yaml"),
        format!("{site}  - id: site.tunnel-connection\n{shorter}"),
    )
    .expect("a file can be written");

    let podman = Podman::start();
    let agent = Agent::full(&["--policy-dir", &directory.path().to_string_lossy()]);
    let container = run(&podman, "connection-that-lasts-of");
    // 192.0.2.1 is no private address.
    shell(
        &container,
        "b ip addr add 192.0.2.1/32 dev lo; b sleep 7 | b timeout 7 /bin/busybox nc -l -p 4503 192.0.2.1 & b sleep 0.5; \
         b sleep 5 | b timeout 6 /bin/busybox nc 192.0.2.1 4503; wait",
    );
    found(
        &agent,
        &container,
        "site.tunnel-connection",
        Severity::Medium,
    )
    .await;
}
