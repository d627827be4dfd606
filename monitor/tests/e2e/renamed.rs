//! What a shell is does not depend on what it is called.

use watchkeeper::proto::v1::Alert;

use crate::harness::agent::Agent;
use crate::harness::podman::Podman;
use crate::harness::watch::container_id;
use crate::harness::{skipped, unique};

/// Commands that run a shell, whatever they are called.
const SHELLS: [(&str, &[&str]); 9] = [
    ("busybox through its link", &["/bin/sh", "-c", "exit 0"]),
    (
        "busybox through another link",
        &["/bin/ash", "-c", "exit 0"],
    ),
    (
        "busybox, applet as an argument",
        &["/bin/busybox", "sh", "-c", "exit 0"],
    ),
    (
        "renamed busybox, applet as an argument",
        &["/opt/busybox-1.35", "sh", "-c", "exit 0"],
    ),
    (
        "renamed busybox through a link",
        &["/opt/ash", "-c", "exit 0"],
    ),
    ("dash", &["/bin/dash", "-c", "exit 0"]),
    (
        "copy of dash",
        &["/bin/totally-not-a-shell", "-c", "exit 0"],
    ),
    ("link to dash", &["/opt/link-to-dash", "-c", "exit 0"]),
    (
        "other name of dash's file",
        &["/opt/other-name-of-dash", "-c", "exit 0"],
    ),
];

/// Commands that run none, whatever they are called.
const OTHERS: [(&str, &[&str]); 5] = [
    (
        "another program called sh",
        &["/opt/decoy/sh", "-c", "exit 0"],
    ),
    ("another program called bash", &["/opt/decoy/bash"]),
    ("another applet of busybox", &["/bin/cat", "/bin/sh"]),
    (
        "another applet as an argument",
        &["/bin/busybox", "cat", "/bin/sh"],
    ),
    (
        "an applet with a shell's name as an argument",
        &["/bin/true", "sh"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn renaming_hides_no_shell_and_makes_none() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let agent = Agent::start(&[]);
    let container = podman.run(&unique("renamed"), &[], &["/bin/sleep", "1000"]);

    for (name, command) in SHELLS.iter().chain(&OTHERS) {
        let output = container.exec(command);
        assert!(output.status.success(), "{name}: {output:?}");
    }
    check(&agent, &container.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copying_a_shell_while_the_container_runs_hides_nothing() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let agent = Agent::start(&[]);
    let container = podman.run(&unique("copied"), &[], &["/bin/sleep", "1000"]);
    for command in [
        &["/bin/cp", "/bin/dash", "/tmp/updater"][..],
        &["/tmp/updater", "-c", "exit 0"],
        &["/bin/cp", "/bin/busybox", "/tmp/worker"],
        &["/bin/ln", "-s", "/tmp/worker", "/tmp/ash"],
        &["/tmp/ash", "-c", "exit 0"],
    ] {
        let output = container.exec(command);
        assert!(output.status.success(), "{command:?}: {output:?}");
    }
    let mut alerts = agent.live_alerts().await;
    for program in ["/tmp/updater", "/tmp/ash"] {
        let alert = alerts
            .find(program, |alert| {
                is_about_shells(alert)
                    && alert
                        .process
                        .as_ref()
                        .is_some_and(|process| process.argv[0] == program)
            })
            .await;
        assert_eq!(alert.rule_id, "shell.injected");
        assert_eq!(container_id(alert.container.as_ref()), container.id);
    }
    let shells = alerts.seen.iter();
    let shells = shells.filter(|alert| {
        container_id(alert.container.as_ref()) == container.id && is_about_shells(alert)
    });
    assert_eq!(shells.count(), 2, "{:#?}", alerts.seen);
}

/// Other rules have something to say of programs that were copied or put in.
fn is_about_shells(alert: &Alert) -> bool {
    alert.rule_id.starts_with("shell.")
}

/// Whether every shell, and nothing else, was an alert about shells.
async fn check(agent: &Agent, container: &str) {
    let mut alerts = agent.live_alerts().await;
    for (name, command) in SHELLS {
        let alert = alerts
            .find(name, |alert| {
                is_about_shells(alert)
                    && alert
                        .process
                        .as_ref()
                        .is_some_and(|process| process.argv == command)
            })
            .await;
        assert_eq!(alert.rule_id, "shell.injected", "{name}");
        assert_eq!(container_id(alert.container.as_ref()), container, "{name}");
        let claimed_only = alert.facts.is_empty();
        assert!(
            !claimed_only,
            "{name}: it says how the shell was recognised"
        );
    }
    // The others ran; had one been taken for a shell, its alert would be older than the exec's event.
    for (name, command) in OTHERS {
        agent
            .exec(name, |event| {
                container_id(event.container.as_ref()) == container
                    && event
                        .process
                        .as_ref()
                        .is_some_and(|process| process.argv == command)
            })
            .await;
    }
    let alerts = agent.past_alerts().await.into_iter();
    let shells = alerts.filter(|alert| {
        container_id(alert.container.as_ref()) == container && is_about_shells(alert)
    });
    for alert in shells {
        let argv = alert
            .process
            .map(|process| process.argv)
            .unwrap_or_default();
        let expected = SHELLS.iter().any(|(_, command)| argv == *command);
        assert!(expected, "{} for {argv:?}", alert.rule_id);
    }
}
