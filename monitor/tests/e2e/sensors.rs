//! The agent's account of itself, and work with a part of it switched off.

use watchkeeper::proto::v1::{Location, SensorState};

use crate::harness::agent::Agent;
use crate::harness::podman::Podman;
use crate::harness::watch::{argv, container_id};
use crate::harness::{skipped, unique};

const SENSORS: [&str; 6] = [
    "cgroup-attach",
    "cgroup-create",
    "cgroup-remove",
    "process-exec",
    "process-exit",
    "process-fork",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_sensor_is_active_with_its_hook() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let status = agent.status().await;
    let mut names: Vec<&str> = status.sensors.iter().map(|one| one.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, SENSORS);
    for sensor in &status.sensors {
        assert_eq!(sensor.state(), SensorState::Active, "{sensor:#?}");
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
            let expected = if sensor.name == name {
                SensorState::Disabled
            } else {
                SensorState::Active
            };
            assert_eq!(sensor.state(), expected, "without {name}: {sensor:#?}");
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
