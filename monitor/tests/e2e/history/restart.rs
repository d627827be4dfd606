//! What is known of processes and containers over restarts of the agent, and what is found again.

use std::collections::{BTreeSet, HashSet};
use std::process::Command;

use rustix::process::Signal;
use watchkeeper::proto::v1::{Event, EventKind, EventsWatchRequest, ExecOrigin};

use super::{number, of_container, restartable, sql};
use crate::harness::agent::Agent;
use crate::harness::command::output;
use crate::harness::podman::Podman;
use crate::harness::watch::{argv, container_id};
use crate::harness::{eventually, skipped, unique};

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
