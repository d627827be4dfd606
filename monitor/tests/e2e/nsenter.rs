//! Entering a container's namespaces from the host, past its runtime.

use std::process::Command;

use watchkeeper::proto::v1::{ExecOrigin, Location};

use crate::harness::agent::Agent;
use crate::harness::command::succeed;
use crate::harness::podman::Podman;
use crate::harness::watch::{argv, container_id};
use crate::harness::{skipped, unique};

/// `nsenter` into the namespaces of `pid`, and there `entry`.
fn nsenter(pid: u32, namespaces: &[&str], entry: &[&str]) {
    let mut command = Command::new("nsenter");
    command.arg("--target").arg(pid.to_string());
    succeed(command.args(namespaces).arg("--").args(entry));
}

#[tokio::test(flavor = "multi_thread")]
async fn shell_that_enters_the_mount_namespace_is_an_injected_one() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let agent = Agent::start(&[]);
    let mut alerts = agent.live_alerts().await;
    // Another one, to be mistaken for.
    let _other = podman.run(&unique("other"), &[], &["/bin/sleep", "1000"]);
    let container = podman.run(&unique("entered"), &[], &["/bin/sleep", "1000"]);
    let pid = container.pid();

    for namespaces in [&["-m", "-u", "-i", "-n", "-p"][..], &["-m", "-p"], &["-m"]] {
        let script = format!(": {}", unique("nsenter"));
        nsenter(pid, namespaces, &["sh", "-c", &script]);

        let what = format!("nsenter {namespaces:?}");
        let alert = alerts
            .find(&what, |alert| {
                alert.rule_id.starts_with("shell.")
                    && alert
                        .process
                        .as_ref()
                        .is_some_and(|process| process.argv.contains(&script))
            })
            .await;
        assert_eq!(alert.rule_id, "shell.injected", "{what}");
        assert_eq!(alert.location(), Location::Container, "{what}");
        let found = alert.container.as_ref().expect("it is in a container");
        assert_eq!(
            (&found.id, &found.name),
            (&container.id, &container.name),
            "{what}"
        );
        let shell = alert.process.as_ref().expect("an alert has a process");
        assert_eq!(shell.origin(), ExecOrigin::NamespaceEntry, "{what}");
        assert_eq!(shell.exe, "/bin/busybox", "{what}");
        let injector = alert.injected_by.as_ref().expect("somebody put it there");
        assert!(injector.exe.ends_with("/nsenter"), "{what}: {injector:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn descendants_of_an_entered_process_are_in_the_container() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let agent = Agent::start(&[]);
    let container = podman.run(&unique("entered"), &[], &["/bin/sleep", "1000"]);
    let marker = unique("child");
    let script = format!("/bin/true {marker}; :");
    nsenter(container.pid(), &["-m", "-p"], &["sh", "-c", &script]);
    let event = agent.exec_with(&marker).await;
    assert_eq!(
        container_id(event.container.as_ref()),
        container.id,
        "{event:#?}"
    );
    let process = event.process.as_ref().expect("an exec has a process");
    assert_eq!(process.origin(), ExecOrigin::NamespaceEntry);
}

#[tokio::test(flavor = "multi_thread")]
async fn host_shell_in_a_container_network_is_no_shell_in_the_container() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let agent = Agent::start(&[]);
    let container = podman.run(&unique("network"), &[], &["/bin/sleep", "1000"]);
    let script = format!(": {}", unique("host"));
    nsenter(container.pid(), &["-n"], &["/bin/sh", "-c", &script]);

    let event = agent
        .exec("the shell", |event| {
            argv(event) == ["/bin/sh", "-c", &script]
        })
        .await;
    assert_eq!(event.location(), Location::Host, "{event:#?}");
    assert_eq!(container_id(event.container.as_ref()), "");
    let process = event.process.as_ref().expect("an exec has a process");
    assert_eq!(process.origin(), ExecOrigin::Unspecified);
    let namespaces = process.namespaces.clone().unwrap_or_default();
    assert_eq!(namespaces.host, ["mnt", "pid"]);

    container.exec(&["/bin/sh", "-c", "id"]);
    let mut alerts = agent.live_alerts().await;
    alerts
        .find("the later shell", |alert| {
            container_id(alert.container.as_ref()) == container.id
        })
        .await;
    let of_host_shell = alerts.seen.iter().find(|alert| {
        let process = alert.process.as_ref();
        process.is_some_and(|process| process.argv.contains(&script))
    });
    assert!(of_host_shell.is_none(), "{of_host_shell:#?}");
}
