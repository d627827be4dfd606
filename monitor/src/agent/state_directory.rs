//! The directory that the agent writes to.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};

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
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
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
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                path: path.to_path_buf(),
                made,
                _lock: lock,
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => bail!(
                "starting the agent: another one is running with the state directory {}; stop it, or use another \
                 --state-dir",
                path.display()
            ),
            Err(error) => Err(io::Error::from(error))
                .with_context(|| format!("locking the state directory {}", path.display())),
        }
    }
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
        let error = StateDirectory::open(directory.path()).expect_err("taken");
        assert!(error.to_string().contains("another one is running"));
        drop(first);
        assert!(StateDirectory::open(directory.path()).is_ok());
    }
}
