//! Run this, expect that event: one case for each signal, with an actor that plays containers.
//!
//! A case runs one action of the `actor` program, which does one thing in a container of its own and says what it did. The
//! event that is to come of it is looked for among those of that container. Nothing else is needed, so that the same
//! test runs in virtual machines without a container runtime.
//!
//! For each case a line goes to standard error: `signal NAME pass`, `signal NAME fail WHY` or `signal NAME not-offered WHY`.
//! What the built-in rules must find in an action is looked for after its event: see [`rules`].
//! `WATCHKEEPER_SIGNALS` names the cases to run, separated by commas; `WATCHKEEPER_PATIENCE` is how many seconds an event
//! may take, 5 if it is not set.

pub(crate) mod actor;
pub(crate) mod case;
mod changes;
mod credentials;
mod evasion;
mod files;
mod kernel;
mod mounts;
mod namespaces;
mod network;
mod rules;
mod sockets;
mod tampering;

use std::collections::HashSet;
use std::env;
use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use watchkeeper::proto::v1::{EventsWatchRequest, Filter, NodeStatusResponse, SensorState};

use crate::harness::agent::Agent;
use crate::harness::skipped;
use actor::Acted;
use case::{By, Case, Facts};

const CASES: [&[Case]; 10] = [
    network::CASES,
    sockets::CASES,
    files::CASES,
    changes::CASES,
    namespaces::CASES,
    mounts::CASES,
    credentials::CASES,
    tampering::CASES,
    kernel::CASES,
    evasion::CASES,
];

/// How a case went.
enum Verdict {
    Pass,
    Fail(String),
    /// This kernel or host does not offer the action, or the sensor.
    NotOffered(String),
}

#[tokio::test(flavor = "multi_thread")]
async fn every_signal_is_an_event() {
    if skipped() {
        return;
    }
    let cases = chosen();
    let patience = patience();
    // Before the agent, which may look for them only now and then.
    let _socket = RuntimeSocket::ensure();
    let agent = Agent::full(&["--cpu-interval", "1"]);
    let mut failed = Vec::new();
    let mut judged = HashSet::new();
    for action in rules::actions() {
        let is_performed = CASES
            .into_iter()
            .flatten()
            .any(|case| case.action == action);
        assert!(is_performed, "no case performs {action}");
    }
    for case in cases {
        let (verdict, facts) = run(&agent, case, patience).await;
        // An action that several cases are about is judged with the first.
        if let Some(facts) = facts
            && matches!(verdict, Verdict::Pass)
            && judged.insert(case.action)
        {
            for (line, passed) in rules::judge(&agent, case.action, &facts, patience).await {
                let _ = writeln!(std::io::stderr(), "{line}");
                if !passed {
                    failed.push(case.name);
                }
            }
        }
        let verdict = match verdict {
            Verdict::Fail(why) => match not_loaded(&agent.status().await, case) {
                Some(reason) => Verdict::NotOffered(reason),
                None => Verdict::Fail(why),
            },
            other => other,
        };
        let line = match &verdict {
            Verdict::Pass => format!("signal {} pass", case.name),
            Verdict::Fail(why) => format!("signal {} fail {}", case.name, one_line(why)),
            Verdict::NotOffered(why) => {
                format!("signal {} not-offered {}", case.name, one_line(why))
            }
        };
        // Past the test harness's capture of output; nothing depends on whether anybody reads it.
        let _ = writeln!(std::io::stderr(), "{line}");
        if matches!(verdict, Verdict::Fail(_)) {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "{} failed: {failed:?}", failed.len());
}

/// The cases to run.
fn chosen() -> Vec<&'static Case> {
    let all: Vec<&Case> = CASES.into_iter().flatten().collect();
    for (index, case) in all.iter().enumerate() {
        let again = all[..index].iter().any(|other| other.name == case.name);
        assert!(!again, "two cases are named {}", case.name);
    }
    let Ok(names) = env::var("WATCHKEEPER_SIGNALS") else {
        return all;
    };
    names
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(|name| {
            *all.iter()
                .find(|case| case.name == name)
                .unwrap_or_else(|| panic!("there is no signal {name}"))
        })
        .collect()
}

/// How long an event may take.
fn patience() -> Duration {
    let seconds = env::var("WATCHKEEPER_PATIENCE").map_or(5.0, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("WATCHKEEPER_PATIENCE is no number: {text}"))
    });
    Duration::from_secs_f64(seconds)
}

/// Runs one case: the action, then the search for its event. What the action said of itself comes with the verdict.
async fn run(agent: &Agent, case: &Case, patience: Duration) -> (Verdict, Option<Facts>) {
    match actor::act(case.action).await {
        Ok(Acted::Done(facts)) => (search(agent, case, &facts, patience).await, Some(facts)),
        Ok(Acted::NotOffered(why)) => (Verdict::NotOffered(why), None),
        Err(why) => (Verdict::Fail(why), None),
    }
}

/// The search for the event of a case.
async fn search(agent: &Agent, case: &Case, facts: &Facts, patience: Duration) -> Verdict {
    let deadline = Instant::now() + patience;
    loop {
        let (fitting, why) = look(agent, case, facts).await;
        if fitting > 0 && !case.once {
            return Verdict::Pass;
        }
        if Instant::now() >= deadline {
            return match fitting {
                0 => Verdict::Fail(why),
                // Whether there is one more is only known when no more can come.
                1 => Verdict::Pass,
                more => Verdict::Fail(format!("{more} events instead of one")),
            };
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How many events so far are what the case expects, and what is wrong with the others.
async fn look(agent: &Agent, case: &Case, facts: &Facts) -> (usize, String) {
    let container = facts.text("container");
    let containers = match case.by {
        By::Mover => Vec::new(),
        By::Process(_) | By::Anyone => vec![container.to_owned()],
    };
    let events = agent
        .past_events(EventsWatchRequest {
            filter: Some(Filter {
                containers,
                ..Default::default()
            }),
            kinds: vec![case.kind.into()],
            ..Default::default()
        })
        .await;
    let mut fitting = 0;
    let mut wrong: Vec<String> = Vec::new();
    for event in events.iter().filter(|event| case.concerns(facts, event)) {
        match case.holds(facts, event) {
            Ok(()) => fitting += 1,
            Err(why) if wrong.contains(&why) => {}
            Err(why) => wrong.push(why),
        }
    }
    let why = if wrong.is_empty() {
        format!(
            "no {} event ({} of the container by others)",
            case.kind.as_str_name(),
            events.len()
        )
    } else {
        wrong.truncate(4);
        wrong.join("; or ")
    };
    (fitting, why)
}

/// Why the sensor that a case is about is not there, if the agent says so.
fn not_loaded(status: &NodeStatusResponse, case: &Case) -> Option<String> {
    status
        .sensors
        .iter()
        // A program that is refused, or a field that is not found, is a fault of ours.
        .filter(|sensor| sensor.state() == SensorState::NotOffered)
        .find(|sensor| {
            let about = |word: &&str| sensor.hook.contains(*word) || sensor.name.contains(*word);
            case.hooks.iter().any(about)
        })
        .map(|sensor| format!("sensor {}: {}", sensor.name, sensor.reason))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A socket where docker has its own, if no runtime has one on this machine.
struct RuntimeSocket {
    _listener: UnixListener,
}

impl RuntimeSocket {
    const PATH: &str = "/run/docker.sock";

    fn ensure() -> Option<Self> {
        // It fails where one is there.
        let _listener = UnixListener::bind(Self::PATH).ok()?;
        Some(Self { _listener })
    }
}

impl Drop for RuntimeSocket {
    fn drop(&mut self) {
        // It fails only where somebody removed it before.
        let _ = std::fs::remove_file(Self::PATH);
    }
}
