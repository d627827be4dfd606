//! Mistakes on the command line and around the agent: one line that says what is wrong, and the right exit code.

use std::fs;
use std::os::unix::fs::symlink;

use crate::harness::agent::{Agent, watchkeeper};
use crate::harness::command::{output, refused, succeed};
use crate::harness::skipped;

#[test]
fn wrong_usage_is_one_line_and_exit_code_2() {
    for (arguments, word) in [
        (&["--no-such-flag"][..], "--no-such-flag"),
        (&["no-such-command"], "no-such-command"),
        (&["agent", "--no-such-flag"], "--no-such-flag"),
        (&["agent", "--state-dir"], "--state-dir"),
        (&["alerts", "-o", "yaml"], "yaml"),
        (&["events", "--kind", "no-such-kind"], "no-such-kind"),
        (
            &["events", "--pod", "no-slash", "--socket", "/nonexistent"],
            "no-slash",
        ),
        (
            &[
                "agent",
                "--state-dir",
                "/nonexistent/x",
                "--disable-sensor",
                "no-such-sensor",
            ],
            "no-such-sensor",
        ),
    ] {
        let line = refused(&output(watchkeeper().args(arguments)), 2);
        assert!(line.contains(word), "{arguments:?}: {line}");
    }
}

#[test]
fn help_and_version_are_no_mistakes() {
    for arguments in [&["--help"][..], &["--version"], &["agent", "--help"]] {
        let text = succeed(watchkeeper().args(arguments));
        assert!(
            text.contains("watchkeeper") || text.contains("Watchkeeper"),
            "{text}"
        );
    }
}

#[test]
fn a_client_without_an_agent_says_so() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let missing = directory.path().join("watchkeeper.sock");
    let file = directory.path().join("file");
    fs::write(&file, "").expect("a file can be written");
    for socket in [&missing, &file] {
        let path = socket.display().to_string();
        for command in ["alerts", "events", "containers", "status"] {
            let mut given = watchkeeper();
            let line = refused(&output(given.args([command, "--socket", &path])), 1);
            assert!(line.contains(&path), "{command}: {line}");
            let mut from_environment = watchkeeper();
            from_environment
                .arg(command)
                .env("WATCHKEEPER_SOCKET", &path);
            let again = refused(&output(&mut from_environment), 1);
            assert!(again.contains(&path), "{command}: {again}");
        }
    }
}

/// A node is not left unwatched for a mistake in a file: the built-in rules are in force, and the mistake is named.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_cannot_be_read_is_named() {
    if skipped() {
        return;
    }
    let mut bad = None;
    for (name, content) in [
        ("not-yaml.yaml", Some("{[")),
        ("empty-kind.yaml", Some("apiVersion: watchkeeper.dev/v1\n")),
        (
            "unknown-field.yaml",
            Some(
                "apiVersion: watchkeeper.dev/v1\nkind: Policy\nmetadata:\n  name: x\nno-such-field: 1\nrules: []\n",
            ),
        ),
        (
            "unknown-version.yaml",
            Some(
                "apiVersion: watchkeeper.dev/v99\nkind: Policy\nmetadata:\n  name: x\nrules: []\n",
            ),
        ),
        ("not-text.yaml", Some("\u{0}\u{1}\u{2}")),
        // Root can read any file; not one that isn't there.
        ("dangling.yaml", None),
    ] {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join(name);
        match content {
            Some(content) => fs::write(&path, content).expect("a file can be written"),
            None => symlink("/nonexistent/policy", &path).expect("a link can be made"),
        }
        let named = path.display().to_string();
        let mut check = watchkeeper();
        let checked = output(check.args(["policy", "check"]).arg(directory.path()));
        let text = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert_eq!(checked.status.code(), Some(1), "{name}: {text}");
        assert!(text.starts_with(&named), "{name}: {text}");
        bad = Some((directory, named));
    }
    let (directory, named) = bad.expect("there are cases");
    let policies = directory.path().display().to_string();
    let agent = Agent::start(&["--cri-socket", "none", "--policy-dir", &policies]);
    let status = agent.status().await;
    assert!(
        status.degraded.iter().any(|line| line.contains(&named)),
        "{:#?}",
        status.degraded
    );
    let policy = status.policy.expect("it is told");
    assert!(policy.rules > 0 && policy.failures == 1, "{policy:#?}");
    let table = agent.query(&["policy", "list"]);
    assert!(
        table.contains("shell.injected") && table.contains(&named),
        "{table}"
    );
}

#[test]
fn a_policy_directory_that_is_missing_is_named() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let missing = directory.path().join("missing");
    let mut agent = watchkeeper();
    agent
        .args(["agent", "--cri-socket", "none", "--state-dir"])
        .arg(directory.path().join("state"));
    let line = refused(&output(agent.arg("--policy-dir").arg(&missing)), 1);
    assert!(line.contains(&missing.display().to_string()), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_runtime_socket_is_a_degradation_and_no_failure() {
    if skipped() {
        return;
    }
    let missing = "/nonexistent/containerd.sock";
    let agent = Agent::start(&["--cri-socket", missing]);
    let status = agent.status().await;
    let runtime = status.runtime.expect("it was told of a runtime");
    assert!(!runtime.connected, "{runtime:#?}");
    assert_eq!(runtime.socket, missing);
    assert!(!runtime.reason.is_empty(), "{runtime:#?}");
    assert!(
        status.degraded.iter().any(|line| line.contains(missing)),
        "{:#?}",
        status.degraded
    );
    let table = agent.query(&["status"]);
    assert!(table.contains(missing), "{table}");
    for sentence in &status.degraded {
        let word = sentence.split_whitespace().next().unwrap_or_default();
        assert!(table.contains(word), "`{sentence}` in {table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_degraded_without_a_reason() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&["--cri-socket", "none"]);
    let status = agent.status().await;
    let runtime = status.runtime.unwrap_or_default();
    assert!(!runtime.connected, "{runtime:#?}");
    let failed = status
        .sensors
        .iter()
        .filter(|sensor| sensor.state() == watchkeeper::proto::v1::SensorState::Failed);
    assert_eq!(failed.count(), 0, "{:#?}", status.sensors);
}
