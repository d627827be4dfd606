//! The directory that the agent writes to.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::{fs::DirBuilderExt as _, net::UnixStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::{
    fs::{FlockOperation, flock},
    net::sockopt::socket_peercred,
};

use super::SOCKET;
use crate::process::{execution::ProcessKey, procfs};

/// How long an agent that was killed may take to end: the kernel takes its programs off one by one, and it keeps the lock until then.
const PATIENCE: Duration = Duration::from_secs(10);
/// When to look again whether it has.
const PAUSE: Duration = Duration::from_millis(100);

/// The state directory, locked for this process. One that was made for this run and holds nothing in the end is
/// removed again.
#[derive(Debug)]
pub(super) struct StateDirectory {
    pub(super) path: PathBuf,
    /// It was not there before.
    made: bool,
    /// Holds the lock; there is no lock file that could be left behind.
    _lock: File,
}

impl StateDirectory {
    /// Takes the directory, which is made if missing. An agent that has it and does not answer is given [`PATIENCE`] to end.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        Self::open_within(path, PATIENCE)
    }

    fn open_within(path: &Path, patience: Duration) -> anyhow::Result<Self> {
        let made = !path.exists();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| {
                format!(
                    "creating the state directory {}; name another with --state-dir",
                    path.display()
                )
            })?;
        let lock = File::open(path)
            .with_context(|| format!("opening the state directory {}", path.display()))?;
        if !lock_within(&lock, path, patience)? {
            bail!(
                "starting the agent: another one is running with the state directory {}; stop it, or use another \
                 --state-dir",
                path.display()
            );
        }
        Ok(Self {
            path: path.to_path_buf(),
            made,
            _lock: lock,
        })
    }
}

/// Locks it; `false` when another agent has it, which answers at the socket or still had it in the end.
fn lock_within(lock: &File, path: &Path, patience: Duration) -> anyhow::Result<bool> {
    let start = Instant::now();
    let mut is_told = false;
    loop {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => {
                return Err(io::Error::from(error))
                    .with_context(|| format!("locking the state directory {}", path.display()));
            }
        }
        if start.elapsed() >= patience || is_served(&path.join(SOCKET)) {
            return Ok(false);
        }
        if !is_told {
            tracing::info!("waiting until the agent that has {} ends", path.display());
            is_told = true;
        }
        thread::sleep(PAUSE);
    }
}

/// Whether an agent listens at a socket that is not about to end: the kernel closes the socket of one that was killed last of all.
fn is_served(socket: &Path) -> bool {
    let peer = UnixStream::connect(socket).and_then(|stream| Ok(socket_peercred(&stream)?));
    let Some(pid) = peer
        .ok()
        .and_then(|peer| u32::try_from(peer.pid.as_raw_nonzero().get()).ok())
    else {
        return false;
    };
    procfs::start_ticks(pid)
        .is_some_and(|start_ticks| procfs::is_whole(ProcessKey { pid, start_ticks }))
}

impl Drop for StateDirectory {
    fn drop(&mut self) {
        if self.made {
            // It fails for a directory that holds something.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_state_directory_that_was_made_and_is_empty_is_removed() {
        let parent = tempfile::tempdir().expect("temporary directory");
        let made = parent.path().join("made");
        drop(StateDirectory::open(&made).expect("made"));
        assert!(!made.exists());

        let used = StateDirectory::open(&made).expect("made");
        fs::write(made.join("file"), "").expect("written");
        drop(used);
        assert!(made.exists(), "it holds something");

        drop(StateDirectory::open(parent.path()).expect("there"));
        assert!(parent.path().exists(), "it was there before");
    }

    #[test]
    fn a_state_directory_has_one_agent() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let first = StateDirectory::open(directory.path()).expect("free");
        let error =
            StateDirectory::open_within(directory.path(), Duration::ZERO).expect_err("taken");
        assert!(error.to_string().contains("another one is running"));
        drop(first);
        assert!(StateDirectory::open(directory.path()).is_ok());
    }

    #[test]
    fn an_agent_that_ends_is_waited_for() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let first = StateDirectory::open(directory.path()).expect("free");
        let ends = thread::spawn(move || {
            thread::sleep(PAUSE);
            drop(first);
        });
        assert!(StateDirectory::open(directory.path()).is_ok());
        ends.join().expect("it ended");
    }
}
