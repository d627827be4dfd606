//! What scripts read: `-o json`, filters, and queries that end.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::agent::Agent;
use crate::harness::command::succeed;
use crate::harness::containerd::Containerd;
use crate::harness::watch::container_id;
use crate::harness::{skipped, unique};

const TRUE: &str = "/usr/bin/true";

/// One JSON object a line, nothing else.
fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("not JSON: {error}: {line}"));
            assert!(value.is_object(), "{line}");
            value
        })
        .collect()
}

fn has_argument(event: &Value, argument: &str) -> bool {
    event["process"]["argv"]
        .as_array()
        .is_some_and(|argv| argv.iter().any(|value| value == argument))
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_protobuf_json_with_the_documented_keys() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let marker = unique("json");
    succeed(Command::new(TRUE).arg(&marker).arg("\u{1b}[31m\"\n"));
    agent.exec_with(&marker).await;

    let events = lines(&agent.query(&["events", "-o", "json", "--kind", "exec"]));

    let event = events.iter().find(|event| has_argument(event, &marker));
    let event = event.expect("the exec is among the events");
    for key in ["cursor", "time", "node"] {
        assert!(
            event[key].as_str().is_some_and(|text| !text.is_empty()),
            "{key} in {event}"
        );
    }
    assert_eq!(event["kind"], "EVENT_KIND_EXEC");
    assert_eq!(event["location"], "LOCATION_HOST");
    let process = &event["process"];
    assert!(
        process["execId"].as_str().is_some_and(|id| !id.is_empty()),
        "{event}"
    );
    assert!(process["pid"].is_u64(), "{event}");
    assert_eq!(process["exe"], TRUE);
    assert_eq!(process["argv"][2], "\u{1b}[31m\"\n");
    // 64-bit numbers are strings, as protobuf's JSON mapping has it, and names are in lowerCamelCase.
    let inode = process["file"]["inode"].as_str().map(str::parse::<u64>);
    assert!(matches!(inode, Some(Ok(1..))), "{event}");
    assert!(
        process["startTime"]
            .as_str()
            .is_some_and(|time| time.ends_with('Z')),
        "{event}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_are_filtered_and_queries_end() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let marker = unique("kinds");
    succeed(Command::new(TRUE).arg(&marker));
    agent.exec_with(&marker).await;
    // The exit comes after the exec.
    crate::harness::eventually("fork, exec and exit are known", || {
        let all = lines(&agent.query(&["events", "-o", "json"]));
        ["FORK", "EXEC", "EXIT"]
            .iter()
            .all(|kind| {
                all.iter()
                    .any(|event| event["kind"] == format!("EVENT_KIND_{kind}"))
            })
            .then_some(())
    });
    for (name, kind) in [
        ("fork", "EVENT_KIND_FORK"),
        ("exec", "EVENT_KIND_EXEC"),
        ("exit", "EVENT_KIND_EXIT"),
    ] {
        let events = lines(&agent.query(&["events", "-o", "json", "--kind", name]));
        assert!(!events.is_empty(), "{name}");
        assert!(events.iter().all(|event| event["kind"] == kind), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_filtered_and_alerts_are_json() {
    if skipped() {
        return;
    }
    let containerd = Containerd::start().await;
    let agent = Agent::start(&["--cri-socket", &containerd.socket()]);
    let one = containerd.pod("shop", &[]).await;
    let other = containerd.pod("shop", &[]).await;
    for pod in [&one, &other] {
        let id = pod.container("web", &["/bin/sleep", "1000"]).await;
        pod.exec(&id, &["/bin/sh", "-c", "id"]).await;
        let mut alerts = agent.live_alerts().await;
        alerts
            .find("the shell", |alert| {
                container_id(alert.container.as_ref()) == id
            })
            .await;
    }
    let wanted = format!("shop/{}", one.name);
    for command in ["events", "alerts"] {
        let found = lines(&agent.query(&[command, "-o", "json", "--pod", &wanted]));
        assert!(!found.is_empty(), "{command}");
        for item in &found {
            let pod = &item["container"]["pod"];
            assert_eq!(pod["name"], one.name, "{command}: {item}");
            assert_eq!(pod["namespace"], "shop", "{command}: {item}");
        }
    }
    let mut alerts = lines(&agent.query(&["alerts", "-o", "json"]));
    alerts.retain(|alert| {
        alert["container"]["pod"]["namespace"] == "shop" && alert["ruleId"] == "shell.injected"
    });
    assert_eq!(alerts.len(), 2, "{alerts:#?}");
    for alert in &alerts {
        assert_eq!(alert["ruleId"], "shell.injected");
        assert_eq!(alert["severity"], "SEVERITY_MEDIUM");
        assert_eq!(alert["process"]["origin"], "EXEC_ORIGIN_INJECTED");
    }
    // There may be containers of somebody else's.
    let mut containers = lines(&agent.query(&["containers", "-o", "json"]));
    containers.retain(|one| {
        [&alerts[0], &alerts[1]]
            .iter()
            .any(|alert| one["pod"]["uid"] == alert["container"]["pod"]["uid"])
    });
    assert_eq!(
        containers.len(),
        4,
        "two sandboxes and two containers: {containers:#?}"
    );
    let status = lines(&agent.query(&["status", "-o", "json"]));
    assert_eq!(status.len(), 1);
    assert_eq!(status[0]["runtime"]["connected"], true, "{status:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn following_goes_on_until_the_client_is_ended() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let mut client = agent
        .client(&["events", "--follow", "--kind", "exec", "-o", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the client can run");
    let output = BufReader::new(client.stdout.take().expect("it is a pipe"));
    let (sender, receiver) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            // The test may have seen enough.
            let _ = sender.send(line);
        }
    });
    for round in 0..3 {
        let marker = unique("followed");
        succeed(Command::new(TRUE).arg(&marker));
        // Each comes while the client runs, not only at its end.
        let event = std::iter::from_fn(|| receiver.recv_timeout(crate::harness::LIMIT).ok())
            .flat_map(|line| lines(&line))
            .find(|event| has_argument(event, &marker));
        assert!(event.is_some(), "round {round}");
    }
    assert!(matches!(client.try_wait(), Ok(None)), "it still follows");
    client.kill().expect("a child can be killed");
    client.wait().expect("a child can be waited for");
    reader.join().expect("the reader ends with its client");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_keep_control_characters_from_the_terminal() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let marker = unique("control");
    succeed(
        Command::new(TRUE)
            .arg(&marker)
            .arg("\u{1b}]0;owned\u{7}\u{9b}31m\r\nfake line"),
    );
    agent.exec_with(&marker).await;
    let table = agent.query(&["events", "--kind", "exec", "-o", "table"]);
    let line = table.lines().find(|line| line.contains(&marker));
    assert!(line.is_some(), "{table:?}");
    let control = table.chars().find(|one| one.is_control() && *one != '\n');
    assert_eq!(control, None, "{line:?}");
    assert!(
        !table.lines().any(|line| line.starts_with("fake line")),
        "{line:?}"
    );
}
