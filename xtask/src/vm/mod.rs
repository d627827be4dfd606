//! Watchkeeper on other kernels: boots each in a virtual machine, runs the demonstration there, looks for its alerts.

mod accelerator;
mod cpio;
mod initramfs;
mod kernel;
mod qemu;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::report::{self, Report};
use crate::toolchain::Toolchain;
use crate::{paths, programs};
use accelerator::Accelerator;
use kernel::Kernel;
use qemu::Outcome;
use tools::Tools;

/// What is run when nothing else is asked for: the oldest supported series and the newest.
pub(crate) const DEFAULT_KERNELS: [&str; 2] = ["5.10", "7.3"];

/// For one machine, emulated on a busy host.
const LIMIT: Duration = Duration::from_secs(300);

/// Tests on each of `kernels` with `agent`, or with one built now. Unlike `test`, skips nothing.
pub(crate) fn run(kernels: &[String], agent: Option<PathBuf>) -> Result<ExitCode> {
    let toolchain = Toolchain::ensure()?;
    let agent = match agent {
        Some(agent) => agent,
        None => programs::agent(&toolchain)?,
    };
    let actor = programs::actor(&toolchain)?;
    let mut report = Report::default();
    for series in kernels {
        report.step(&format!("virtual machine, kernel {series}"), || {
            Machine::prepare(series)?.test(&agent, &actor)
        });
    }
    print!("{}", report.summary());
    Ok(if report.failed() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Everything to boot one kernel; what can't be had is known once this exists.
pub(crate) struct Machine {
    tools: Tools,
    kernel: Kernel,
    accelerator: Accelerator,
}

impl Machine {
    /// Gets QEMU, busybox and the kernel.
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
        Ok(Self {
            tools,
            kernel,
            accelerator,
        })
    }

    /// Boots, tests and prints one line with the result.
    pub(crate) fn test(&self, agent: &Path, actor: &Path) -> Result<report::Outcome> {
        let series = &self.kernel.series;
        let directory = paths::target().join("vm");
        fs::create_dir_all(&directory)
            .with_context(|| format!("could not make {}", directory.display()))?;
        let log = directory.join(format!("{series}.log"));
        let programs = [("watchkeeper", agent), ("actor", actor)];
        let initramfs = initramfs::build(
            &self.tools.busybox(),
            include_str!("init.sh"),
            &programs,
            &self.kernel.modules,
        )?;
        println!(
            "vm {series}: booting {} ({})",
            self.kernel.release,
            self.accelerator.name()
        );
        let start = Instant::now();
        let mut progress = |text: &str| {
            println!(
                "vm {series}: {text} ({:.0} s)",
                start.elapsed().as_secs_f32()
            );
        };
        let outcome = qemu::boot_with(
            &self.tools,
            self.accelerator,
            &self.kernel,
            &initramfs,
            &log,
            LIMIT,
            &mut progress,
        )?;
        let seconds = start.elapsed().as_secs_f32();
        match outcome {
            Outcome::Success => {
                println!(
                    "vm {series}: success in {seconds:.0} s, console in {}",
                    log.display()
                );
                Ok(report::Outcome::Passed)
            }
            Outcome::Failure(why) => {
                print_end(&log);
                println!(
                    "vm {series}: failure after {seconds:.0} s: {why}; console in {}",
                    log.display()
                );
                Ok(report::Outcome::Failed)
            }
        }
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
