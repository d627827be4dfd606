//! The end of an agent: nothing stays attached, nothing stays behind.

use std::fs;

use rustix::process::Signal;

use crate::harness::agent::Agent;
use crate::harness::held::Held;
use crate::harness::{eventually, skipped};

#[tokio::test(flavor = "multi_thread")]
async fn every_way_out_leaves_nothing_attached_and_nothing_behind() {
    if skipped() {
        return;
    }
    for signal in [Signal::TERM, Signal::INT] {
        let mut agent = Agent::start(&[]);
        // A client that follows must not hold it up.
        let _alerts = agent.live_alerts().await;
        let held = Held::by(agent.pid());
        let there = held.left();
        assert!(
            there.programs.len() >= 6,
            "six sensors are loaded: {held:?} {there:?}"
        );
        assert!(
            there.links.len() >= 6,
            "six sensors are attached: {held:?} {there:?}"
        );

        let status = agent.end_with(signal);

        assert_eq!(status.code(), Some(0), "after {signal:?}: {status}");
        // The kernel frees them after the last reader of theirs is done.
        eventually("the kernel frees the programs", || {
            let left = held.left();
            (left.programs.is_empty() && left.links.is_empty()).then_some(())
        });
        let behind: Vec<_> = fs::read_dir(agent.state_dir())
            .expect("the state directory stays")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(behind, ["history"], "what it keeps, after {signal:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_while_starting_is_heeded() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut command = crate::harness::agent::watchkeeper();
    command
        .args(["agent", "--cri-socket", "none", "--state-dir"])
        .arg(directory.path());
    for delay in [1, 5, 20, 60, 150] {
        let mut agent = command
            .stdin(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("the agent can run");
        std::thread::sleep(std::time::Duration::from_millis(delay));
        let pid = i32::try_from(agent.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a child has a process id"), Signal::TERM)
            .expect("a child can be signalled");
        eventually("the agent ends", || {
            agent.try_wait().expect("it is a child")
        });
        // Early on it has no handler yet: it may die of the signal, but leaves no mess for the next.
        let left: Vec<_> = fs::read_dir(directory.path())
            .expect("the directory is there")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert!(
            !left.iter().any(|name| name == "watchkeeper.sock"),
            "after {delay} ms: {left:?}"
        );
    }
}
