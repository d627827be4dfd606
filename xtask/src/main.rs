//! Set-up, build, run, tests and virtual machines of Watchkeeper: `cargo xtask --help`.
//!
//! Each subcommand gets what it needs by itself and says so; nothing here is needed where a built `watchkeeper` runs.

mod archive;
mod bench;
mod command;
mod debian;
mod fuzz;
mod image;
mod install;
mod kept;
mod kubernetes;
mod manifests;
mod monitoring;
mod observe;
mod packages;
mod paths;
mod programs;
mod quiet;
mod report;
mod run;
mod seccomp;
mod soak;
mod test;
mod toolchain;
mod unpack;
mod vm;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use report::Outcome;
use toolchain::Toolchain;

/// Build, run and test Watchkeeper.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask run --demo                     build, watch this host, show a first alert
  cargo xtask run -- --cri-socket none       arguments after -- are the agent's
  cargo xtask test                           everything that a change must pass
  cargo xtask image                          the image that is deployed
  cargo xtask manifests                      render and check what is deployed
  cargo xtask quiet --record                 what healthy workloads alarm, with a report
  cargo xtask soak --record                  what stays of 20,000 containers, with a report
  cargo xtask fuzz --seconds 600 dns         try inputs on one parser for ten minutes
  cargo xtask bench --record                 what the agent costs, with a report
  cargo xtask vm --kernel 6.1 --kernel 6.12  the demonstration on other kernels

What is missing is fetched: bpf-linker, cargo-fuzz, kubectl, kubernetes-validate,
QEMU and kernels into the user's cache directory, as is an image of Debian for the
tests; container runtimes come through apt.";

#[derive(Subcommand)]
enum Task {
    /// Get what a build needs: bpf-linker for rustc's LLVM, and the standard library's sources
    Setup,
    /// Build the release agent, its eBPF programs included
    Build,
    /// Build and run the agent in the foreground, with alerts as they happen
    Run {
        /// Also play a container in which a shell is run and another one injected
        #[arg(long)]
        demo: bool,
        /// Arguments for `watchkeeper agent`
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Format, lints, unit tests, manifests, fuzzing, and where possible end-to-end tests and virtual machines
    Test,
    /// Make the image that is deployed: the agent, linked statically, with its bill of materials
    Image,
    /// Trace the agent, and write deploy/seccomp/agent.json from what it calls
    Seccomp,
    /// Render the manifests of deploy/, and check what they ask of a cluster
    Manifests,
    /// Run healthy workloads in containers, and count the alerts that they cause
    Quiet {
        /// Write the counts to xtask/records/quiet.md
        #[arg(long)]
        record: bool,
    },
    /// Have twenty thousand containers come and go, and see what an agent keeps of them
    Soak {
        /// Write the figures to xtask/records/soak.md
        #[arg(long)]
        record: bool,
    },
    /// Try generated inputs on what reads records, DNS messages and first bytes of connections
    Fuzz {
        /// How long to try each target
        #[arg(long, value_name = "N", default_value_t = 10)]
        seconds: u32,
        /// What to try; everything when none is named
        #[arg(value_name = "TARGET", value_parser = fuzz::TARGETS)]
        targets: Vec<String>,
    },
    /// Measure what the agent costs, in a container and on its own
    Bench {
        /// How many pairs of runs, without the agent and with it
        #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
        pairs: u32,
        /// Measure history instead: programs started all the time with questions beside them, and a day of ten million events
        #[arg(long)]
        history: bool,
        /// How long programs are started
        #[arg(long, value_name = "N", default_value_t = 10, requires = "history", value_parser = clap::value_parser!(u32).range(1..=1440))]
        minutes: u32,
        /// Measure what the rules cost instead
        #[arg(long, conflicts_with = "history")]
        policies: bool,
        /// Write the report to xtask/records: benchmarks.md, history.md or policies.md
        #[arg(long)]
        record: bool,
    },
    /// Boot other kernels in QEMU: the demonstration with its alerts, and every signal with its event
    Vm {
        /// Series of a Debian cloud kernel, such as 5.10, 6.1, 6.12 or 7.3; can be repeated
        #[arg(long = "kernel", value_name = "SERIES", default_values = vm::DEFAULT_KERNELS)]
        kernels: Vec<String>,
        /// Test this agent instead of building one
        #[arg(long, value_name = "PATH")]
        agent: Option<PathBuf>,
        /// Write what became of each signal on the kernels booted last, these and others, and what
        /// the rules found, to xtask/records
        #[arg(long)]
        record: bool,
    },
}

fn main() -> ExitCode {
    match perform(Arguments::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<ExitCode> {
    match task {
        Task::Setup => {
            Toolchain::ensure()?;
            println!("everything that a build needs is here");
            Ok(ExitCode::SUCCESS)
        }
        Task::Build => {
            println!(
                "built {}",
                programs::agent(&Toolchain::ensure()?)?.display()
            );
            Ok(ExitCode::SUCCESS)
        }
        Task::Run { demo, arguments } => run::run(demo, &arguments),
        Task::Test => test::run(),
        Task::Image => image::run().map(|()| ExitCode::SUCCESS),
        Task::Seccomp => seccomp::run().map(|()| ExitCode::SUCCESS),
        Task::Manifests => manifests::run(),
        Task::Quiet { record } => quiet::run(record),
        Task::Soak { record } => soak::run(record),
        Task::Fuzz { seconds, targets } => Ok(match fuzz::run(&targets, seconds)? {
            Outcome::Failed => ExitCode::FAILURE,
            Outcome::Passed | Outcome::Skipped(_) => ExitCode::SUCCESS,
        }),
        Task::Bench {
            history: true,
            minutes,
            record,
            ..
        } => bench::history::run(minutes, record).map(|()| ExitCode::SUCCESS),
        Task::Bench {
            policies: true,
            record,
            ..
        } => bench::policies::run(record).map(|()| ExitCode::SUCCESS),
        Task::Bench { pairs, record, .. } => bench::run(pairs, record).map(|()| ExitCode::SUCCESS),
        Task::Vm {
            kernels,
            agent,
            record,
        } => vm::run(&kernels, agent, record),
    }
}
