//! History on disk: what is kept over restarts, full and read-only disks, and the questions that are asked of it.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use watchkeeper::proto::v1::{Event, EventKind, EventsWatchRequest, ExecOrigin};

use crate::harness::agent::Agent;
use crate::harness::command::{output, refused, succeed};
use crate::harness::mounts::unmount_below;
use crate::harness::podman::Podman;
use crate::harness::watch::{argv, container_id};
use crate::harness::{eventually, sensors, skipped, unique};

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

fn sql(agent: &Agent, statement: &str) -> String {
    agent.query(&["sql", "-o", "csv", statement])
}

/// A single number that a statement is answered with.
fn number(agent: &Agent, statement: &str) -> u64 {
    let answer = sql(agent, statement);
    let value = answer.lines().nth(1).expect("there is a row");
    value
        .parse()
        .unwrap_or_else(|_| panic!("{statement}: {answer}"))
}

/// An agent with what it needs for these tests, and no more: the other sensors take seconds to detach.
fn restartable(directory: &Path) -> Agent {
    let disabled: Vec<&str> = sensors::OF_SYSTEM_CALLS
        .iter()
        .flat_map(|&sensor| ["--disable-sensor", sensor])
        .collect();
    Agent::start_in(directory, &disabled)
}

/// Runs programs in a row, each with a long argument of its own.
fn run_many(count: u32) {
    let script = format!(
        "i=0; while [ $i -lt {count} ]; do /bin/true ${{i}}{}; i=$((i+1)); done",
        "x".repeat(2_000)
    );
    succeed(Command::new("/bin/sh").args(["-c", &script]));
}

fn of_container(events: Vec<Event>, id: &str) -> Vec<Event> {
    events
        .into_iter()
        .filter(|event| container_id(event.container.as_ref()) == id)
        .collect()
}

/// The agent is restarted while a container works: cursors go on, processes keep their ancestors, ids and origin, and what
/// was found is not found again.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_loses_no_lineage_and_repeats_no_alert() {
    if skipped() {
        return;
    }
    for signal in [Signal::TERM, Signal::KILL] {
        let podman = Podman::start();
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let mut agent = restartable(directory.path());
        let container = podman.run(&unique("service"), &[], &["/bin/sleep", "1000"]);
        // The outer shell ends; the inner one goes on, and starts shells of its own.
        let inner = "while :; do sh -c 'sleep 0.1; true'; done";
        let outer = format!("sh -c \"{inner}\" >/dev/null 2>&1 & exit 0");
        let injected = container.exec(&["/bin/sh", "-c", &outer]);
        assert!(injected.status.success(), "{injected:?}");

        let is_step = |event: &Event| argv(event) == ["sleep", "0.1"];
        eventually("steps of the inner shell", || {
            let printed = agent.query(&[
                "events", "--kind", "exec", "--binary", "busybox", "-o", "json",
            ]);
            (printed.matches("\"0.1\"").count() > 3).then_some(())
        });
        let past = of_container(agent.past_execs().await, &container.id);
        let step = past
            .iter()
            .rfind(|event| is_step(event))
            .expect("there are steps");
        let ancestors: Vec<String> = step
            .ancestors
            .iter()
            .map(|above| above.exec_id.clone())
            .collect();
        let alerts = agent.past_alerts().await;
        let ids: BTreeSet<String> = alerts
            .iter()
            .filter(|alert| container_id(alert.container.as_ref()) == container.id)
            .map(|alert| alert.id.clone())
            .collect();
        assert!(!ids.is_empty(), "the injected shell is an alert");
        let cursor = past[past.len() / 2].cursor.clone();

        agent.end_with(signal);
        drop(agent);
        let restarted = prost_types::Timestamp::from(std::time::SystemTime::now());
        let agent = restartable(directory.path());

        let mut live = agent.live_events(EventKind::Exec).await;
        let after = live
            .find("a step after the restart", |event| {
                let is_later = event
                    .time
                    .is_some_and(|time| time.seconds > restarted.seconds);
                is_later && is_step(event) && container_id(event.container.as_ref()) == container.id
            })
            .await;
        let process = after.process.as_ref().expect("an exec has a process");
        assert_eq!(process.origin(), ExecOrigin::Injected, "{after:#?}");
        // The shell of this step is a new one; those above it are the same as before.
        let now: Vec<String> = after
            .ancestors
            .iter()
            .map(|above| above.exec_id.clone())
            .collect();
        assert_eq!(now[1..], ancestors[1..], "after {signal:?}");

        let resumed = agent
            .past_events(EventsWatchRequest {
                cursor: cursor.clone(),
                kinds: vec![EventKind::Exec.into()],
                ..Default::default()
            })
            .await;
        let cursors: Vec<&String> = resumed.iter().map(|event| &event.cursor).collect();
        let unique: HashSet<&String> = cursors.iter().copied().collect();
        assert_eq!(unique.len(), cursors.len(), "nothing comes twice");
        assert!(!unique.contains(&cursor));
        let resumed = of_container(resumed, &container.id);
        let expected: Vec<&str> = past[past.len() / 2 + 1..]
            .iter()
            .map(|event| event.cursor.as_str())
            .collect();
        let found: Vec<&str> = resumed.iter().map(|event| event.cursor.as_str()).collect();
        if signal == Signal::TERM {
            assert_eq!(
                found[..expected.len()],
                expected[..],
                "it goes on where it was"
            );
        } else {
            // What was not committed within the last moments is gone; the rest is not.
            let kept = expected
                .iter()
                .take_while(|cursor| found.contains(cursor))
                .count();
            assert_eq!(found[..kept], expected[..kept]);
        }
        assert!(
            found.contains(&after.cursor.as_str()),
            "{} in {found:?}",
            after.cursor
        );

        let later: BTreeSet<String> = agent
            .past_alerts()
            .await
            .into_iter()
            .filter(|alert| container_id(alert.container.as_ref()) == container.id)
            .map(|alert| alert.id)
            .collect();
        assert_eq!(later, ids, "after {signal:?}: no alert is there twice");
        let losses = sql(&agent, "SELECT reason FROM losses");
        let word = if signal == Signal::TERM {
            "did not run from"
        } else {
            "was killed"
        };
        assert!(losses.contains(word), "{losses}");
    }
}

/// A process that has ended stays in /proc until its parent waits for it, and procfs tells little of it.
#[tokio::test(flavor = "multi_thread")]
async fn ancestors_that_nobody_waited_for_are_kept_over_a_restart() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut agent = restartable(directory.path());
    let marker = unique("step");
    let script = format!("(while :; do /bin/sh -c ': {marker}'; sleep 0.1; done) & exit 0");
    let mut shell = Command::new("/bin/sh")
        .args(["-c", &script])
        .spawn()
        .expect("a shell can run");
    let wanted = format!(": {marker}");
    let is_step = |event: &Event| argv(event).contains(&wanted);
    let above = |event: &Event| -> Vec<String> {
        let ancestors = event.ancestors.iter();
        ancestors.map(|above| above.exec_id.clone()).collect()
    };
    let before = agent.exec("a step", &is_step).await;
    agent.end_with(Signal::TERM);
    drop(agent);
    let restarted = prost_types::Timestamp::from(std::time::SystemTime::now());
    let agent = restartable(directory.path());
    let after = agent
        .exec("a step after the restart", |event| {
            let is_later = event
                .time
                .is_some_and(|time| time.seconds > restarted.seconds);
            is_later && is_step(event)
        })
        .await;
    let own = before.ancestors.first().map_or(0, |looping| looping.pid);
    let looping = i32::try_from(own)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    // It is the one that started the step.
    let _ = rustix::process::kill_process(looping.expect("a step has a parent"), Signal::KILL);
    let _ = shell.wait();
    assert!(before.ancestors.iter().any(|above| above.pid == shell.id()));
    assert_eq!(above(&after), above(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_that_are_gone_are_answered_for() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let agent = Agent::full(&[]);
    let container = podman.run(&unique("gone"), &[], &["/bin/sleep", "1000"]);
    container.exec(&[
        "/bin/sh",
        "-c",
        "mkdir -p /etc; touch /etc/shadow; cat /etc/shadow; ls /gone; true",
    ]);
    let (name, id) = (container.name.clone(), container.id.clone());
    container.remove();
    eventually("the end of the container", || {
        let listed = agent.query(&["containers", "--ended", "-o", "json"]);
        (listed.contains(&id) && listed.contains("\"ended\"")).then_some(())
    });

    for asked in [name.as_str(), &id[..12]] {
        let tree = agent.query(&["tree", asked]);
        assert!(tree.contains("sleep 1000"), "{tree}");
        assert!(tree.contains("ls /gone"), "{tree}");
        assert!(tree.contains("shell.injected"), "{tree}");
        let events = agent.query(&["events", "--container", asked, "--kind", "exec"]);
        assert!(events.contains("cat /etc/shadow"), "{events}");
        let timeline = agent.query(&["timeline", "--container", asked]);
        assert!(timeline.contains("ALERT"), "{timeline}");
    }
    let by_image = agent.query(&["events", "--image", "watchkeeper-e2e", "--argv", "ls /gone"]);
    assert!(
        by_image.contains("ls /gone"),
        "{by_image}\n{}",
        agent.query(&["containers", "--ended", "-o", "json"])
    );
    let opened = agent.query(&["events", "--path", "/etc/shadow", "--container", &name]);
    assert!(opened.contains("/etc/shadow"), "{opened}");
    let other = output(&mut agent.client(&["events", "--label", "no=such"]));
    assert!(other.stdout.is_empty(), "{other:?}");

    let counted = number(
        &agent,
        &format!("SELECT count(*) FROM executions WHERE container = '{name}'"),
    );
    let executed = sql(
        &agent,
        "SELECT exe, argv, container, origin FROM executions ORDER BY time_ns",
    );
    assert!(counted >= 3, "{counted} in {executed}");
    let alert = agent.past_alerts().await.pop().expect("there is one");
    let evidence = agent.query(&["events", "--alert", &alert.id, "-o", "json"]);
    assert!(evidence.contains(&alert.evidence[0]), "{evidence}");
    let around = agent.query(&["tree", &alert.id]);
    assert!(around.contains(&alert.id), "{around}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_ended_while_no_agent_ran_has_an_end() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut agent = restartable(directory.path());
    let container = podman.run(&unique("ends"), &[], &["/bin/sleep", "1000"]);
    let ended = format!(
        "SELECT coalesce(ended, 'runs') FROM containers WHERE id = '{}'",
        container.id
    );
    eventually("the container is kept", || {
        sql(&agent, &ended).contains("runs").then_some(())
    });
    agent.end_with(Signal::TERM);
    drop(agent);
    container.remove();
    let agent = restartable(directory.path());
    eventually("its end is known", || {
        let answer = sql(&agent, &ended);
        answer
            .lines()
            .nth(1)
            .is_some_and(|line| line.starts_with("20"))
            .then_some(())
    });
    let tree = agent.query(&["tree", &container.name]);
    assert!(tree.contains("its end was not seen"), "{tree}");
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_can_be_taken_away() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let marker = unique("evidence");
    succeed(Command::new("/bin/true").arg(&marker));
    agent.exec_with(&marker).await;
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    for (name, reads) in [("part.sqlite", "database"), ("part.jsonl", "lines")] {
        let path = directory.path().join(name);
        let printed = agent.query(&[
            "export",
            "--argv",
            &marker,
            "-o",
            &path.display().to_string(),
        ]);
        let sum = succeed(Command::new("sha256sum").arg(&path));
        assert_eq!(printed.trim(), sum.trim());
        let manifest =
            std::fs::read_to_string(directory.path().join(format!("{name}.manifest.json")))
                .expect("there is a manifest");
        assert!(manifest.contains(&sum[..64]), "{manifest}");
        let again = output(&mut agent.client(&["export", "-o", &path.display().to_string()]));
        assert!(refused(&again, 1).contains("File exists"), "{again:?}");
        let content = if reads == "database" {
            let database = rusqlite::Connection::open(&path).expect("it is a database");
            let mut rows = database
                .prepare("SELECT kind || ' ' || argv FROM events")
                .expect("it has the view");
            let rows: Vec<String> = rows
                .query_map((), |row| row.get(0))
                .and_then(Iterator::collect)
                .expect("it can be read");
            rows.join("\n")
        } else {
            std::fs::read_to_string(&path).expect("it can be read")
        };
        assert!(content.contains(&marker), "{content}");
    }
    let drawing = directory.path().join("tree.svg");
    let page = directory.path().join("tree.html");
    for path in [&drawing, &page] {
        agent.query(&[
            "tree",
            &std::process::id().to_string(),
            "--write",
            &path.display().to_string(),
        ]);
        let content = std::fs::read_to_string(path).expect("it was written");
        assert!(content.contains(&marker), "{content}");
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
async fn history_can_be_switched_off() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&["--history-size", "0"]);
    assert!(!agent.state_dir().join("history").exists());
    let line = refused(&output(&mut agent.client(&["sql", "SELECT 1"])), 1);
    assert!(line.contains("no history"), "{line}");
    let marker = unique("memory");
    succeed(Command::new("/bin/true").arg(&marker));
    agent.exec_with(&marker).await;
    let tree = agent.query(&["tree", &std::process::id().to_string()]);
    assert!(tree.contains(&marker), "{tree}");
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

#[test]
fn what_history_is_asked_wrongly_is_told_in_a_line() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    for (arguments, code, word) in [
        (&["sql", "DELETE FROM losses"][..], 1, "view"),
        (&["sql", "SELECT colour FROM events"], 1, "no such column"),
        (
            &["sql", "ATTACH '/tmp/x' AS x"],
            1,
            "only statements that read",
        ),
        (
            &[
                "sql",
                "--max-time",
                "1s",
                "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT count(*) FROM t",
            ],
            1,
            "longer than 1 s",
        ),
        (&["sql"], 2, "<SQL>"),
        (&["tree", "no-such-thing"], 1, "no-such-thing"),
        (&["tree", "1", "--write", "x.png"], 1, ".svg"),
        (&["export", "-o", "x.txt"], 1, ".sqlite"),
        (&["events", "--address", "10.0.0.0/99"], 1, "10.0.0.0/99"),
        (&["events", "--limit", "3", "--first", "3"], 2, "--first"),
        (&["events", "--alert", "nosuch"], 1, "nosuch"),
    ] {
        let line = refused(&output(&mut agent.client(arguments)), code);
        assert!(line.contains(word), "{arguments:?}: {line}");
    }
    for (flag, value) in [
        ("--history-size", "1"),
        ("--history-size", "x"),
        ("--history-age", "5"),
    ] {
        let refusal = output(crate::harness::agent::watchkeeper().args(["agent", flag, value]));
        let line = refused(&refusal, 2);
        assert!(line.contains(flag), "{line}");
    }
}
