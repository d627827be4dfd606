//! Watchkeeper on other kernels: boots each in a virtual machine, runs the demonstration there and looks for its alerts, then
//! causes every signal and looks for its event.

mod accelerator;
mod cpio;
mod initramfs;
mod kernel;
mod qemu;
mod reboot;
mod signals;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::report::{self, Report};
use crate::toolchain::Toolchain;
use crate::{paths, programs};
use accelerator::Accelerator;
use kernel::Kernel;
use qemu::{Boot, Outcome};
use signals::{OfHost, Signals};
use tools::Tools;

/// What is run when nothing else is asked for: the oldest supported series and the newest.
pub(crate) const DEFAULT_KERNELS: [&str; 2] = ["5.10", "7.3"];

/// Process 1 of a machine that tests.
const INIT: &str = concat!(include_str!("machine.sh"), include_str!("tests.sh"));

/// For one machine, emulated on a busy host.
const LIMIT: Duration = Duration::from_secs(1_200);

/// Tests on each of `kernels` with `agent`, or with one built now. Unlike `test`, skips nothing.
pub(crate) fn run(kernels: &[String], agent: Option<PathBuf>, record: bool) -> Result<ExitCode> {
    let toolchain = Toolchain::ensure()?;
    let agent = match agent {
        Some(agent) => agent,
        None => programs::agent(&toolchain)?,
    };
    let programs = Programs {
        agent,
        actor: programs::actor(&toolchain)?,
        suite: programs::suite(&toolchain)?,
    };
    let mut report = Report::default();
    let machines = kernels
        .iter()
        .map(|series| (series.clone(), Machine::prepare(series)))
        .collect();
    test_all(machines, &programs, &mut report);
    print!("{}", report.summary());
    if record {
        signals::record(paths::repository(), &logs())?;
    }
    Ok(if report.failed() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is run in a machine.
pub(crate) struct Programs {
    /// The agent.
    pub(crate) agent: PathBuf,
    /// The actor.
    pub(crate) actor: PathBuf,
    /// The end-to-end tests, of which those of signals are run.
    pub(crate) suite: PathBuf,
}

/// How many machines run at a time: one uses one CPU.
const AT_A_TIME: usize = 2;

/// Tests in each of the machines, two at a time, and adds a step for each part of it.
pub(crate) fn test_all(
    machines: Vec<(String, Result<Machine>)>,
    programs: &Programs,
    report: &mut Report,
) {
    println!("\n=== virtual machines");
    let waiting = Mutex::new(machines.into_iter());
    let work = || {
        let mut done = Vec::new();
        loop {
            let next = waiting.lock().ok().and_then(|mut waiting| waiting.next());
            let Some((series, machine)) = next else {
                return done;
            };
            let machine = match machine {
                Ok(machine) => machine,
                Err(error) => {
                    done.push((series, "", Err(error), Duration::ZERO));
                    continue;
                }
            };
            for part in PARTS {
                let start = Instant::now();
                let result = (part.run)(&machine, programs);
                done.push((series.clone(), part.name, result, start.elapsed()));
            }
        }
    };
    let mut done: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_default())
            .collect()
    });
    done.sort_by_key(|(series, ..)| kernel::numbers(series));
    for (series, part, result, time) in done {
        let step = format!("virtual machine, kernel {series}{part}");
        report.add(&step, result, time);
    }
}

/// What is done with a machine.
struct Part {
    /// What it is called after the machine's name.
    name: &'static str,
    run: fn(&Machine, &Programs) -> Result<report::Outcome>,
}

const PARTS: [Part; 2] = [
    Part {
        name: "",
        run: Machine::test,
    },
    Part {
        name: ", started anew",
        run: Machine::reboot,
    },
];

/// Where the machines' consoles are kept.
fn logs() -> PathBuf {
    paths::target().join("vm")
}

/// Where the tests on this host are to write what they find, and the record that it belongs to.
pub(crate) fn record_of_host() -> Result<(PathBuf, OfHost)> {
    Ok((logs().join(OfHost::NAME), OfHost::begin(&logs())?))
}

/// Everything to boot one kernel; what can't be had is known once this exists.
pub(crate) struct Machine {
    tools: Tools,
    kernel: Kernel,
    accelerator: Accelerator,
    selinux_policy: Vec<u8>,
}

impl Machine {
    /// Gets QEMU, busybox, the kernel and a policy for its SELinux.
    pub(crate) fn prepare(series: &str) -> Result<Self> {
        if std::env::consts::ARCH != "x86_64" {
            bail!(
                "virtual machines are only set up for x86_64 hosts, and this one is {}",
                std::env::consts::ARCH
            );
        }
        let tools = Tools::get()?;
        let kernel = Kernel::get(series)?;
        let accelerator = Accelerator::choose(&tools, &kernel)?;
        let selinux_policy = tools.selinux_policy()?;
        Ok(Self {
            tools,
            kernel,
            accelerator,
            selinux_policy,
        })
    }

    /// Boots, tests and prints what came of it; and of each signal.
    pub(crate) fn test(&self, programs: &Programs) -> Result<report::Outcome> {
        let series = &self.kernel.series;
        let directory = logs();
        fs::create_dir_all(&directory)
            .with_context(|| format!("could not make {}", directory.display()))?;
        let log = directory.join(format!("{series}.log"));
        let programs = [
            ("watchkeeper", programs.agent.as_path()),
            ("actor", programs.actor.as_path()),
            ("suite", programs.suite.as_path()),
        ];
        let initramfs = initramfs::build(
            &self.tools.busybox(),
            INIT,
            &programs,
            &self.kernel.modules,
            &[("/etc/selinux.policy", &self.selinux_policy)],
        )?;
        println!(
            "vm {series}: booting {} ({})",
            self.kernel.release,
            self.accelerator.name()
        );
        let start = Instant::now();
        let mut signals = Signals::default();
        let mut rules = Signals::default();
        let mut progress = |text: &str| {
            if let Some(signal) = text.strip_prefix(signals::SIGNAL) {
                signals.take(signal);
                return;
            }
            if let Some(rule) = text.strip_prefix(signals::RULE) {
                rules.take(rule);
                return;
            }
            println!(
                "vm {series}: {text} ({:.0} s)",
                start.elapsed().as_secs_f32()
            );
        };
        let outcome = self.boot(&initramfs, None, &log, &mut progress)?;
        let seconds = start.elapsed().as_secs_f32();
        for remark in signals.remarks().chain(rules.remarks()) {
            println!("vm {series}: {remark}");
        }
        println!(
            "vm {series}: {}; {}",
            signals.summary("signals"),
            rules.summary("findings")
        );
        let outcome = match outcome {
            Outcome::Success => {
                println!(
                    "vm {series}: success in {seconds:.0} s, console in {}",
                    log.display()
                );
                report::Outcome::Passed
            }
            Outcome::Failure(why) => {
                print_end(&log);
                println!(
                    "vm {series}: failure after {seconds:.0} s: {why}; console in {}",
                    log.display()
                );
                report::Outcome::Failed
            }
        };
        Ok(outcome)
    }

    /// Boots it with this root and disk, and waits for its verdict.
    fn boot(
        &self,
        initramfs: &[u8],
        disk: Option<&Path>,
        log: &Path,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Outcome> {
        let machine = Boot {
            tools: &self.tools,
            accelerator: self.accelerator,
            kernel: &self.kernel,
            initramfs,
            disk,
            log,
            limit: LIMIT,
        };
        qemu::boot(&machine, progress)
    }
}

/// The console's last lines: enough to see what went wrong without opening the log.
fn print_end(log: &Path) {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(60)..] {
        println!("    {line}");
    }
}
