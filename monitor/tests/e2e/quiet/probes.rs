//! Probes that run a program in the container, as the kubelet's do.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Finished;
use crate::harness::containerd::Pod;
use crate::harness::podman::Podman;
use crate::harness::{debian, eventually, unique};

/// How often each probe is made, and how long after the one before.
const TIMES: usize = 10;
const PERIOD: Duration = Duration::from_millis(500);

/// Probes of a pod's container, through CRI.
pub(crate) async fn of_pod(pod: &Pod) -> Finished {
    let start = Instant::now();
    let script = "echo ok >/tmp/healthy; exec sleep 1000";
    let id = pod.container("service", &["/bin/sh", "-c", script]).await;
    let by_shell = ["/bin/sh", "-c", "test -f /tmp/healthy"];
    while pod.exec(&id, &by_shell).await.exit_code != 0 {}
    for _ in 0..TIMES {
        for probe in [&["/bin/cat", "/tmp/healthy"][..], &by_shell] {
            let answer = pod.exec(&id, probe).await;
            assert_eq!(answer.exit_code, 0, "{probe:?}: {answer:?}");
        }
        tokio::time::sleep(PERIOD).await;
    }
    Finished {
        name: "probes",
        containers: BTreeSet::from([pod.id.clone(), id]),
        took: start.elapsed(),
    }
}

/// Probes of nginx, which is the first process of its container.
pub(crate) async fn of_server(podman: &Podman) -> Finished {
    let start = Instant::now();
    let entry = ["nginx", "-g", "daemon off;"];
    let server = podman.run_image(debian::NAME, &unique("probed"), &[], &entry);
    let curl = ["curl", "--fail", "--silent", "http://127.0.0.1/"];
    let by_shell = [
        "sh",
        "-c",
        "curl --fail --silent http://127.0.0.1/ | grep nginx",
    ];
    let is_well = |probe: &[&str]| server.exec(probe).status.success();
    eventually("the server answers", || is_well(&curl).then_some(()));
    for _ in 0..TIMES {
        assert!(is_well(&curl) && is_well(&by_shell), "{}", server.logs());
        tokio::time::sleep(PERIOD).await;
    }
    Finished {
        name: "server-probes",
        containers: BTreeSet::from([server.id.clone()]),
        took: start.elapsed(),
    }
}
