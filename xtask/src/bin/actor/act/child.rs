//! Children of the acting process that run its own code, without a new program.

use std::io::{Read as _, Write as _};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::facts;

/// A child. Dropping it kills it.
pub(super) struct Child {
    pid: Pid,
    /// Its process id on the host.
    pub(super) host_pid: u32,
    ended: bool,
}

impl Child {
    /// Starts a child that runs `body`, and ends with 0 where that is well. Returns once the child runs.
    pub(super) fn start(body: impl FnOnce() -> Result<()>) -> Result<Self> {
        let (mut reader, mut writer) = std::io::pipe().context("could not make a pipe")?;
        // SAFETY: the acting process has one thread, so its child may do what it could do itself.
        match unsafe { fork() }.context("could not fork")? {
            ForkResult::Child => {
                drop(reader);
                let run = || {
                    writer.write_all(&facts::host_pid()?.to_ne_bytes())?;
                    drop(writer);
                    body()
                };
                let code = match run() {
                    Ok(()) => 0,
                    Err(error) => {
                        eprintln!("actor: in a child: {error:#}");
                        1
                    }
                };
                // SAFETY: it takes a number and does not return; what the parent buffered is not written twice.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => {
                drop(writer);
                let mut started = Self {
                    pid: child,
                    host_pid: 0,
                    ended: false,
                };
                let mut number = [0; 4];
                reader
                    .read_exact(&mut number)
                    .context("a child ended before it began")?;
                started.host_pid = u32::from_ne_bytes(number);
                Ok(started)
            }
        }
    }

    /// Starts a child that waits to be killed.
    pub(super) fn waiting() -> Result<Self> {
        Self::start(|| {
            loop {
                nix::unistd::pause();
            }
        })
    }

    /// Its process id as the acting process knows it.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for its end, whatever that is.
    pub(super) fn status(mut self) -> Result<WaitStatus> {
        let status = waitpid(self.pid, None).context("could not wait for a child")?;
        self.ended = true;
        Ok(status)
    }

    /// Waits for its end, which must be a good one.
    pub(super) fn finish(self) -> Result<()> {
        match self.status()? {
            WaitStatus::Exited(_, 0) => Ok(()),
            other => bail!("a child ended with {other:?}"),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.ended {
            // Either fails only when it has ended already.
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}
