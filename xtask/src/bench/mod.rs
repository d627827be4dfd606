//! What the agent costs: ordinary things in a container, without the agent and with it in turn, and what its programs take.

pub(crate) mod history;
pub(crate) mod policies;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde_json::Value;

use crate::toolchain::Toolchain;
use crate::{command, paths, programs, run};

/// Where the record is, from the workspace's root.
const RECORD: &str = "xtask/records/benchmarks.md";

/// A thing that is measured: its name among the actor's facts, what it is, and what it may cost by the design.
struct Load {
    name: &'static str,
    what: &'static str,
    budget: &'static str,
}

const LOADS: [Load; 4] = [
    Load {
        name: "syscall",
        what: "empty system call",
        budget: "+40 ns",
    },
    Load {
        name: "open",
        what: "open and close of an unwatched file",
        budget: "+5 %",
    },
    Load {
        name: "connect",
        what: "TCP connection over loopback, closed at once",
        budget: "+3 %",
    },
    Load {
        name: "exec",
        what: "fork, exec, exit and wait",
        budget: "+3 %",
    },
];

/// Nanoseconds by name of the load.
type Times = BTreeMap<String, f64>;

/// What is known of a pair of runs.
struct Pair {
    without: Times,
    with: Times,
}

/// What the agent itself took beside the loads.
struct Agent {
    /// Microseconds of CPU time for an event.
    cpu_us: f64,
    events: f64,
    lost: f64,
    /// MiB of resident memory, at the end.
    resident: f64,
}

/// Measures `pairs` times; writes the record where that is wanted.
pub(crate) fn run(pairs: u32, record: bool) -> Result<()> {
    if !command::is_root() {
        bail!("loading eBPF programs takes root; run it with sudo");
    }
    let toolchain = Toolchain::ensure()?;
    let agent = programs::agent(&toolchain)?;
    let actor = programs::actor(&toolchain)?;
    let mut measured = Vec::new();
    let mut taken = Vec::new();
    let mut costs = Value::Null;
    for number in 1..=pairs {
        println!("pair {number} of {pairs}: without the agent");
        let without = measure(&actor)?;
        println!("pair {number} of {pairs}: with the agent");
        let running = Running::start(&agent)?;
        let before = running.taken()?;
        let with = measure(&actor)?;
        let after = running.taken()?;
        taken.push(Agent {
            cpu_us: (after.cpu_us - before.cpu_us) / (after.events - before.events).max(1.0),
            events: after.events - before.events,
            lost: after.lost - before.lost,
            resident: after.resident,
        });
        measured.push(Pair { without, with });
        if number == pairs {
            println!("counting what the programs take");
            costs = running.costs(&actor)?;
        }
    }
    let report = report(&measured, &taken, &costs, &machine()?);
    tell(&report, record.then_some(RECORD))
}

/// Prints a report, and keeps it as a record where that is wanted: a file below the workspace's root.
fn tell(report: &str, record: Option<&str>) -> Result<()> {
    print!("\n{report}");
    if let Some(record) = record {
        let path = paths::repository().join(record);
        fs::write(&path, report).with_context(|| format!("could not write {}", path.display()))?;
        println!("\nthe record is in {record}");
    }
    Ok(())
}

/// What the loads take now.
fn measure(actor: &Path) -> Result<Times> {
    let text = command::output(
        Command::new(actor).args(["act", "measure"]),
        "measure in a container",
    )?;
    let facts: Value = serde_json::from_str(&text).context("the actor's facts are no JSON")?;
    let time = |load: &Load| {
        let time = facts[load.name].as_f64();
        Ok((
            load.name.to_owned(),
            time.with_context(|| format!("the actor did not measure {}", load.name))?,
        ))
    };
    LOADS.iter().map(time).collect()
}

/// An agent with a state directory of its own; both are gone when this is dropped.
struct Running {
    child: Child,
    agent: PathBuf,
    state: PathBuf,
}

impl Running {
    fn start(agent: &Path) -> Result<Self> {
        let state = std::env::temp_dir().join(format!("watchkeeper-bench-{}", std::process::id()));
        let mut start = Command::new(agent);
        start.args(["agent", "--cri-socket", "none"]);
        // What is refused for its number costs less.
        for class in ["process", "network", "file"] {
            start.arg("--budget").arg(format!("{class}=1000000"));
        }
        start
            .arg("--state-dir")
            .arg(&state)
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let child = start
            .spawn()
            .with_context(|| format!("could not start the agent: {}", command::line(&start)))?;
        let mut running = Self {
            child,
            agent: agent.to_owned(),
            state,
        };
        run::wait_until_ready(agent, &running.state, &mut running.child)?;
        Ok(running)
    }

    fn status(&self, arguments: &[&str]) -> Result<Value> {
        let mut status = Command::new(&self.agent);
        status.args(["status", "--output", "json"]).args(arguments);
        status
            .arg("--socket")
            .arg(self.state.join("watchkeeper.sock"));
        let text = command::output(&mut status, "ask the agent for its status")?;
        serde_json::from_str(&text).context("the agent's status is no JSON")
    }

    /// What it took so far: CPU time in all.
    fn taken(&self) -> Result<Agent> {
        let status = self.status(&[])?;
        // 64-bit numbers are texts in the JSON mapping, and 0 is left out.
        let counter = |name: &str| {
            let text = status["counters"][name].as_str().unwrap_or("0");
            text.parse::<f64>()
                .with_context(|| format!("the agent's counter {name} is {text}"))
        };
        let process = format!("/proc/{}", self.child.id());
        let stat = fs::read_to_string(format!("{process}/stat"))
            .context("could not read what the agent took")?;
        let memory = fs::read_to_string(format!("{process}/status"))
            .context("could not read what the agent took")?;
        let tick = sysconf(SysconfVar::CLK_TCK)?.context("the kernel has no clock ticks")?;
        let tick = f64::from(i32::try_from(tick)?);
        Ok(Agent {
            cpu_us: ticks(&stat)? / tick * 1e6,
            events: counter("events")?,
            lost: counter("lost")?,
            resident: resident(&memory)?,
        })
    }

    /// What its programs take while the loads run.
    fn costs(&self, actor: &Path) -> Result<Value> {
        let mut load = Command::new(actor)
            .args(["act", "measure"])
            .stdout(Stdio::null())
            .spawn()
            .context("could not start the loads")?;
        let costs = self.status(&["--programs", "--seconds", "5"]);
        // It ends by itself.
        load.wait().context("could not wait for the loads")?;
        costs
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Each fails only where it is gone already.
        let _ = kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        );
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.state);
    }
}

/// Clock ticks in user and kernel mode (proc_pid_stat(5)): the twelfth and thirteenth field after the name.
fn ticks(stat: &str) -> Result<f64> {
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |number: usize| -> Result<f64> {
        let text = fields.get(number).context("a short line of /proc")?;
        Ok(text.parse()?)
    };
    Ok(field(11)? + field(12)?)
}

/// Resident memory in MiB (proc_pid_status(5)).
fn resident(status: &str) -> Result<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("/proc does not tell the resident memory")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib / 1_024.0)
}

/// Kernel, processor and number of CPUs.
pub(crate) fn machine() -> Result<String> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let count = std::thread::available_parallelism()?;
    Ok(format!("Linux {}, {model}, {count} CPUs", kernel.trim()))
}

/// The middle of some numbers, with the lowest and the highest.
struct Spread {
    low: f64,
    median: f64,
    high: f64,
}

impl Spread {
    fn of(numbers: impl Iterator<Item = f64>) -> Self {
        let mut all: Vec<f64> = numbers.collect();
        all.sort_by(f64::total_cmp);
        let at = |index: usize| all.get(index).copied().unwrap_or_default();
        Self {
            low: at(0),
            median: at(all.len() / 2),
            high: at(all.len().saturating_sub(1)),
        }
    }
}

fn report(pairs: &[Pair], taken: &[Agent], costs: &Value, machine: &str) -> String {
    let mut text = format!(
        "# Benchmarks\n\nWritten by `cargo xtask bench --record` on {machine}.\n\n\
         ## In a container, without the agent and with it\n\n\
         The fastest of 25 rounds each, in {} pairs of runs one after the other; the difference is the median of the pairs, with the \
         least and the greatest.\n\n\
         | what | without, ns | with, ns | difference, ns | difference, % | budget |\n| --- | --- | --- | --- | --- | --- |\n",
        pairs.len()
    );
    for load in &LOADS {
        let without = Spread::of(pairs.iter().map(|pair| pair.without[load.name]));
        let with = Spread::of(pairs.iter().map(|pair| pair.with[load.name]));
        let nanoseconds = Spread::of(
            pairs
                .iter()
                .map(|pair| pair.with[load.name] - pair.without[load.name]),
        );
        let percent = Spread::of(
            pairs
                .iter()
                .map(|pair| 100.0 * (pair.with[load.name] / pair.without[load.name] - 1.0)),
        );
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.0} | {:+.0} ({:+.0} to {:+.0}) | {:+.1} ({:+.1} to {:+.1}) | {} |",
            load.what,
            without.median,
            with.median,
            nanoseconds.median,
            nanoseconds.low,
            nanoseconds.high,
            percent.median,
            percent.low,
            percent.high,
            load.budget
        );
    }
    let spread = |number: fn(&Agent) -> f64| Spread::of(taken.iter().map(number));
    let (cpu, events) = (spread(|one| one.cpu_us), spread(|one| one.events));
    let (lost, resident) = (spread(|one| one.lost), spread(|one| one.resident));
    let _ = write!(
        text,
        "\n## The agent meanwhile\n\n\
         | what | median | least | greatest | budget |\n| --- | --- | --- | --- | --- |\n\
         | CPU time for an event, µs | {:.1} | {:.1} | {:.1} | 3 |\n\
         | events | {:.0} | {:.0} | {:.0} | |\n\
         | lost | {:.0} | {:.0} | {:.0} | |\n\
         | resident memory, MiB | {:.0} | {:.0} | {:.0} | 64 |\n\
         \n## Programs\n\n\
         In five seconds of the same loads, by the kernel's own count, which makes each run a little longer.\n\n\
         | program | runs | ns a run | verified instructions |\n| --- | --- | --- | --- |\n",
        cpu.median,
        cpu.low,
        cpu.high,
        events.median,
        events.low,
        events.high,
        lost.median,
        lost.low,
        lost.high,
        resident.median,
        resident.low,
        resident.high,
    );
    for program in costs["programs"].as_array().into_iter().flatten() {
        let number = |name: &str| -> f64 {
            let value = &program[name];
            let text = value.as_str().and_then(|text| text.parse().ok());
            text.or_else(|| value.as_f64()).unwrap_or_default()
        };
        let runs = number("runs");
        let each = number("timeNs") / runs.max(1.0);
        let _ = writeln!(
            text,
            "| {} | {runs:.0} | {each:.0} | {:.0} |",
            program["name"].as_str().unwrap_or_default(),
            number("verifiedInstructions")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(nanoseconds: f64) -> Times {
        LOADS
            .iter()
            .map(|load| (load.name.to_owned(), nanoseconds))
            .collect()
    }

    #[test]
    fn what_proc_says_is_read() {
        let stat = "12 (a) b) S 1 1 1 0 -1 4194560 100 0 0 0 30 12 0 0 20 0 5 0 100 1 1";
        assert!((ticks(stat).expect("a line") - 42.0).abs() < f64::EPSILON);
        assert!(ticks("12 (short) S 1").is_err());
        let status = "Name:\tx\nVmRSS:\t   20480 kB\n";
        assert!((resident(status).expect("a number") - 20.0).abs() < f64::EPSILON);
        assert!(resident("Name:\tx\n").is_err());
    }

    #[test]
    fn pairs_become_a_table() {
        let pairs = [(100.0, 150.0), (200.0, 210.0), (100.0, 120.0)].map(|(without, with)| Pair {
            without: times(without),
            with: times(with),
        });
        let taken = [Agent {
            cpu_us: 2.5,
            events: 1_000.0,
            lost: 3.0,
            resident: 31.2,
        }];
        let costs = serde_json::json!({"programs": [
            {"name": "open_exit", "runs": "10", "timeNs": "5000", "verifiedInstructions": 300},
            {"name": "idle"},
        ]});
        let report = report(&pairs, &taken, &costs, "Linux 1.0, a processor, 2 CPUs");
        for line in [
            "| empty system call | 100 | 150 | +20 (+10 to +50) | +20.0 (+5.0 to +50.0) | +40 ns |",
            "| CPU time for an event, µs | 2.5 | 2.5 | 2.5 | 3 |",
            "| open_exit | 10 | 500 | 300 |",
            "| idle | 0 | 0 | 0 |",
        ] {
            assert!(report.contains(line), "{line} is not in\n{report}");
        }
    }
}
