//! How containers are kept apart from the node: what is told of them is what they were really given.

use serde_json::Value;

use crate::harness::agent::Agent;
use crate::harness::podman::Podman;
use crate::harness::{skipped, unique};

const SLEEP: [&str; 2] = ["/bin/sleep", "1000"];

#[tokio::test(flavor = "multi_thread")]
async fn what_weakens_a_container_is_told_and_a_confined_one_is_clean() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let agent = Agent::start(&[]);
    let confined = ["--read-only", "--user", "1000", "--cap-drop", "ALL"];
    let confined = podman.run(
        &unique("confined"),
        &[
            &confined[..],
            &["--security-opt", "no-new-privileges"],
            // Its own, and nothing of the host.
            &["--tmpfs", "/scratch"],
        ]
        .concat(),
        &SLEEP,
    );
    let open = podman.run(
        &unique("open"),
        &["--privileged", "--pid", "host", "-v", "/etc:/host/etc:ro"],
        &SLEEP,
    );

    let found = isolation(&agent, &confined.id);
    assert_eq!(found["uid"], 1000, "{found}");
    assert_eq!(found["seccomp"], "filter", "{found}");
    assert_eq!(found["noNewPrivileges"], true, "{found}");
    assert_eq!(found["readOnlyRoot"], true, "{found}");
    // What is empty is left out.
    for field in ["capEffective", "mounts", "weaknesses"] {
        assert!(found[field].is_null(), "{field}: {found}");
    }

    let found = isolation(&agent, &open.id);
    assert_eq!(found["uid"], 0, "{found}");
    assert_eq!(found["seccomp"], "off", "{found}");
    let namespaces = found["hostNamespaces"].to_string();
    assert!(namespaces.contains("\"pid\""), "{found}");
    assert!(!namespaces.contains("\"mnt\""), "{found}");
    let etc = found["mounts"]
        .as_array()
        .expect("mounts are a list")
        .iter()
        .find(|mount| mount["path"] == "/host/etc")
        .expect("the mount of /etc is told");
    assert_eq!(
        (&etc["hostPath"], &etc["readOnly"]),
        (&Value::from("/etc"), &Value::from(true))
    );
    let weaknesses = found["weaknesses"].to_string();
    for expected in [
        "capabilities: ALL",
        "pid namespace of the host",
        "the host's /etc at /host/etc (read)",
        "no seccomp filter",
    ] {
        assert!(weaknesses.contains(expected), "{expected}: {found}");
    }

    let table = agent.query(&["containers", "--isolation"]);
    assert!(table.contains("pid namespace of the host"), "{table}");
}

/// What is told of a container.
fn isolation(agent: &Agent, id: &str) -> Value {
    let containers = agent.query(&["containers", "--isolation", "-o", "json"]);
    let container = containers
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"))
        .find(|container| container["id"] == id)
        .expect("the container is listed");
    container["isolation"].clone()
}
