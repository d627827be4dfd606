//! Churn: containers that come and go, one after the other, as fast as a node's runtimes are expected to make them.
//!
//! Each lane stands for a runtime: a process in a cgroup of its own on the host, so that what it does to cgroups counts against a
//! budget of its own. It keeps below that budget: what is sought is what stays behind, and not what is refused.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::cgroup::Cgroup;
use crate::container::Container;
use crate::loopback;
use crate::namespaces::Pids;

/// Where the containers' pods are. It is held while there are lanes, none of which then removes it.
const PODS: &str = "kubepods/besteffort";
/// Containers that a lane makes in a second, at most: each is five records of cgroups, of which an agent takes 256 a second.
const RATE: u32 = 45;
/// Every so many containers one opens a watched file, and another makes a connection.
const SELDOM: u32 = 8;
/// A file that is watched.
const WATCHED: &str = "/etc/shadow";

#[derive(Args)]
pub(crate) struct Arguments {
    /// How many containers
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    containers: u32,
    /// How many are made at a time
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    lanes: u32,
}

/// Makes the containers, and returns when all of them are gone.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let pods = Cgroup::make(PODS)?;
    let name = format!("actor-soak-{}", std::process::id());
    let mut lanes = Vec::new();
    for number in 0..arguments.lanes {
        let cgroup = Cgroup::make(&format!("{name}-{number}"))?;
        let share = arguments.containers / arguments.lanes
            + u32::from(number < arguments.containers % arguments.lanes);
        lanes.push(Lane::start(cgroup, share)?);
    }
    let outcomes: Vec<Result<()>> = lanes.into_iter().map(Lane::join).collect();
    drop(pods);
    outcomes.into_iter().collect()
}

/// A process that makes containers. Dropping it ends it.
struct Lane {
    // In this order when dropped: a cgroup can only go once it is empty.
    process: Child,
    _cgroup: Cgroup,
}

impl Lane {
    fn start(cgroup: Cgroup, containers: u32) -> Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.args(["lane", &containers.to_string()]);
        // It waits for a line, so that it makes nothing before it is in its cgroup.
        let mut process = command
            .stdin(Stdio::piped())
            .spawn()
            .context("could not start a lane")?;
        let mut door = cgroup.door()?;
        write!(door, "{}", process.id()).context("could not move a lane into its cgroup")?;
        let mut input = process
            .stdin
            .take()
            .context("the lane's input is no pipe")?;
        writeln!(input).context("could not start a lane")?;
        Ok(Self {
            process,
            _cgroup: cgroup,
        })
    }

    fn join(mut self) -> Result<()> {
        let status = self.process.wait().context("could not wait for a lane")?;
        if !status.success() {
            bail!("a lane ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Either fails only when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a lane does: makes containers, evenly.
pub(crate) fn lane(containers: u32) -> Result<()> {
    io::stdin()
        .read_line(&mut String::new())
        .context("could not wait for the start")?;
    let began = Instant::now();
    for number in 0..containers {
        let mut container = Container::run(Pids::OwnInProc, |_| {
            let mut first = Command::new("/proc/self/exe");
            first.args(["resident", &number.to_string()]);
            first.stdout(Stdio::piped());
            first
        })?;
        let (status, _) = container.output()?;
        if !status.success() {
            bail!("what runs in container {number} ended with {status}");
        }
        drop(container);
        let due = Duration::from_secs(1) / RATE * (number + 1);
        if let Some(early) = due.checked_sub(began.elapsed()) {
            std::thread::sleep(early);
        }
    }
    Ok(())
}

/// What runs in a container: a child of its own, and now and then a watched file and a connection.
pub(crate) fn reside(number: u32) -> Result<()> {
    if std::process::id() != 1 {
        bail!("`resident` only works as the first process of a container of `actor soak`");
    }
    let status = Command::new("/bin/true")
        .status()
        .context("could not run /bin/true")?;
    if !status.success() {
        bail!("/bin/true ended with {status}");
    }
    match number % SELDOM {
        0 => drop(File::open(WATCHED).with_context(|| format!("could not open {WATCHED}"))?),
        1 => connect()?,
        _ => {}
    }
    Ok(())
}

/// Connects to itself, over the loopback interface of the container.
fn connect() -> Result<()> {
    loopback::bring_up()?;
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("could not listen on loopback")?;
    let stream = TcpStream::connect(listener.local_addr()?).context("could not connect")?;
    let (accepted, _) = listener.accept().context("could not accept")?;
    drop((stream, accepted));
    Ok(())
}
