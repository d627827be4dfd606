//! As much as one container can do, and what another one does meanwhile.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::facts::offered;
use super::{ACTOR, Action};

pub(super) const ACTIONS: &[Action] = &[
    Action::new(
        "flood",
        "Opens, connects and runs programs at full speed for twenty seconds",
        |_| flood(Duration::from_secs(20)),
    ),
    Action::new(
        "escape-steps",
        "Opens core_pattern to write fifty times, in five seconds",
        |_| steps(),
    ),
];

/// How often the step is done.
const STEPS: u32 = 50;

fn steps() -> Result<Value> {
    const PATH: &str = "/proc/sys/kernel/core_pattern";
    for _ in 0..STEPS {
        offered(fs::OpenOptions::new().write(true).open(PATH), PATH)?;
        thread::sleep(Duration::from_millis(100));
    }
    Ok(json!({"path": PATH, "count": STEPS}))
}

fn flood(time: Duration) -> Result<Value> {
    let end = Instant::now() + time;
    let opens = thread::spawn(move || until(end, || drop(fs::File::open("/etc/shadow"))));
    let connects = thread::spawn(move || {
        // Nothing listens there: the kernel refuses at once.
        until(end, || drop(TcpStream::connect((Ipv4Addr::LOCALHOST, 9))))
    });
    let execs = until(end, || {
        let mut noop = Command::new(ACTOR);
        noop.arg("noop").stdin(Stdio::null()).stdout(Stdio::null());
        drop(noop.status());
    });
    let opens = opens.join().ok().context("the opening thread panicked")?;
    let connects = connects
        .join()
        .ok()
        .context("the connecting thread panicked")?;
    Ok(json!({"opens": opens, "connects": connects, "execs": execs}))
}

/// Repeats until the time is up; returns how often.
fn until(end: Instant, mut action: impl FnMut()) -> u64 {
    let mut count = 0;
    while Instant::now() < end {
        action();
        count += 1;
    }
    count
}
