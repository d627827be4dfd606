//! What history costs: a node that starts programs all the time, with questions asked beside it; and a day of a busy node,
//! made up.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{Agent, Running, machine, tell};
use crate::toolchain::Toolchain;
use crate::{command, programs};

/// Where the record is, from the workspace's root.
const RECORD: &str = "xtask/records/history.md";
/// Events that are caused a second: three for each program that is started.
const RATE: u32 = 1_000;
/// Time between two questions.
const BETWEEN: Duration = Duration::from_secs(2);
/// Events of the day that is made up.
const DAY: u64 = 10_000_000;

/// The questions, by the arguments of the command line.
const QUESTIONS: [(&str, &[&str]); 4] = [
    (
        "the last 100 events",
        &["events", "--limit", "100", "-o", "json"],
    ),
    (
        "programs of the last minute",
        &["events", "--kind", "exec", "--since", "1m", "-o", "json"],
    ),
    (
        "SQL: programs by path",
        &[
            "sql",
            "-o",
            "json",
            "SELECT exe, count(*) FROM executions GROUP BY exe",
        ],
    ),
    (
        "the tree of this process",
        &["tree", "PID", "--since", "1m", "-o", "json"],
    ),
];

/// How a load went.
struct Load {
    seconds: f64,
    /// When it began, when questions began to be asked, and at the end.
    before: Agent,
    asked: Agent,
    after: Agent,
    /// Of the history, at the end.
    written: f64,
    missing: f64,
    bytes: f64,
    busy_us: f64,
    /// Milliseconds of each question, by its place among [`QUESTIONS`].
    times: Vec<Vec<f64>>,
}

/// Measures; writes the record where that is wanted.
pub(crate) fn run(minutes: u32, record: bool) -> Result<()> {
    if !command::is_root() {
        bail!("loading eBPF programs takes root; run it with sudo");
    }
    let toolchain = Toolchain::ensure()?;
    let agent = programs::agent(&toolchain)?;
    println!("{RATE} events a second for {minutes} min, with questions beside them");
    let load = load(&Running::start(&agent)?, minutes)?;
    println!("a day of {DAY} events");
    let mut bench = toolchain.cargo();
    bench.args([
        "bench",
        "--quiet",
        "--package",
        "watchkeeper",
        "--bench",
        "history",
        "--",
    ]);
    let day = command::output(bench.arg(DAY.to_string()), "measure a day of events")?;
    let report = report(&load, &day, &machine()?);
    tell(&report, record.then_some(RECORD))
}

/// Starts programs at an even rate, and asks questions meanwhile.
fn load(running: &Running, minutes: u32) -> Result<Load> {
    let before = running.taken()?;
    let mut quiet = None;
    let began = Instant::now();
    let duration = Duration::from_secs(60 * u64::from(minutes));
    let each = Duration::from_secs(3) / RATE;
    let mut started: u32 = 0;
    let mut times = vec![Vec::new(); QUESTIONS.len()];
    let mut asked = Instant::now();
    let mut next = 0;
    let mut question: Option<(usize, Instant, std::process::Child)> = None;
    while began.elapsed() < duration {
        let mut program = Command::new("/bin/true")
            .arg(started.to_string())
            .spawn()
            .context("could not start a program")?;
        program.wait().context("could not wait for a program")?;
        started += 1;
        if let Some((index, since, child)) = &mut question
            && let Some(status) = child.try_wait().context("could not wait for a question")?
        {
            if !status.success() {
                bail!("a question failed: {}", QUESTIONS[*index].0);
            }
            times[*index].push(since.elapsed().as_secs_f64() * 1e3);
            question = None;
        }
        // The first fifth is without questions.
        if began.elapsed() < duration / 5 {
            asked = Instant::now();
        } else if quiet.is_none() {
            quiet = Some(running.taken()?);
        }
        if question.is_none() && asked.elapsed() >= BETWEEN {
            asked = Instant::now();
            let mut ask = Command::new(&running.agent);
            let own = std::process::id().to_string();
            ask.args(
                QUESTIONS[next]
                    .1
                    .iter()
                    .map(|&argument| if argument == "PID" { &own } else { argument }),
            );
            ask.arg("--socket")
                .arg(running.state.join("watchkeeper.sock"));
            ask.stdout(Stdio::null()).stderr(Stdio::null());
            let child = ask.spawn().context("could not ask a question")?;
            question = Some((next, Instant::now(), child));
            next = (next + 1) % QUESTIONS.len();
        }
        if let Some(early) = (each * started).checked_sub(began.elapsed()) {
            std::thread::sleep(early);
        }
    }
    if let Some((_, _, mut child)) = question {
        // It was not over in time, and is not counted.
        let _ = child.wait();
    }
    // Batches of what is left.
    std::thread::sleep(Duration::from_secs(1));
    let after = running.taken()?;
    let history = running.status(&[])?["history"].clone();
    let number = |name: &str| -> Result<f64> {
        history[name]
            .as_str()
            .unwrap_or("0")
            .parse()
            .with_context(|| format!("the history's {name} is {}", history[name]))
    };
    println!(
        "resident memory {:.0} MiB, with questions {:.0} MiB",
        quiet.as_ref().map_or(0.0, |quiet| quiet.resident),
        after.resident
    );
    Ok(Load {
        asked: quiet.context("no question was asked")?,
        seconds: began.elapsed().as_secs_f64(),
        before,
        after,
        written: number("eventsWritten")?,
        missing: number("eventsMissed")?,
        bytes: number("bytes")?,
        busy_us: number("busyNs")? / 1e3,
        times,
    })
}

fn report(load: &Load, day: &str, machine: &str) -> String {
    let events = load.after.events - load.before.events;
    let between =
        |from: &Agent, to: &Agent| (to.cpu_us - from.cpu_us) / (to.events - from.events).max(1.0);
    let (quiet, asked) = (
        between(&load.before, &load.asked),
        between(&load.asked, &load.after),
    );
    let mut text = format!(
        "# Benchmarks of history\n\nWritten by `cargo xtask bench --history --record` on {machine}.\n\n\
         ## Programs started at an even rate, with questions beside them\n\n\
         | what | value |\n| --- | --- |\n\
         | seconds | {:.0} |\n\
         | events a second | {:.0} |\n\
         | events lost before they reached the agent | {:.0} |\n\
         | events missing from history | {:.0} |\n\
         | CPU time of the agent for an event, µs | {quiet:.1} |\n\
         | the same while questions are asked, with what they take, µs | {asked:.1} |\n\
         | time of the writing thread for an event, µs | {:.2} |\n\
         | bytes on disk for an event | {:.1} |\n\
         | resident memory, MiB | {:.0} |\n\
         | the same after the questions, MiB | {:.0} |\n\n\
         | question | times asked | median, ms | slowest, ms |\n| --- | --- | --- | --- |\n",
        load.seconds,
        events / load.seconds,
        load.after.lost - load.before.lost,
        load.missing,
        load.busy_us / load.written.max(1.0),
        load.bytes / load.written.max(1.0),
        load.asked.resident,
        load.after.resident,
    );
    for ((what, _), times) in QUESTIONS.iter().zip(&load.times) {
        let spread = super::Spread::of(times.iter().copied());
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {what} | {} | {:.0} | {:.0} |",
            times.len(),
            spread.median,
            spread.high
        );
    }
    let _ = write!(text, "\n## A day of a busy node, made up\n\n{day}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_becomes_a_table() {
        let agent = |events: f64, cpu_us: f64| Agent {
            cpu_us,
            events,
            lost: 0.0,
            resident: 40.0,
        };
        let load = Load {
            seconds: 10.0,
            before: agent(100.0, 1_000.0),
            asked: agent(2_100.0, 11_000.0),
            after: agent(10_100.0, 51_000.0),
            written: 10_000.0,
            missing: 2.0,
            bytes: 900_000.0,
            busy_us: 30_000.0,
            times: vec![vec![3.0, 1.0, 9.0]; QUESTIONS.len()],
        };
        let report = report(&load, "| day |\n", "Linux 1.0");
        for line in [
            "| events a second | 1000 |",
            "| events missing from history | 2 |",
            "| CPU time of the agent for an event, µs | 5.0 |",
            "| the same while questions are asked, with what they take, µs | 5.0 |",
            "| bytes on disk for an event | 90.0 |",
            "| the last 100 events | 3 | 3 | 9 |",
            "\n| the same after the questions, MiB | 40 |",
            "| day |",
        ] {
            assert!(report.contains(line), "{line} is not in\n{report}");
        }
    }
}
