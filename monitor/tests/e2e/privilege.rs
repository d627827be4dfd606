//! Users without privilege, and what `doctor` tells them.

use std::path::Path;
use std::process::Command;

use crate::harness::agent::{for_everyone, watchkeeper};
use crate::harness::command::{output, refused, succeed, text};
use crate::harness::skipped;

fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(program)
        .current_dir("/");
    command
}

#[test]
fn an_agent_without_root_says_what_it_needs() {
    if skipped() {
        return;
    }
    let (directory, program) = for_everyone();
    let state = directory.path().join("state");
    let mut agent = as_nobody(&program);
    agent.args(["agent", "--cri-socket", "none", "--state-dir"]);
    let line = refused(&output(agent.arg(&state)), 1);
    assert!(line.contains("root") || line.contains("CAP_"), "{line}");
    assert!(!state.exists(), "nothing was made");
}

#[test]
fn doctor_succeeds_where_the_agent_would_work_and_only_there() {
    if skipped() {
        return;
    }
    let report = succeed(watchkeeper().arg("doctor"));
    for sensor in ["process-exec", "process-fork", "process-exit"] {
        assert!(report.contains(sensor), "{report}");
    }
    assert!(report.contains("BTF"), "{report}");

    let (_directory, program) = for_everyone();
    let answer = output(as_nobody(&program).arg("doctor"));
    let report = text(&answer.stdout) + &text(&answer.stderr);
    assert_eq!(answer.status.code(), Some(1), "{report}");
    assert!(!report.contains("panicked"), "{report}");
    assert!(
        report.contains("root") || report.contains("CAP_"),
        "{report}"
    );
}

#[test]
fn help_takes_no_privilege() {
    if skipped() {
        return;
    }
    let (_directory, program) = for_everyone();
    succeed(as_nobody(&program).arg("--help"));
}
