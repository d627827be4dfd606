//! Shells in podman's containers.

use watchkeeper::proto::v1::{Alert, ExecOrigin, Location, Metadata, Runtime};

use crate::catalogue::say;
use crate::harness::agent::Agent;
use crate::harness::podman::{Container, Podman};
use crate::harness::service::{free_port, get, web_server};
use crate::harness::watch::container_id;
use crate::harness::{image, skipped, unique};

#[tokio::test(flavor = "multi_thread")]
async fn service_shell_and_injected_shell_are_alerts() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let agent = Agent::start(&[]);
    let mut alerts = agent.live_alerts().await;
    let port = free_port();
    let container = podman.run(&unique("web"), &["--network", "host"], &web_server(port));

    get(port, "/cgi-bin/id");
    let output = container.exec(&["/bin/sh", "-c", "id"]);

    assert!(output.status.success(), "{output:?}");
    let from_service = find(&mut alerts, "shell.from-service", &container).await;
    say("shell.from-service/script-of-a-web-server", None);
    let first = from_service.ancestors.last().expect("it has ancestors");
    assert_eq!(
        (first.pid, first.pid_inside, first.origin()),
        (container.pid(), 1, ExecOrigin::Entrypoint)
    );
    let injected = find(&mut alerts, "shell.injected", &container).await;
    let shell = injected.process.as_ref().expect("an alert has a process");
    assert_eq!(shell.origin(), ExecOrigin::Injected);
    assert_eq!(shell.argv, ["/bin/sh", "-c", "id"]);
    let injector = injected
        .injected_by
        .as_ref()
        .expect("somebody put it there");
    assert!(injector.exe.ends_with("/runc"), "{injector:#?}");
    assert_eq!(
        injected.facts.get("interactive").map(String::as_str),
        Some("false")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn terminals_make_shells_interactive() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let agent = Agent::start(&[]);
    let mut alerts = agent.live_alerts().await;

    let by_hand = podman.run(&unique("by-hand"), &["--tty"], &["/bin/sh"]);
    let entry = find(&mut alerts, "shell.interactive", &by_hand).await;
    say("shell.interactive/shell-with-a-terminal", None);
    let shell = entry.process.as_ref().expect("an alert has a process");
    assert_eq!(shell.origin(), ExecOrigin::Entrypoint);
    assert!(shell.tty.starts_with("pts"), "{shell:#?}");

    let service = podman.run(&unique("service"), &[], &["/bin/sleep", "1000"]);
    service.exec_with_terminal(&["/bin/sh", "-c", "id"]);
    let injected = find(&mut alerts, "shell.injected", &service).await;
    assert_eq!(
        injected.facts.get("interactive").map(String::as_str),
        Some("true")
    );
    let shell = injected.process.as_ref().expect("an alert has a process");
    assert!(shell.tty.starts_with("pts"), "{shell:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_injected_process_leaves_behind_stays_injected() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let agent = Agent::start(&[]);
    let container = podman.run(&unique("service"), &[], &["/bin/sleep", "1000"]);
    let (child, orphan) = (unique("child"), unique("orphan"));
    // The orphan's new parent is the container's first process, once the injected shell has ended.
    let script = format!(
        "/bin/true {child}; /bin/setsid /bin/sh -c 'while [ -d /proc/'$$' ]; do usleep 10000; done; exec /bin/true {orphan}' \
         </dev/null >/dev/null 2>&1 &"
    );
    let output = container.exec(&["/bin/sh", "-c", &script]);
    assert!(output.status.success(), "{output:?}");
    for marker in [&child, &orphan] {
        let event = agent.exec_with(marker).await;
        let process = event.process.as_ref().expect("an exec has a process");
        assert_eq!(
            process.origin(),
            ExecOrigin::Injected,
            "{marker}: {event:#?}"
        );
        assert_eq!(container_id(event.container.as_ref()), container.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_was_there_before_the_agent_is_known() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let container = podman.run(&unique("old"), &[], &["/bin/sleep", "1000"]);
    let agent = Agent::start(&[]);
    let mut alerts = agent.live_alerts().await;
    container.exec(&["/bin/sh", "-c", "id"]);
    find(&mut alerts, "shell.injected", &container).await;
    container.remove();
}

/// The alert of `rule` in `container`, after checking what it says of the container.
async fn find(
    alerts: &mut crate::harness::watch::Watch<watchkeeper::proto::v1::AlertsWatchResponse>,
    rule: &str,
    container: &Container<'_>,
) -> Alert {
    let alert = alerts
        .find(rule, |alert| {
            alert.rule_id == rule && container_id(alert.container.as_ref()) == container.id
        })
        .await;
    let found = alert.container.as_ref().expect("it has a container");
    assert_eq!(alert.location(), Location::Container);
    assert_eq!(found.metadata(), Metadata::Complete, "{found:#?}");
    assert_eq!(found.runtime(), Runtime::Podman);
    assert_eq!(found.name, container.name);
    assert_eq!(found.image, image::NAME);
    assert_eq!(found.image_digest, container.image_digest());
    assert_eq!(found.cgroup_path, container.cgroup());
    assert!(found.pod.is_none(), "{found:#?}");
    alert
}
