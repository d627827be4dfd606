//! Starts the agent in the foreground, with alerts as they happen, and on request the demonstration beside it.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;

use crate::toolchain::Toolchain;
use crate::{command, programs};

/// Where the agent keeps its socket and everything it writes, unless the arguments say otherwise.
const STATE_DIRECTORY: &str = "/run/watchkeeper";

/// How long the agent may take to attach its hooks before the demonstration gives up.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// Builds and runs the agent with `arguments`. Its exit code is ours; signals to us reach it.
pub(crate) fn run(demo: bool, arguments: &[OsString]) -> Result<ExitCode> {
    let toolchain = Toolchain::ensure()?;
    let agent = programs::agent(&toolchain)?;
    let actor = if demo {
        Some(programs::actor(&toolchain)?)
    } else {
        None
    };
    let given = state_directory(arguments);
    let state = given.clone().unwrap_or_else(|| STATE_DIRECTORY.into());

    let mut start = as_root(&agent, &state)?;
    if !command::is_root() {
        println!("not root: starting the agent through sudo");
    }
    start.args(["agent", "--print-alerts"]);
    if given.is_none() {
        start.arg("--state-dir").arg(STATE_DIRECTORY);
    }
    start.args(arguments);

    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect();
    let mut child = start
        .spawn()
        .with_context(|| format!("could not start the agent: {}", command::line(&start)))?;
    // Only now: the agent would inherit it, and never hear of them.
    signals
        .thread_block()
        .context("could not hold back signals")?;
    forward(&signals, &child)?;
    if let Some(actor) = actor
        && let Err(error) = demonstrate(&actor, &agent, &state, &mut child)
    {
        eprintln!("error: the demonstration did not run: {error:#}");
    }
    let status = child.wait().context("could not wait for the agent")?;
    Ok(ExitCode::from(code(status)))
}

/// Hands on the signals that only we get. Ctrl-C in a terminal reaches the agent by itself: it is in the same process group.
fn forward(signals: &SigSet, child: &Child) -> Result<()> {
    let signals = SignalFd::new(signals).context("could not listen for signals")?;
    let pid = Pid::from_raw(child.id().cast_signed());
    std::thread::spawn(move || {
        while let Ok(Some(received)) = signals.read_signal() {
            let from_terminal = received.ssi_code == libc::SI_KERNEL;
            if let Ok(signal) = Signal::try_from(received.ssi_signo.cast_signed())
                && !from_terminal
            {
                // It may have ended in between; then there is nobody to tell.
                let _ = kill(pid, signal);
            }
        }
    });
    Ok(())
}

/// Waits until the agent answers, then runs the actor.
fn demonstrate(actor: &Path, agent: &Path, state: &Path, child: &mut Child) -> Result<()> {
    wait_until_ready(agent, state, child)?;
    let mut demo = as_root(actor, state)?;
    // Cargo sets it for us; in the demonstration it would be an event of every program.
    demo.arg("demo").env_remove("LD_LIBRARY_PATH");
    command::run(&mut demo, "run the demonstration")?;
    println!(
        "demo: done; the agent goes on, Ctrl-C ends it. In another terminal: {} alerts, timeline, or tree with an alert's id",
        agent.display()
    );
    Ok(())
}

/// Waits until the agent that runs as `child` answers.
pub(crate) fn wait_until_ready(agent: &Path, state: &Path, child: &mut Child) -> Result<()> {
    let socket = state.join("watchkeeper.sock");
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        if child
            .try_wait()
            .context("could not look after the agent")?
            .is_some()
        {
            bail!("the agent ended before it was ready");
        }
        let mut status = as_root(agent, state)?;
        status.arg("status").arg("--socket").arg(&socket);
        status
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if command::status(&mut status, "ask the agent whether it is ready")?.success() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!(
                "the agent does not answer on {} after {} s",
                socket.display(),
                READY_LIMIT.as_secs()
            );
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn as_root(program: &Path, state: &Path) -> Result<Command> {
    command::as_root(program).with_context(|| {
        let (program, state) = (program.display(), state.display());
        format!(
            "loading eBPF programs takes root, and there is no sudo here\n  \
             run as root: {program} agent --print-alerts --state-dir {state}"
        )
    })
}

/// The state directory among the agent's arguments.
fn state_directory(arguments: &[OsString]) -> Option<PathBuf> {
    const OPTION: &str = "--state-dir";
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == OsStr::new(OPTION) {
            return rest.next().map(PathBuf::from);
        }
        let text = argument.to_string_lossy();
        if let Some(value) = text
            .strip_prefix(OPTION)
            .and_then(|text| text.strip_prefix('='))
        {
            return Some(PathBuf::from(value));
        }
    }
    None
}

/// As a shell would tell it: 128 and the signal's number for a program that a signal ended.
fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_directory_in_either_spelling() {
        for (arguments, expected) in [
            (&["--cri-socket", "none"][..], None),
            (&["--state-dir", "/a"], Some("/a")),
            (&["-v", "--state-dir=/b"], Some("/b")),
            (&["--state-directory", "/c"], None),
        ] {
            let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
            assert_eq!(
                state_directory(&arguments),
                expected.map(PathBuf::from),
                "{arguments:?}"
            );
        }
    }

    #[test]
    fn exit_code_is_the_programs_or_its_signals() {
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code(ExitStatus::from_raw(libc::SIGTERM)), 143);
    }
}
