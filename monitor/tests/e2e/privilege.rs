//! Users without privilege, and what `doctor` tells them.

use std::path::Path;
use std::process::Command;

use crate::harness::agent::{binary, for_everyone, watchkeeper};
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

#[test]
fn a_kernel_without_type_information_is_named_with_what_to_do() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let binary = binary();
    // In a mount namespace of its own, where an empty directory covers the kernel's.
    let hidden = |arguments: &str| {
        let mut command = Command::new("unshare");
        let script = format!(
            "mount -t tmpfs none /sys/kernel/btf && exec {} {arguments}",
            binary.display()
        );
        command.args(["--mount", "sh", "-c", &script]);
        output(&mut command)
    };
    let agent = format!(
        "agent --cri-socket none --state-dir {}",
        directory.path().join("state").display()
    );
    let line = refused(&hidden(&agent), 1);
    assert!(
        line.contains("/sys/kernel/btf/vmlinux") && line.contains("CONFIG_DEBUG_INFO_BTF"),
        "{line}"
    );
    let doctor = hidden("doctor --cri-socket none");
    assert_eq!(doctor.status.code(), Some(1));
    let report = text(&doctor.stdout);
    assert!(report.contains("CONFIG_DEBUG_INFO_BTF"), "{report}");
}
