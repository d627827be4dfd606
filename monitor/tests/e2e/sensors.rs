//! The agent's account of itself, and work with a part of it switched off.

use watchkeeper::proto::v1::{Location, SensorState};

use crate::harness::agent::Agent;
use crate::harness::podman::Podman;
use crate::harness::sensors::OF_SYSTEM_CALLS;
use crate::harness::watch::{argv, container_id};
use crate::harness::{skipped, unique};

const SENSORS: [&str; 26] = [
    "cgroup-attach",
    "cgroup-create",
    "cgroup-remove",
    "credential-check",
    "credentials",
    "file-changes",
    "file-open",
    "float-rounding",
    "io-uring",
    "io-uring-open",
    "kernel-calls",
    "module-load",
    "module-unload",
    "mounts",
    "namespaces",
    "packets-in",
    "packets-out",
    "process-access",
    "process-control",
    "process-exec",
    "process-exit",
    "process-fork",
    "selinux-denials",
    "signals",
    "sockets",
    "tcp-state",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_sensor_is_active_with_its_hook_unless_the_kernel_lacks_what_it_watches() {
    if skipped() {
        return;
    }
    let agent = Agent::full(&[]);
    let status = agent.status().await;
    let mut names: Vec<&str> = status.sensors.iter().map(|one| one.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, SENSORS);
    for sensor in &status.sensors {
        // Only these watch a part of the kernel that may be left out.
        let place = match sensor.name.as_str() {
            "module-load" | "module-unload" => "/proc/modules",
            "selinux-denials" => "/sys/fs/selinux",
            _ => "/",
        };
        let expected = if std::path::Path::new(place).exists() {
            SensorState::Active
        } else {
            SensorState::NotOffered
        };
        assert_eq!(sensor.state(), expected, "{sensor:#?}");
        assert_eq!(sensor.rung, "tracing", "{sensor:#?}");
        assert!(!sensor.hook.is_empty(), "{sensor:#?}");
    }
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("it is there");
    assert_eq!(
        status.boot_id.replace('-', ""),
        boot.trim().replace('-', "")
    );
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("it is there");
    assert!(status.kernel.contains(kernel.trim()), "{}", status.kernel);
    assert!(!status.version.is_empty() && !status.node.is_empty());

    let table = agent.query(&["status"]);
    for sensor in SENSORS {
        assert!(table.contains(sensor), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_are_found_with_a_lesser_sensor_off() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    for name in [
        "cgroup-attach",
        "cgroup-remove",
        "process-exit",
        "process-fork",
    ] {
        let agent = Agent::start(&["--disable-sensor", name]);
        for sensor in agent.status().await.sensors {
            let is_off = sensor.state() == SensorState::Disabled;
            let expected = sensor.name == name || OF_SYSTEM_CALLS.contains(&sensor.name.as_str());
            assert_eq!(is_off, expected, "without {name}: {sensor:#?}");
        }
        let container = podman.run(&unique("service"), &[], &["/bin/sleep", "1000"]);
        let output = container.exec(&["/bin/sh", "-c", "id"]);
        assert!(output.status.success(), "{output:?}");
        let mut alerts = agent.live_alerts().await;
        let alert = alerts
            .find(&format!("an alert without {name}"), |alert| {
                container_id(alert.container.as_ref()) == container.id
            })
            .await;
        assert_eq!(alert.rule_id, "shell.injected", "without {name}");
        container.remove();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_are_not_taken_for_the_host_when_their_creation_goes_unseen() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let agent = Agent::start(&["--disable-sensor", "cgroup-create"]);
    let marker = unique("unseen");
    let container = podman.run(&marker, &[], &["/bin/sleep", "1000"]);
    container.exec(&["/bin/true", &marker]);
    let event = agent
        .exec("the exec", |event| argv(event) == ["/bin/true", &marker])
        .await;
    match event.location() {
        Location::Container => assert_eq!(container_id(event.container.as_ref()), container.id),
        Location::Unknown => assert!(event.container.is_none(), "{event:#?}"),
        other => panic!("{other:?}: {event:#?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_each_program_costs_is_counted() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let busy = tokio::task::spawn_blocking(|| {
        for _ in 0..200 {
            let done = std::process::Command::new("/usr/bin/true").status();
            assert!(done.is_ok_and(|status| status.success()));
        }
    });
    let json = agent.query(&["status", "--programs", "--seconds", "2", "-o", "json"]);
    busy.await.expect("programs are run");
    let costs: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    let programs = costs["programs"].as_array().expect("a list");
    let exec = programs
        .iter()
        .find(|program| program["name"] == "sched_process_exec")
        .expect("it is among them");
    let number = |name: &str| -> u64 {
        let text = exec[name].as_str().unwrap_or_default();
        text.parse()
            .unwrap_or_else(|_| exec[name].as_u64().unwrap_or(0))
    };
    assert!(number("runs") > 0 && number("timeNs") > 0, "{exec}");
    let table = agent.query(&["status", "--programs"]);
    assert!(
        table.contains("NS/RUN") && table.contains("sched_process_exec"),
        "{table}"
    );
}
