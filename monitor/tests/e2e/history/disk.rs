//! Full, read-only and damaged disks.

use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use super::{number, restartable, run_many};
use crate::harness::agent::Agent;
use crate::harness::command::{output, refused, succeed};
use crate::harness::mounts::unmount_below;
use crate::harness::{eventually, skipped, unique};

/// A filesystem of its own, with a size.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(options: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(directory.path());
        succeed(&mut mount);
        Self(directory)
    }

    fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount
            .args(["-o", &format!("remount,{options}")])
            .arg(self.0.path());
        succeed(&mut mount);
    }

    fn directory(&self) -> String {
        self.0.path().join("history").display().to_string()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount_below(self.0.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_nothing_but_the_writing() {
    if skipped() {
        return;
    }
    let disk = Disk::new("size=2m");
    let agent = Agent::start(&["--history-dir", &disk.directory()]);
    run_many(1_500);
    let trouble = eventually("the disk is full", || {
        let status = agent.query(&["status"]);
        let line = status
            .lines()
            .find(|line| line.contains("history is not written"));
        line.map(str::to_owned)
    });
    assert!(trouble.contains(&disk.directory()), "{trouble}");
    assert!(trouble.contains("full"), "{trouble}");
    let committed = number(&agent, "SELECT count(*) FROM events");
    assert!(committed > 0);

    // The node is watched all the same.
    let marker = unique("meanwhile");
    succeed(Command::new("/bin/true").arg(&marker));
    agent.exec_with(&marker).await;

    disk.remount("size=64m");
    eventually("history is written again", || {
        let found = number(
            &agent,
            &format!(
                "SELECT count(*) FROM executions WHERE exe LIKE '%/true' AND argv LIKE '%{marker}%'"
            ),
        );
        (found == 1).then_some(())
    });
    assert!(number(&agent, "SELECT count(*) FROM events") > committed);
    let status = agent.status().await;
    let history = status.history.expect("there is one");
    assert_eq!(history.trouble, "");
    let of_many = number(
        &agent,
        "SELECT count(*) FROM executions WHERE exe LIKE '%/true' AND argv LIKE '%xxxx%'",
    );
    let missing = number(&agent, "SELECT coalesce(sum(count), 0) FROM losses");
    assert!(of_many + missing >= 1_500, "{of_many} {missing}");
}

/// What is there is not taken for damaged because the disk has no room to open it.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_on_a_full_disk_keeps_what_is_there() {
    if skipped() {
        return;
    }
    let disk = Disk::new("size=2m");
    let agent = Agent::start(&["--history-dir", &disk.directory()]);
    run_many(1_500);
    eventually("the disk is full", || {
        let status = agent.query(&["status"]);
        status.contains("history is not written").then_some(())
    });
    let committed = number(&agent, "SELECT count(*) FROM events");
    drop(agent);
    // Not a byte is left.
    let mut fill = Command::new("dd");
    fill.args(["if=/dev/zero", "bs=4k", "count=1000"]);
    output(fill.arg(format!("of={}/rest", disk.directory())));

    let agent = Agent::start(&["--history-dir", &disk.directory()]);
    let marker = unique("again");
    succeed(Command::new("/bin/true").arg(&marker));
    agent.exec_with(&marker).await;
    let files = std::fs::read_dir(disk.directory()).expect("it can be read");
    for file in files.flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        assert!(!name.contains("damaged"), "{name}");
    }
    disk.remount("size=64m");
    eventually("history is written again", || {
        let found = agent.query(&["status"]);
        (!found.contains("history is not written")).then_some(())
    });
    let kept = number(&agent, "SELECT count(*) FROM events");
    assert!(kept >= committed, "{kept} of {committed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_can_not_be_written_is_told_and_the_node_is_watched() {
    if skipped() {
        return;
    }
    let disk = Disk::new("size=8m");
    disk.remount("ro");
    let agent = Agent::start(&["--history-dir", &disk.directory()]);
    let status = agent.status().await;
    let told = status
        .degraded
        .iter()
        .find(|line| line.contains(&disk.directory()));
    assert!(
        told.is_some_and(|line| line.contains("Read-only")),
        "{:?}",
        status.degraded
    );
    let marker = unique("watched");
    succeed(Command::new("/bin/true").arg(&marker));
    agent.exec_with(&marker).await;
    let line = refused(&output(&mut agent.client(&["sql", "SELECT 1"])), 1);
    assert!(line.contains("Read-only"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_segment_is_set_aside() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut agent = restartable(directory.path());
    run_many(50);
    agent.end_with(Signal::TERM);
    drop(agent);
    let segment: PathBuf = directory
        .path()
        .join("history/segment-0000000001-1-1.sqlite");
    let mut content = std::fs::read(&segment).expect("it can be read");
    let half = content.len() / 2;
    content[half..].fill(0x5a);
    std::fs::write(&segment, content).expect("it can be written");

    let agent = restartable(directory.path());
    let marker = unique("after");
    succeed(Command::new("/bin/true").arg(&marker));
    agent.exec_with(&marker).await;
    eventually("a new segment has it", || {
        let found = number(
            &agent,
            &format!(
                "SELECT count(*) FROM executions WHERE exe LIKE '%/true' AND argv LIKE '%{marker}%'"
            ),
        );
        (found == 1).then_some(())
    });
    assert!(segment.with_extension("damaged").exists());
}
