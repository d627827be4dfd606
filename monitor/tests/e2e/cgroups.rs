//! Where cgroups and containers part: ignored ones, and those that a container's own processes make.

use watchkeeper::proto::v1::{Location, Metadata};

use crate::harness::agent::Agent;
use crate::harness::cgroup::Cgroup;
use crate::harness::command::succeed;
use crate::harness::podman::Podman;
use crate::harness::service::{free_port, get, web_server};
use crate::harness::watch::{argv, container_id};
use crate::harness::{image, skipped, unique};

#[tokio::test(flavor = "multi_thread")]
async fn an_ignored_cgroup_gives_no_events_nor_do_those_made_in_it_later() {
    if skipped() {
        return;
    }
    let ignored = Cgroup::make(&format!("/{}", unique("watchkeeper-ignored")));
    let seen = Cgroup::make(&format!("/{}", unique("watchkeeper-seen")));
    let agent = Agent::start(&["--ignore-cgroup", ignored.path()]);
    let later = Cgroup::make(&format!("{}/later", ignored.path()));
    let (quiet, loud) = (unique("quiet"), unique("loud"));

    succeed(ignored.command("/usr/bin/true").arg(&quiet));
    succeed(later.command("/usr/bin/true").arg(&quiet));
    succeed(seen.command("/usr/bin/true").arg(&loud));

    let event = agent
        .exec("the exec outside", |event| {
            argv(event) == ["/usr/bin/true", &loud]
        })
        .await;
    assert_eq!(event.location(), Location::Host, "{event:#?}");
    assert_eq!(event.cgroup_path, seen.path());
    // The shell that joins the cgroup, with the same argument, is outside when it starts.
    for event in agent.past_execs().await {
        assert_ne!(argv(&event), ["/usr/bin/true", &quiet], "{event:#?}");
        let inside = event.cgroup_path.starts_with(ignored.path());
        assert!(!inside, "{event:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_in_a_cgroup_below_a_container_stay_attributed_to_it() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let agent = Agent::start(&[]);
    let port = free_port();
    let container = podman.run(&unique("nested"), &["--network", "host"], &web_server(port));
    let inner = Cgroup::make(&format!("{}/inner", container.cgroup()));
    let innermost = Cgroup::make(&format!("{}/innermost", inner.path()));

    for cgroup in [&inner, &innermost] {
        cgroup.take(container.pid());
        get(port, "/cgi-bin/id");
        let event = agent
            .exec("the service's shell", |event| {
                event.cgroup_path == cgroup.path()
            })
            .await;
        assert_eq!(event.location(), Location::Container, "{event:#?}");
        let found = event.container.as_ref().expect("it is in a container");
        assert_eq!((&found.id, &found.name), (&container.id, &container.name));
        assert_eq!(found.image, image::NAME);
        assert_eq!(found.cgroup_path, container.cgroup());
    }
    let listed = agent.containers(false).await;
    let below: Vec<_> = listed
        .iter()
        .filter(|one| one.cgroup_path.starts_with(&container.cgroup()))
        .collect();
    assert_eq!(
        below.len(),
        1,
        "a cgroup in a container is no container: {below:#?}"
    );
    assert_eq!(container_id(below.first().copied()), container.id);
    container.remove();
}

#[tokio::test(flavor = "multi_thread")]
async fn container_shaped_names_without_a_runtime_are_containers_without_metadata() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let id = uuid::Uuid::now_v7().simple().to_string().repeat(2);
    let cgroup = Cgroup::make(&format!("/cri-containerd-{id}.scope"));
    let plain = Cgroup::make(&format!("/{}", unique("plain")));
    let (inside, outside) = (unique("inside"), unique("outside"));
    succeed(cgroup.command("/usr/bin/true").arg(&inside));
    succeed(plain.command("/usr/bin/true").arg(&outside));

    let event = agent
        .exec("the exec inside", |event| {
            argv(event) == ["/usr/bin/true", &inside]
        })
        .await;
    assert_eq!(event.location(), Location::Container, "{event:#?}");
    let container = event.container.expect("it is in a container");
    assert_eq!(container.id, id);
    assert_eq!(
        container.metadata(),
        Metadata::Unavailable,
        "{container:#?}"
    );
    assert!(!container.metadata_reason.is_empty(), "{container:#?}");
    assert!(
        container.name.is_empty() && container.pod.is_none(),
        "{container:#?}"
    );

    let event = agent
        .exec("the exec outside", |event| {
            argv(event) == ["/usr/bin/true", &outside]
        })
        .await;
    assert_eq!(event.location(), Location::Host, "{event:#?}");
    assert!(event.container.is_none(), "{event:#?}");
}
