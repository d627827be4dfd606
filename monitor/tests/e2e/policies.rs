//! Policies of an operator while the agent runs: taken over when they change, exceptions, folding, and what they would have found.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use watchkeeper::proto::v1::{Alert, Severity};

use crate::harness::agent::Agent;
use crate::harness::podman::Podman;
use crate::harness::watch::container_id;
use crate::harness::{eventually, skipped, unique};

const HEAD: &str = "apiVersion: watchkeeper.dev/v1\nkind: Policy\nmetadata:\n  name: site\n";

/// A rule about /bin/id.
const RULE: &str = "rules:
  - id: site.no-id
    title: Somebody asks who they are
    severity: low
    events: [exec]
    condition: process.argv[0].baseName() == \"id\"
    message: \"{process.exe} in {container.name}\"
    attack: [T1057]
    description: x
    triage: x
    benign: [x]
    fold: {by: [container.id]}
";

/// Puts a file there as Kubernetes does with a ConfigMap: through a link that is swapped.
fn mount(directory: &Path, version: u32, content: &str) {
    let inner = directory.join(format!("..{version}"));
    fs::create_dir(&inner).expect("a directory can be made");
    fs::write(inner.join("site.yaml"), content).expect("a file can be written");
    let next = directory.join("..data_tmp");
    symlink(format!("..{version}"), &next).expect("a link can be made");
    fs::rename(&next, directory.join("..data")).expect("a link can be renamed");
    let file = directory.join("site.yaml");
    if !file.exists() {
        symlink("..data/site.yaml", file).expect("a link can be made");
    }
}

async fn about(agent: &Agent, container: &str, rule: &str) -> Vec<Alert> {
    agent
        .past_alerts()
        .await
        .into_iter()
        .filter(|alert| {
            alert.rule_id == rule && container_id(alert.container.as_ref()) == container
        })
        .collect()
}

/// Waits until the set in force is another one than `before`, and returns its digest.
fn changed(agent: &Agent, before: &str) -> String {
    eventually("the policies are taken over", || {
        let digest = digest(agent);
        (digest != before).then_some(digest)
    })
}

fn digest(agent: &Agent) -> String {
    let listed = agent.query(&["policy", "list", "-o", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("it is JSON");
    listed["digest"]
        .as_str()
        .expect("it has a digest")
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_taken_over_while_the_agent_runs() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    mount(directory.path(), 1, &format!("{HEAD}{RULE}"));
    let podman = Podman::start();
    let policies = directory.path().display().to_string();
    let agent = Agent::start(&["--policy-dir", &policies]);
    let container = podman.run(&unique("policy"), &[], &["/bin/sleep", "1000"]);
    let first = digest(&agent);

    // The same finding three times is one alert.
    for _ in 0..3 {
        container.exec(&["/bin/id"]);
    }
    let mut found = Vec::new();
    for _ in 0..50 {
        found = about(&agent, &container.id, "site.no-id").await;
        if found.first().is_some_and(|alert| alert.count == 3) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((found[0].count, found[0].severity()), (3, Severity::Low));
    assert_eq!(found[0].policy_set, first);
    assert!(
        found[0].policy.ends_with("site.yaml"),
        "{}",
        found[0].policy
    );

    // It matters more from now on: the same alert comes again, and says so.
    let raised = RULE.replace("severity: low\n", "severity: high\n");
    mount(directory.path(), 2, &format!("{HEAD}{raised}"));
    let second = changed(&agent, &first);
    container.exec(&["/bin/id"]);
    let again = wait_for(&agent, &container.id, "site.no-id", 2).await;
    assert_eq!(again[0].id, again[1].id, "it is the same alert");
    assert_eq!(again[1].severity(), Severity::High);
    assert_eq!(again[1].policy_set, second);

    // A mistake leaves that in force, and is told.
    mount(directory.path(), 3, &format!("{HEAD}rules: [x]\n"));
    eventually("the mistake is told", || {
        let status = agent.query(&["status"]);
        status.contains("site.yaml:5:").then_some(())
    });
    assert_eq!(digest(&agent), second);

    // An exception: nothing is found, and it is counted.
    let exception = "exceptions:\n  - rules: [site.*]\n    condition: process.injected\n    reason: a test\n    until: 2099-01-01\n";
    mount(directory.path(), 4, &format!("{HEAD}{RULE}{exception}"));
    changed(&agent, &second);
    container.exec(&["/bin/id"]);
    eventually("the exception is counted", || {
        let listed = agent.query(&["policy", "list", "-o", "json"]);
        let listed: serde_json::Value = serde_json::from_str(&listed).expect("it is JSON");
        let own = listed["exceptions"]
            .as_array()?
            .iter()
            .find(|exception| exception["reason"] == "a test")?;
        (own["hits"] == "1").then_some(())
    });
    assert_eq!(about(&agent, &container.id, "site.no-id").await.len(), 2);
}

async fn wait_for(agent: &Agent, container: &str, rule: &str, count: usize) -> Vec<Alert> {
    for _ in 0..80 {
        let found = about(agent, container, rule).await;
        if found.len() >= count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no {count} alerts {rule}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_what_would_have_been_found() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let agent = Agent::start(&[]);
    let container = podman.run(&unique("dry-run"), &[], &["/bin/sleep", "1000"]);
    for _ in 0..4 {
        container.exec(&["/bin/id"]);
    }
    container.exec(&["/bin/true"]);
    container.exec(&["/bin/sh", "-c", "exit 0"]);
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let file = directory.path().join("site.yaml");
    fs::write(&file, format!("{HEAD}{RULE}")).expect("a file can be written");
    let path = file.display().to_string();
    let told = agent.query(&["policy", "dry-run", &path, "--since", "1h", "-o", "json"]);
    let told: serde_json::Value = serde_json::from_str(&told).expect("it is JSON");
    let rules = told["rules"].as_array().expect("rules are told of");
    assert_eq!(rules.len(), 1, "{told:#}");
    let rule = &rules[0];
    assert_eq!(rule["ruleId"], "site.no-id");
    assert_eq!(
        (rule["findings"].as_str(), rule["alerts"].as_str()),
        (Some("4"), Some("1"))
    );
    assert_eq!(
        rule["places"][0]["place"],
        container.name.as_str(),
        "{told:#}"
    );
    // What live events made of it: nothing, as the policy is not in force.
    assert!(about(&agent, &container.id, "site.no-id").await.is_empty());
    // The built-in rules find in the past what they found live.
    let all = agent.query(&["policy", "dry-run", "--all-rules", "-o", "json"]);
    let all: serde_json::Value = serde_json::from_str(&all).expect("it is JSON");
    let told = |id: &str| {
        let rules = all["rules"].as_array().expect("rules are told of");
        rules.iter().any(|rule| rule["ruleId"] == id)
    };
    assert!(told("exec.injected") && told("shell.injected"), "{all:#}");
}
