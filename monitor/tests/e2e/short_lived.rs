//! Containers that are gone before anybody could ask the runtime about them.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use watchkeeper::proto::v1::{EventKind, EventsWatchRequest, ExecOrigin, Filter, Metadata};

use crate::harness::agent::Agent;
use crate::harness::cgroup::wait_until_gone;
use crate::harness::containerd::Containerd;
use crate::harness::skipped;
use crate::harness::watch::{argv, container_id};

const CONTAINERS: usize = 200;
/// How many are started at a time.
const AT_ONCE: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn every_one_of_200_short_lived_containers_is_attributed() {
    if skipped() {
        return;
    }
    let containerd = Containerd::start().await;
    let agent = Agent::start(&["--cri-socket", &containerd.socket()]);
    let pod = Arc::new(containerd.pod("batch", &[("job", "short")]).await);

    let mut ids: HashMap<String, String> = HashMap::new();
    let mut tasks = JoinSet::new();
    for number in 0..CONTAINERS {
        if tasks.len() == AT_ONCE
            && let Some(done) = tasks.join_next().await
        {
            let (name, id) = done.expect("a container runs to its end");
            ids.insert(name, id);
        }
        let pod = Arc::clone(&pod);
        tasks.spawn(async move {
            let name = format!("short-{number}");
            let id = pod.container(&name, &["/bin/usleep", "5000"]).await;
            // Its last process has ended, and containerd knows.
            tokio::task::block_in_place(|| wait_until_gone(&format!("{}/{id}", pod.cgroup)));
            pod.remove(&id).await;
            (name, id)
        });
    }
    while let Some(done) = tasks.join_next().await {
        let (name, id) = done.expect("a container runs to its end");
        ids.insert(name, id);
    }
    assert_eq!(ids.len(), CONTAINERS);

    // Events come in order: once this one is there, the others are.
    let last = pod.container("last", &["/bin/sleep", "1000"]).await;
    agent
        .exec("the last container", |event| {
            container_id(event.container.as_ref()) == last
        })
        .await;
    let events = agent
        .past_events(EventsWatchRequest {
            filter: Some(Filter {
                pods: vec![format!("{}/{}", pod.namespace, pod.name)],
                ..Default::default()
            }),
            kinds: vec![EventKind::Exec.into()],
            ..Default::default()
        })
        .await;

    let right = |name: &str, id: &str| {
        events.iter().any(|event| {
            event.container.as_ref().is_some_and(|container| {
                argv(event) == ["/bin/usleep", "5000"]
                    && container.id == id
                    && container.name == name
                    && container.metadata() == Metadata::Complete
                    && container
                        .pod
                        .as_ref()
                        .is_some_and(|found| found.uid == pod.uid)
            })
        })
    };
    let wrong: Vec<&String> = ids
        .iter()
        .filter(|(name, id)| !right(name, id))
        .map(|(name, _)| name)
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {CONTAINERS} without an exec event of the right container and pod: {wrong:?}",
        wrong.len()
    );
    let entry_points = events.iter().filter(|event| {
        let process = event.process.as_ref();
        process.is_some_and(|process| {
            process.argv == ["/bin/usleep", "5000"]
                && process.origin() == ExecOrigin::Entrypoint
                && process.pid_inside == 1
                && event
                    .container
                    .as_ref()
                    .is_some_and(|container| container.init_pid == process.pid)
        })
    });
    assert_eq!(
        entry_points.count(),
        CONTAINERS,
        "each is its container's entry point and first process"
    );
    let counters = agent.status().await.counters.unwrap_or_default();
    assert_eq!((counters.lost, counters.malformed), (0, 0), "{counters:#?}");
}
