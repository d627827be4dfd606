//! Plays a container and what happens to it, for the demonstration and the tests: no container runtime is needed.
//!
//! Everything it starts lives in namespaces and a cgroup of its own, and is gone when it ends.

mod cgroup;
mod container;
mod demo;
mod namespaces;
mod service;

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
    /// What runs in the demonstration's container: runs what it is sent as a shell command
    Service {
        /// TCP port on 127.0.0.1, in the container's network namespace
        port: u16,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().action {
        Action::Demo => to_the_end(demo::run),
        Action::Service { port } => service::run(port),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("actor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs `action` with signals held back, so that what it set up is always taken down again.
fn to_the_end(action: impl FnOnce() -> Result<()>) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("cgroups and namespaces take root; run it with sudo");
    }
    let held: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect();
    held.thread_block()?;
    action()?;
    if let Ok(Some(signal)) = SignalFd::with_flags(&held, SfdFlags::SFD_NONBLOCK)?.read_signal() {
        bail!("ended after a signal ({})", signal.ssi_signo);
    }
    Ok(())
}
