//! Enrichment through a real API server: workloads that real controllers made pods of, and labels of namespaces.

use std::fs;

use serde_json::{Value, json};

use crate::harness::agent::Agent;
use crate::harness::containerd::{Containerd, Pod, namespaces};
use crate::harness::kubernetes::ControlPlane;
use crate::harness::manifest::Manifest;
use crate::harness::{command, eventually, skipped};

/// The node's name in the cluster.
const NODE: &str = "node-of-the-test";

/// A rule for namespaces of one team, and none for all others.
const POLICY: &str = r#"
apiVersion: watchkeeper.dev/v1
kind: Policy
metadata: {name: red}
select: {namespaceLabels: {matchLabels: {team: red}}}
rules:
  - id: red.no-id
    title: Somebody asks who they are
    severity: low
    events: [exec]
    condition: process.argv[0].baseName() == "id" && container.pod.namespace_labels["team"] == "red"
    message: "{container.pod.workload.kind} {container.pod.workload.name}"
    attack: [T1057]
    description: x
    triage: x
    benign: [x]
    fold: {by: [process.pid]}
"#;

fn namespace(name: &str, team: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": team}}})
}

/// What a pod consists of. No scheduler and no kubelet are here: the node is given, and the test does the kubelet's work.
fn specification() -> Value {
    json!({"nodeName": NODE, "containers": [{"name": "web", "image": "registry.example/web:1"}]})
}

fn deployment(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": specification()},
        },
    })
}

fn lone_pod(namespace: &str, name: &str) -> Value {
    let metadata = json!({"name": name, "namespace": namespace});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": specification()})
}

/// Runs what the API server has as a pod, as the kubelet does.
async fn run(containerd: &Containerd, object: &Value) -> (Pod, String) {
    let text = |value: &Value| value.as_str().expect("it is told").to_owned();
    let metadata = &object["metadata"];
    let (name, namespace) = (text(&metadata["name"]), text(&metadata["namespace"]));
    let uid = text(&metadata["uid"]);
    let pod = containerd
        .pod_of(&name, &namespace, &uid, &[], namespaces())
        .await;
    let container = pod.container("web", &["/bin/sleep", "100000"]).await;
    (pod, container)
}

/// The agent's answers as JSON.
fn json_of(agent: &Agent, arguments: &[&str]) -> Vec<Value> {
    let text = agent.query(&[arguments, &["-o", "json"]].concat());
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("each line is JSON")
}

fn status(agent: &Agent) -> Value {
    json_of(agent, &["status"]).remove(0)
}

/// Whether the agent says among what is degraded that the API server does not answer.
fn says_why(status: &Value) -> bool {
    let degraded = status["degraded"].as_array().into_iter().flatten();
    let mut reasons = degraded.filter_map(Value::as_str);
    reasons.any(|reason| reason.contains("labels of namespaces: no answer"))
}

/// Alerts of a rule about a pod.
fn alerts(agent: &Agent, rule: &str, pod: &Pod) -> Vec<Value> {
    let all = json_of(agent, &["alerts"]).into_iter();
    all.filter(|alert| alert["ruleId"] == rule && alert["container"]["pod"]["uid"] == *pod.uid)
        .collect()
}

/// Somebody asks who they are, which one rule is about in some namespaces, and another one everywhere.
async fn ask(pod: &Pod, container: &str) {
    pod.exec(container, &["/bin/sh", "-c", "/bin/id"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_have_workloads_and_policies_select_by_labels_of_namespaces() {
    if skipped() {
        return;
    }
    let mut plane = ControlPlane::start();
    // The agent may do what the manifest lets it do, and nothing more.
    plane.apply(&Manifest::of("enrichment").access());
    let kubeconfig = plane.kubeconfig("agent", &plane.token("watchkeeper", "watchkeeper"));
    plane.apply(&[namespace("shop", "red"), namespace("pay", "blue")]);
    plane.apply(&[deployment("shop", "web"), lone_pod("pay", "alone")]);
    let made = eventually("the controllers make a pod", || {
        plane.objects("pods", "shop").pop()
    });
    let alone = plane.objects("pods", "pay").remove(0);

    let containerd = Containerd::start().await;
    let policies = tempfile::tempdir().expect("a temporary directory can be made");
    fs::write(policies.path().join("red.yaml"), POLICY).expect("a file can be written");
    // One container is there before the agent.
    let (web, web_container) = run(&containerd, &made).await;
    let agent = Agent::start(&[
        "--cri-socket",
        &containerd.socket(),
        "--kubeconfig",
        &kubeconfig.display().to_string(),
        "--node-name",
        NODE,
        "--policy-dir",
        &policies.path().display().to_string(),
    ]);
    let (other, other_container) = run(&containerd, &alone).await;

    // What happens is judged in its order: once the second is found, the first has been judged.
    ask(&other, &other_container).await;
    ask(&web, &web_container).await;

    let alert = eventually("the rule of the red team applies", || {
        alerts(&agent, "red.no-id", &web).pop()
    });
    let pod = &alert["container"]["pod"];
    assert_eq!(alert["message"], "Deployment web", "{alert}");
    assert_eq!(
        pod["workload"],
        json!({"kind": "Deployment", "name": "web"})
    );
    assert_eq!(pod["namespaceLabels"]["labels"]["team"], "red", "{alert}");
    let elsewhere = eventually("another rule applies everywhere", || {
        alerts(&agent, "shell.injected", &other).pop()
    });
    let workload = &elsewhere["container"]["pod"]["workload"];
    assert_eq!(*workload, json!({"kind": "Pod", "name": "alone"}));
    assert!(alerts(&agent, "red.no-id", &other).is_empty());
    let told = status(&agent)["kubernetes"].clone();
    assert_eq!(
        (&told["connected"], &told["pods"]),
        (&json!(true), &json!("2")),
        "{told}"
    );

    // Namespaces change hands.
    let label = ["label", "namespace", "pay", "team=red", "--overwrite"];
    command::succeed(&mut plane.kubectl(&label));
    eventually("the agent hears of it", || {
        let all = json_of(&agent, &["containers"]).into_iter();
        let mut of_pay = all.filter(|one| one["pod"]["uid"] == *other.uid);
        of_pay.find(|one| one["pod"]["namespaceLabels"]["labels"]["team"] == "red")
    });
    ask(&other, &other_container).await;
    eventually("the rule applies there, too", || {
        alerts(&agent, "red.no-id", &other).pop()
    });

    // Without the API server everything else goes on, and what is known stays.
    plane.kill_api_server();
    eventually("the agent says that it can't ask", || {
        says_why(&status(&agent)).then_some(())
    });
    let before = alerts(&agent, "red.no-id", &web).len();
    ask(&web, &web_container).await;
    eventually("the rule still applies", || {
        (alerts(&agent, "red.no-id", &web).len() > before).then_some(())
    });

    // It comes back, with more than there was.
    plane.start_api_server();
    plane.apply(&[lone_pod("pay", "second")]);
    eventually("the agent asks again", || {
        let told = &status(&agent)["kubernetes"];
        (told["connected"] == true && told["pods"] == "3").then_some(())
    });
    assert!(!says_why(&status(&agent)));

    // What was known of a pod before its name and workload came, and its namespace's labels of before, are no rows.
    for pod in [&web, &other] {
        let uid = &pod.uid;
        let rows = json_of(
            &agent,
            &["sql", &format!("SELECT * FROM pods WHERE uid = '{uid}'")],
        );
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(rows[0]["namespace_labels"], r#"{"team":"red"}"#, "{rows:?}");
    }

    // They are found by it, and history has it as well.
    let of_workload = json_of(&agent, &["alerts", "--workload", "deployment/web"]);
    let mut pods = of_workload
        .iter()
        .map(|alert| &alert["container"]["pod"]["uid"]);
    assert!(
        pods.len() > 0 && pods.all(|uid| *uid == *web.uid),
        "{of_workload:?}"
    );
    let rows = agent.query(&[
        "sql",
        "SELECT DISTINCT pod, workload FROM alerts WHERE rule = 'red.no-id'",
    ]);
    let name = &web.name;
    assert!(
        rows.contains(&format!("shop/{name}")) && rows.contains("Deployment/web"),
        "{rows}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_api_server_nobody_is_told_that_a_workload_did_nothing() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    for stream in ["alerts", "events"] {
        let outcome = command::output(&mut agent.client(&[stream, "--workload", "deployment/web"]));
        let said = String::from_utf8_lossy(&outcome.stderr);
        assert!(
            !outcome.status.success() && outcome.stdout.is_empty(),
            "{said}"
        );
        assert!(
            said.contains("workloads of pods are not known here"),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
