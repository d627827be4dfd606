//! The image as it is deployed: a pod with exactly what the DaemonSet asks for, and nothing more.
//!
//! `WATCHKEEPER_IMAGE` names the archive that `cargo xtask image` makes, and what the image is called in it, with a blank between.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tonic_health::pb::health_check_response::ServingStatus;
use watchkeeper::proto::cri::ContainerConfig;

use crate::harness::agent::watchkeeper;
use crate::harness::containerd::Place;
use crate::harness::kubelet::probe;
use crate::harness::kubernetes::ControlPlane;
use crate::harness::manifest::Manifest;
use crate::harness::podman::Podman;
use crate::harness::{command, eventually, skipped, unique};

/// The archive, and the image's name.
fn image() -> (PathBuf, String) {
    let told = std::env::var("WATCHKEEPER_IMAGE");
    let told =
        told.expect("WATCHKEEPER_IMAGE says where the image is: `cargo xtask image` makes it");
    let (archive, name) = told.rsplit_once(' ').expect("a path and a name");
    (PathBuf::from(archive), name.to_owned())
}

/// What the deployed agent answers to a question.
struct Deployed(PathBuf);

impl Deployed {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = watchkeeper();
        command.args(arguments).env("WATCHKEEPER_SOCKET", &self.0);
        command
    }

    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let text = command::succeed(self.command(arguments).args(["-o", "json"]));
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().expect("each line is JSON")
    }

    /// Its status, once it serves: every sensor works.
    fn serves(&self) -> Value {
        eventually("the deployed agent serves", || {
            let outcome = command::output(&mut self.command(&["health"]));
            outcome.status.success().then_some(())
        });
        let status = self.json(&["status"]).remove(0);
        assert_eq!(status["node"], "node-of-the-test", "{status}");
        for sensor in status["sensors"].as_array().expect("a list") {
            let state = sensor["state"].as_str().unwrap_or_default();
            let works = matches!(state, "SENSOR_STATE_ACTIVE" | "SENSOR_STATE_NOT_OFFERED");
            assert!(works, "{sensor}");
        }
        status
    }

    /// An alert of a rule about a pod, once there is one.
    fn alert(&self, rule: &str, pod: &str) -> Value {
        eventually(&format!("{rule} in {pod}"), || {
            let alerts = self.json(&["alerts"]).into_iter();
            let mut about = alerts.filter(|alert| alert["ruleId"] == rule);
            about.find(|alert| alert["container"]["pod"]["name"] == pod)
        })
    }
}

/// The first process of a container, as the agent in it sees it.
fn pid_of(deployed: &Deployed, container: &str) -> u64 {
    let all = deployed.json(&["containers"]);
    let found = all.iter().find(|one| one["id"] == container);
    let found = found.unwrap_or_else(|| panic!("{container} is not among {all:#?}"));
    found["initPid"]
        .as_u64()
        .expect("its first process is known")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pod_of_the_manifest_watches_its_node() {
    watches_its_node("kubernetes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pod_with_all_components_watches_its_node() {
    watches_its_node("kubernetes-with-components").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pod_with_enrichment_watches_its_node_and_asks_the_api_server() {
    watches_its_node("enrichment").await;
}

/// What a rendered overlay asks for is enough, and it is what the agent has.
async fn watches_its_node(overlay: &str) {
    if skipped() {
        return;
    }
    let (archive, name) = image();
    let containerd = Place::new().shared().start().await;
    containerd.import(&archive);
    let history = tempfile::tempdir().expect("a temporary directory can be made");
    let socket = PathBuf::from(containerd.socket());
    let directory = socket.parent().expect("it lies in a directory");
    let mut manifest = Manifest::of(overlay)
        .moves("/var/lib/watchkeeper", history.path())
        .moves("/run/containerd", directory);
    let plane = manifest.asks_the_api_server().then(ControlPlane::start);
    if let Some(plane) = &plane {
        manifest = manifest.with_account_in(plane);
    }
    let pod = containerd
        .pod_in("watchkeeper", &[], manifest.namespaces())
        .await;
    let agent = pod.run(manifest.config(&name)).await;
    let deployed = Deployed(manifest.state().join("watchkeeper.sock"));
    let status = deployed.serves();
    assert_eq!(status["degraded"], Value::Null, "{status}");
    assert_eq!(status["runtime"]["connected"], true, "{status}");
    assert_eq!(status["history"]["directory"], "/var/lib/watchkeeper");
    let connected = status["kubernetes"]["connected"].as_bool();
    assert_eq!(connected, plane.is_some().then_some(true), "{status}");

    // What it needed for the beginning only is gone.
    let pid = pid_of(&deployed, &agent);
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs") {
        let path = thread.expect("it can be read").path().join("status");
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let permitted = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
        let permitted = permitted.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
        // CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE of include/uapi/linux/capability.h, on older kernels CAP_BPF.
        let most = 1 << 2 | 1 << 19 | 1 << 39;
        let more = permitted.map(|permitted: u64| permitted & !most);
        assert_eq!(more, Some(0), "{status}");
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        assert!(status.contains("Seccomp:\t2"), "{status}");
    }

    // What the kubelet asks. The pod has the host's addresses.
    for (port, service) in manifest.probes() {
        let answer = probe((Ipv4Addr::LOCALHOST, port).into(), service).await;
        assert_eq!(answer.ok(), Some(ServingStatus::Serving), "{service}");
    }

    // Another pod, in which somebody runs a shell.
    let other = containerd.pod("shop", &[("app", "web")]).await;
    let container = other.container("web", &["/bin/sleep", "100000"]).await;
    other
        .exec(&container, &["/bin/sh", "-c", "cat /etc/shadow; id"])
        .await;
    let alert = deployed.alert("shell.injected", &other.name);
    assert_eq!(alert["container"]["pod"]["namespace"], "shop", "{alert}");
    assert_eq!(alert["container"]["name"], "web", "{alert}");
    assert_eq!(alert["node"], "node-of-the-test", "{alert}");

    // It is not alarmed by itself.
    let own: Vec<Value> = deployed
        .json(&["alerts"])
        .into_iter()
        .filter(|alert| alert["container"]["pod"]["name"] == pod.name.as_str())
        .filter(|alert| {
            !matches!(
                alert["severity"].as_str(),
                Some("SEVERITY_LOW" | "SEVERITY_INFORMATIONAL")
            )
        })
        .collect();
    assert!(own.is_empty(), "{own:#?}");

    // It ends in time when it is told to, and its history is on the node.
    pod.remove(&agent).await;
    let kept = std::fs::read_dir(history.path())
        .expect("it is there")
        .count();
    assert!(kept > 0, "there is no history");
}

/// The options of podman for what a container's configuration says, with a cgroup namespace of its own.
fn options(config: &ContainerConfig) -> Vec<String> {
    let linux = config.linux.as_ref().expect("it is of Linux");
    let security = linux.security_context.as_ref().expect("it is told");
    let capabilities = security.capabilities.as_ref().expect("they are told");
    let seccomp = security.seccomp.as_ref().expect("it is told");
    assert!(security.readonly_rootfs && security.no_new_privs && !security.privileged);
    let mut options: Vec<String> = [
        "--pid=host",
        "--cgroupns=private",
        "--read-only",
        "--read-only-tmpfs=false",
        "--security-opt=no-new-privileges",
        "--user=0:0",
    ]
    .map(str::to_owned)
    .to_vec();
    let dropped = capabilities.drop_capabilities.iter();
    options.extend(dropped.map(|name| format!("--cap-drop={name}")));
    let added = capabilities.add_capabilities.iter();
    options.extend(added.map(|name| format!("--cap-add={name}")));
    if !seccomp.localhost_ref.is_empty() {
        options.push(format!("--security-opt=seccomp={}", seccomp.localhost_ref));
    }
    let variables = config.envs.iter();
    options.extend(variables.map(|variable| format!("--env={}={}", variable.key, variable.value)));
    options.extend(config.mounts.iter().map(|mount| {
        let access = if mount.readonly { "ro" } else { "rw" };
        format!(
            "--volume={}:{}:{access}",
            mount.host_path, mount.container_path
        )
    }));
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_runs_the_image_with_what_the_manifest_says() {
    if skipped() {
        return;
    }
    let (archive, name) = image();
    let podman = Podman::start();
    command::succeed(podman.command(&["load", "-q", "-i"]).arg(archive));
    let history = tempfile::tempdir().expect("a temporary directory can be made");
    let runtime = tempfile::tempdir().expect("a temporary directory can be made");
    let manifest = Manifest::of("kubernetes-with-components")
        .moves("/var/lib/watchkeeper", history.path())
        .moves("/run/containerd", runtime.path());
    let config = manifest.config(&name);
    let options = options(&config);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let agent = podman.run_image(&name, &unique("agent"), &options, &config.args);
    let deployed = Deployed(manifest.state().join("watchkeeper.sock"));
    deployed.serves();
    // Containers of others have their place in the tree, whatever the agent's own namespace.
    let other = podman.run(&unique("other"), &[], &["/bin/sleep", "100000"]);
    let shell = ["exec", &other.name, "/bin/sh", "-c", "id"];
    command::succeed(&mut podman.command(&shell));
    eventually("the shell is found", || {
        let alerts = deployed.json(&["alerts"]).into_iter();
        let mut injected = alerts.filter(|alert| alert["ruleId"] == "shell.injected");
        injected.find(|alert| alert["container"]["id"] == other.id.as_str())
    });
    command::succeed(&mut podman.command(&["stop", &agent.name]));
}
