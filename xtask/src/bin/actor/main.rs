//! Plays a container and what happens to it, for the demonstration and the tests: no container runtime is needed.
//!
//! Everything it starts lives in namespaces and a cgroup of its own, and is gone when it ends.

mod act;
mod cgroup;
mod container;
mod demo;
mod loopback;
mod namespaces;
mod service;
mod soak;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Play a container and what happens to it.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// A service in a container runs a shell, and another shell is injected from outside
    Demo,
    /// Does one thing in a container of its own, and prints what is to be known of it as JSON; ends with 3 where this
    /// kernel or host does not offer it
    Act {
        /// What to do
        #[arg(value_parser = act::names())]
        action: String,
    },
    /// What runs first in the container of `act`
    #[command(hide = true)]
    Contained(act::Inside),
    /// What does it, as a child of the first process
    #[command(hide = true)]
    Perform(act::Inside),
    /// Containers that come and go, one after the other
    Soak(soak::Arguments),
    /// What makes some of them, once it is sent a line
    #[command(hide = true)]
    Lane { containers: u32 },
    /// What runs first in one of them
    #[command(hide = true)]
    Resident { number: u32 },
    /// Says which process it is, and ends
    #[command(hide = true)]
    Noop,
    /// Waits for the end of its input
    #[command(hide = true)]
    Idle,
    /// What runs in the demonstration's container: runs what it is sent as a shell command
    Service {
        /// TCP port on 127.0.0.1, in the container's network namespace
        port: u16,
    },
}

fn main() -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    let outcome = match Arguments::parse().action {
        Action::Demo => to_the_end(demo::run).map(done),
        Action::Act { action } => to_the_end(|| act::run(&action)),
        Action::Contained(inside) => act::contain(&inside),
        Action::Perform(inside) => act::perform(&inside),
        Action::Soak(arguments) => to_the_end(|| soak::run(&arguments)).map(done),
        Action::Lane { containers } => soak::lane(containers).map(done),
        Action::Resident { number } => soak::reside(number).map(done),
        Action::Noop => act::noop().map(done),
        Action::Idle => act::idle().map(done),
        Action::Service { port } => service::run(port).map(done),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("actor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs `action` with signals held back, so that what it set up is always taken down again.
fn to_the_end<T>(action: impl FnOnce() -> Result<T>) -> Result<T> {
    if !nix::unistd::geteuid().is_root() {
        bail!("cgroups and namespaces take root; run it with sudo");
    }
    let held: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect();
    held.thread_block()?;
    let outcome = action()?;
    if let Ok(Some(signal)) = SignalFd::with_flags(&held, SfdFlags::SFD_NONBLOCK)?.read_signal() {
        bail!("ended after a signal ({})", signal.ssi_signo);
    }
    Ok(outcome)
}
