//! History on disk, and the questions that are asked of it.

mod coverage;
mod disk;
mod restart;
mod upgrade;

use std::path::Path;
use std::process::Command;

use watchkeeper::proto::v1::Event;

use crate::harness::agent::Agent;
use crate::harness::command::{output, refused, succeed};
use crate::harness::watch::container_id;
use crate::harness::{sensors, skipped, unique};

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
    Agent::start_in(directory, &few_sensors())
}

fn few_sensors() -> Vec<&'static str> {
    sensors::OF_SYSTEM_CALLS
        .iter()
        .flat_map(|&sensor| ["--disable-sensor", sensor])
        .collect()
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
        ("--history-age", "5y"),
    ] {
        let refusal = output(crate::harness::agent::watchkeeper().args(["agent", flag, value]));
        let line = refused(&refusal, 2);
        assert!(line.contains(flag), "{line}");
    }
}
