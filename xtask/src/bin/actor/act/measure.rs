//! How long ordinary things take in a container.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{ACTOR, Action};

pub(super) const ACTIONS: &[Action] = &[Action::new(
    "measure",
    "Measures an empty system call, the opening of a file, a TCP connection and the running of a program",
    |_| measure(),
)];

/// Of so many rounds the fastest counts: what else the machine does only makes one slower.
const ROUNDS: u32 = 25;

/// A file that nobody watches.
const FILE: &str = "/etc/hostname";

/// Nanoseconds of each.
fn measure() -> Result<Value> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("could not listen on loopback")?;
    let address = listener.local_addr()?;
    Ok(json!({
        "syscall": fastest(50_000, || {
            nix::unistd::getppid();
            Ok(())
        })?,
        "open": fastest(10_000, || {
            drop(File::open(FILE)?);
            Ok(())
        })?,
        "connect": fastest(500, || {
            let stream = TcpStream::connect(address)?;
            let (accepted, _) = listener.accept()?;
            drop((stream, accepted));
            Ok(())
        })?,
        "exec": fastest(20, || {
            let mut noop = Command::new(ACTOR);
            noop.arg("noop").stdin(Stdio::null()).stdout(Stdio::null());
            noop.status()?;
            Ok(())
        })?,
    }))
}

/// Nanoseconds that an action takes in the fastest of some rounds of `count`.
fn fastest(count: u32, action: impl Fn() -> Result<()>) -> Result<u64> {
    let mut fastest = u64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..count {
            action()?;
        }
        let each = start.elapsed().as_nanos() / u128::from(count);
        fastest = fastest.min(u64::try_from(each)?);
    }
    Ok(fastest)
}
