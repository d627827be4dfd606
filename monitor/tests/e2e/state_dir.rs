//! The state directory and the socket in it: who may use it, and what earlier agents left.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Output;

use rustix::process::Signal;

use crate::harness::agent::{Agent, watchkeeper};
use crate::harness::command::{output, refused};
use crate::harness::skipped;

/// An agent on `state` that is expected to refuse.
fn attempt(state: &Path) -> Output {
    let mut agent = watchkeeper();
    agent.args(["agent", "--cri-socket", "none", "--state-dir"]);
    output(agent.arg(state))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_for_its_owner_only() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let socket = fs::metadata(agent.socket()).expect("the socket is there");
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o7777, 0o600);
    assert_eq!(socket.uid(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_is_made_when_missing_and_closed_to_others() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let state = directory.path().join("made/for/it");
    let agent = Agent::start_in(&state, &[]);
    agent.status().await;
    let mode = fs::metadata(&state)
        .expect("it was made")
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_on_the_same_state_is_refused_and_the_first_goes_on() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let line = refused(&attempt(agent.state_dir()), 1);
    assert!(
        line.contains(&agent.state_dir().display().to_string()),
        "{line}"
    );
    assert!(line.contains("running"), "{line}");
    agent.status().await;

    let elsewhere = Agent::start(&[]);
    elsewhere.status().await;
    agent.status().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_agent_left_is_replaced() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut killed = Agent::start_in(directory.path(), &[]);
    let status = killed.end_with(Signal::KILL);
    assert!(!status.success());
    assert!(
        killed.socket().exists(),
        "it had no chance to remove its socket"
    );
    drop(killed);

    let agent = Agent::start_in(directory.path(), &[]);
    agent.status().await;
}

#[test]
fn a_state_directory_that_cannot_be_made_is_named() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let file = directory.path().join("file");
    fs::write(&file, "").expect("a file can be written");
    for state in [file.clone(), file.join("below"), "/proc/watchkeeper".into()] {
        let line = refused(&attempt(&state), 1);
        assert!(line.contains(&state.display().to_string()), "{line}");
    }
}

#[test]
fn a_state_directory_whose_path_is_too_long_for_a_socket_is_named() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let state = directory.path().join("long".repeat(30));
    let line = refused(&attempt(&state), 1);
    assert!(line.contains(&state.display().to_string()), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_socket_is_not_removed() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let file = directory.path().join("watchkeeper.sock");
    fs::write(&file, "somebody's").expect("a file can be written");
    let line = refused(&attempt(directory.path()), 1);
    assert!(line.contains(&file.display().to_string()), "{line}");
    let content = fs::read_to_string(&file).expect("it is still there");
    assert_eq!(content, "somebody's");
}
