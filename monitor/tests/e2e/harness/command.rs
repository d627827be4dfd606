//! Running programs to their end.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::LIMIT;

/// Runs `command` without input, to its end. One that does not end is killed, and fails the test.
pub(crate) fn output(command: &mut Command) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("could not run {command:?}: {error}"));
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // Nobody listens any more when it took too long.
        let _ = sender.send(child.wait_with_output());
    });
    match receiver.recv_timeout(LIMIT) {
        Ok(output) => {
            output.unwrap_or_else(|error| panic!("could not wait for {command:?}: {error}"))
        }
        Err(_) => {
            let killed = pid.map(|pid| kill_process(pid, Signal::KILL));
            panic!("{command:?} does not end; killing it: {killed:?}");
        }
    }
}

/// Runs `command`, which must succeed, and returns what it printed, without the closing newline.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout).trim_end().to_owned()
}

/// Runs `command` and returns its process id, exit included: none of its descriptors is changed.
pub(crate) fn pid_of(command: &mut Command) -> u32 {
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("could not run {command:?}: {error}"));
    let status = child
        .wait()
        .unwrap_or_else(|error| panic!("could not wait for {command:?}: {error}"));
    assert!(status.success(), "{command:?} ended with {status}");
    child.id()
}

/// What a user must get for a mistake: the exit code, no output, and one line on standard error, which is returned.
pub(crate) fn refused(output: &Output, code: i32) -> String {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.signal(), None, "killed by a signal\n{stderr}");
    assert_eq!(output.status.code(), Some(code), "exit code\n{stderr}");
    assert_eq!(text(&output.stdout), "", "standard output");
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 1, "one line on standard error, not\n{stderr}");
    assert!(
        lines[0].starts_with("watchkeeper: "),
        "the line says who speaks: {stderr}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
    lines[0].to_owned()
}

/// Bytes as text, for messages and comparisons.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
