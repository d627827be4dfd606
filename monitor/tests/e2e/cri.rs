//! Shells in pods of containerd: from a service, injected, and as the entry point.

use watchkeeper::proto::v1::{Alert, Container, ExecOrigin, Metadata, Process, Runtime, Severity};

use crate::harness::agent::Agent;
use crate::harness::containerd::{Containerd, Pod};
use crate::harness::service::{free_port, get, web_server};
use crate::harness::watch::container_id;
use crate::harness::{image, skipped, unique, within};

const LABELS: [(&str, &str); 2] = [("app", "web"), ("tier", "front")];

#[tokio::test(flavor = "multi_thread")]
async fn shell_from_a_service_in_a_pod_is_an_alert() {
    if skipped() {
        return;
    }
    let containerd = Containerd::start().await;
    let agent = Agent::start(&["--cri-socket", &containerd.socket()]);
    let mut alerts = agent.live_alerts().await;
    let pod = containerd.pod("shop", &LABELS).await;
    let port = free_port();
    let id = pod.container("web", &web_server(port)).await;

    let answer = get(port, "/cgi-bin/id");

    assert!(answer.contains("uid=0"), "the script ran: {answer}");
    let alert = alerts
        .find("shell.from-service", |alert| {
            alert.rule_id == "shell.from-service" && container_id(alert.container.as_ref()) == id
        })
        .await;
    check_place(&alert, &pod, "web");
    assert_eq!(alert.severity(), Severity::High, "{alert:#?}");
    let shell = process(&alert);
    assert_eq!(shell.exe, "/bin/busybox");
    assert_eq!(shell.origin(), ExecOrigin::Descendant);
    assert!(shell.script, "the service ran a script: {shell:#?}");
    let first = alert.ancestors.last().expect("a descendant has ancestors");
    let container = alert.container.as_ref().expect("it has a container");
    assert_eq!(
        (first.pid, first.pid_inside, first.origin()),
        (container.init_pid, 1, ExecOrigin::Entrypoint),
        "ancestors end at the container's first process: {alert:#?}"
    );
    assert_eq!(first.argv[0], "/bin/httpd");
    assert!(alert.injected_by.is_none(), "{alert:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shell_injected_into_a_pod_is_an_alert() {
    if skipped() {
        return;
    }
    let containerd = Containerd::start().await;
    let agent = Agent::start(&["--cri-socket", &containerd.socket()]);
    let mut alerts = agent.live_alerts().await;
    let pod = containerd.pod("shop", &LABELS).await;
    let id = pod.container("web", &["/bin/sleep", "1000"]).await;

    let answer = pod.exec(&id, &["/bin/sh", "-c", "id"]).await;

    assert!(answer.stdout.starts_with(b"uid=0"), "{answer:?}");
    let alert = alerts
        .find("shell.injected", |alert| {
            alert.rule_id == "shell.injected" && container_id(alert.container.as_ref()) == id
        })
        .await;
    check_place(&alert, &pod, "web");
    assert_eq!(alert.severity(), Severity::Medium, "{alert:#?}");
    let shell = process(&alert);
    assert_eq!(shell.exe, "/bin/busybox");
    assert_eq!(shell.argv, ["/bin/sh", "-c", "id"]);
    assert_eq!(shell.origin(), ExecOrigin::Injected);
    let injector = alert.injected_by.as_ref().expect("somebody put it there");
    assert!(injector.exe.ends_with("/runc"), "{injector:#?}");
    let first = alert.ancestors.last().expect("it has ancestors");
    let chain: Vec<_> = alert
        .ancestors
        .iter()
        .map(|one| (one.pid, one.parent_pid, &one.exe))
        .collect();
    assert_eq!(
        first.pid, 1,
        "ancestors end at the host's first process: {chain:?}"
    );
    assert_eq!(
        alert.facts.get("interactive").map(String::as_str),
        Some("false")
    );

    // What it rests on can be looked up.
    let execs = agent.past_execs().await;
    assert!(!alert.evidence.is_empty(), "{alert:#?}");
    for cursor in &alert.evidence {
        let event = execs.iter().find(|event| event.cursor == *cursor);
        let event = event.unwrap_or_else(|| panic!("evidence {cursor} is an event"));
        let evidence = event.process.as_ref().map(|process| &process.exec_id);
        assert_eq!(evidence, Some(&shell.exec_id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entry_point_shell_is_an_event_and_no_alert() {
    if skipped() {
        return;
    }
    let containerd = Containerd::start().await;
    let agent = Agent::start(&["--cri-socket", &containerd.socket()]);
    let pod = containerd.pod("shop", &LABELS).await;
    let script = format!("sh -c true; : {}; sleep 1000", unique("entry"));
    let id = pod.container("job", &["/bin/sh", "-c", &script]).await;

    let event = agent.exec_with(&script).await;

    let process = event.process.as_ref().expect("an exec has a process");
    assert_eq!(process.origin(), ExecOrigin::Entrypoint, "{process:#?}");
    assert_eq!(process.pid_inside, 1);
    assert_eq!(container_id(event.container.as_ref()), id);
    check_pod(event.container.as_ref(), &pod, "job");

    // An alert that comes later shows that all before it was looked at.
    pod.exec(&id, &["/bin/sh", "-c", "id"]).await;
    let mut alerts = agent.live_alerts().await;
    let here = |alert: &Alert| {
        container_id(alert.container.as_ref()) == id && alert.rule_id.starts_with("shell.")
    };
    alerts
        .find("shell.injected", |alert| {
            here(alert) && alert.rule_id == "shell.injected"
        })
        .await;
    let count = alerts.seen.iter().filter(|alert| here(alert)).count();
    assert_eq!(count, 1, "{:#?}", alerts.seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_are_listed_with_pod_and_state() {
    if skipped() {
        return;
    }
    let containerd = Containerd::start().await;
    let agent = Agent::start(&["--cri-socket", &containerd.socket()]);
    let pod = containerd.pod("shop", &LABELS).await;
    let id = pod.container("web", &["/bin/sleep", "1000"]).await;
    let gone = pod.container("gone", &["/bin/sleep", "1000"]).await;
    agent
        .exec("web's entry point", |event| {
            container_id(event.container.as_ref()) == id
        })
        .await;
    agent
        .exec("gone's entry point", |event| {
            container_id(event.container.as_ref()) == gone
        })
        .await;
    pod.remove(&gone).await;

    let of = |containers: Vec<Container>, id: &str| containers.into_iter().find(|one| one.id == id);
    // The agent hears of removals on its own time.
    within("a removed container is no longer listed", async {
        while of(agent.containers(false).await, &gone).is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let running = agent.containers(false).await;
    let web = of(running.clone(), &id);
    check_pod(web.as_ref(), &pod, "web");
    assert!(web.is_some_and(|web| web.ended.is_none() && !web.sandbox && web.init_pid > 1));
    let sandbox = of(running, &pod.id).expect("the sandbox is listed");
    assert!(sandbox.sandbox, "{sandbox:#?}");
    assert_eq!(sandbox.pod.map(|pod| pod.uid), Some(pod.uid.clone()));

    let ended = of(agent.containers(true).await, &gone).expect("ended ones are listed on demand");
    assert!(ended.ended.is_some(), "{ended:#?}");
    check_pod(Some(&ended), &pod, "gone");

    let table = agent.query(&["containers"]);
    assert!(
        table.contains(&pod.name) && table.contains("web"),
        "{table}"
    );
}

/// Where the alert places the shell: in this container of this pod.
fn check_place(alert: &Alert, pod: &Pod, name: &str) {
    check_pod(alert.container.as_ref(), pod, name);
    assert!(
        !alert.node.is_empty() && !alert.attack.is_empty(),
        "{alert:#?}"
    );
    assert_eq!(alert.rung, "tracing");
    assert_eq!(alert.count, 1);
}

fn check_pod(container: Option<&Container>, pod: &Pod, name: &str) {
    let container = container.expect("it is in a container");
    assert_eq!(container.metadata(), Metadata::Complete, "{container:#?}");
    assert_eq!(container.runtime(), Runtime::Containerd);
    assert_eq!(container.name, name);
    assert_eq!(
        container.cgroup_path,
        format!("{}/{}", pod.cgroup, container.id)
    );
    assert_eq!(container.image, image::NAME);
    assert!(container.image_digest.contains("sha256:"), "{container:#?}");
    let found = container.pod.as_ref().expect("the container has a pod");
    assert_eq!(
        (&found.name, &found.namespace, &found.uid),
        (&pod.name, &pod.namespace, &pod.uid)
    );
    for (label, value) in &LABELS {
        assert_eq!(found.labels.get(*label).map(String::as_str), Some(*value));
    }
    assert!(
        pod.labels
            .iter()
            .all(|(label, value)| found.labels.get(label) == Some(value))
    );
}

fn process(alert: &Alert) -> &Process {
    alert.process.as_ref().expect("an alert has a process")
}
