//! When the agent, the runtime and the pods start in another order than usual.

use watchkeeper::proto::v1::{ExecOrigin, Metadata};

use crate::harness::agent::Agent;
use crate::harness::containerd::{Containerd, Place};
use crate::harness::service::{free_port, get, web_server};
use crate::harness::watch::container_id;
use crate::harness::{skipped, unique, within};

#[tokio::test(flavor = "multi_thread")]
async fn pods_from_before_the_agent_are_known() {
    if skipped() {
        return;
    }
    let containerd = Containerd::start().await;
    let pod = containerd.pod("shop", &[("app", "old")]).await;
    let port = free_port();
    let id = pod.container("web", &web_server(port)).await;
    get(port, "/cgi-bin/id");
    let agent = Agent::start(&["--cri-socket", &containerd.socket()]);

    let listed = agent.containers(false).await;
    assert!(listed.iter().any(|one| one.id == id), "{listed:#?}");
    get(port, "/cgi-bin/id");
    pod.exec(&id, &["/bin/sh", "-c", "id"]).await;

    let mut alerts = agent.live_alerts().await;
    for (rule, origin) in [
        ("shell.from-service", ExecOrigin::Descendant),
        ("shell.injected", ExecOrigin::Injected),
    ] {
        let alert = alerts
            .find(rule, |alert| {
                alert.rule_id == rule && container_id(alert.container.as_ref()) == id
            })
            .await;
        let shell = alert.process.expect("an alert has a process");
        assert_eq!(shell.origin(), origin, "{rule}");
        let found = alert.container.and_then(|container| container.pod);
        let found = found.expect("the container has a pod");
        assert_eq!((found.name, found.uid), (pod.name.clone(), pod.uid.clone()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_starts_after_the_agent_is_found() {
    if skipped() {
        return;
    }
    let place = Place::new();
    let socket = place.socket().display().to_string();
    let agent = Agent::start(&["--cri-socket", &socket]);
    let runtime = agent.status().await.runtime.unwrap_or_default();
    assert!(!runtime.connected, "{runtime:#?}");

    let containerd = place.start().await;
    let pod = containerd.pod("shop", &[]).await;
    let id = pod.container("late", &["/bin/sleep", "1000"]).await;
    let marker = unique("late");
    pod.exec(&id, &["/bin/true", &marker]).await;

    // Until the agent has tried again, metadata may be missing; afterwards it must not be.
    let complete = within("the runtime is found", async {
        loop {
            let listed = agent.containers(false).await;
            let found = listed.into_iter().find(|one| one.id == id);
            if let Some(found) = found.filter(|one| one.metadata() == Metadata::Complete) {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await;
    assert_eq!(complete.name, "late");
    assert_eq!(complete.pod.map(|pod| pod.uid), Some(pod.uid));
    let status = agent.status().await;
    assert!(status.runtime.is_some_and(|runtime| runtime.connected));
    let about_names = |reason: &&String| reason.contains("pod and image names");
    assert_eq!(
        status.degraded.iter().find(about_names),
        None,
        "{:#?}",
        status.degraded
    );
}
