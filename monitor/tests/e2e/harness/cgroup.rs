//! cgroups on this machine: version 2, alone or beside version 1.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::eventually;

const MOUNT: &str = "/sys/fs/cgroup";

/// Where cgroup2 is mounted.
pub(crate) fn unified() -> PathBuf {
    let unified = Path::new(MOUNT).join("unified");
    if unified.join("cgroup.procs").exists() {
        unified
    } else {
        PathBuf::from(MOUNT)
    }
}

/// Removes the cgroup at `path` and those below it from every hierarchy. A busy one stays.
pub(crate) fn remove_everywhere(path: &str) {
    for root in hierarchies() {
        remove_tree(&root.join(path.trim_start_matches('/')));
    }
}

/// Removes the cgroup at `path` from every hierarchy where nothing is in it or below it.
pub(crate) fn remove_if_empty(path: &str) {
    for root in hierarchies() {
        // Somebody else's, or not there: either is fine.
        let _ = fs::remove_dir(root.join(path.trim_start_matches('/')));
    }
}

fn hierarchies() -> Vec<PathBuf> {
    let version_1 = fs::read_dir(MOUNT).into_iter().flatten();
    let version_1 = version_1.filter_map(Result::ok).map(|entry| entry.path());
    version_1.chain([unified()]).collect()
}

fn remove_tree(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    // Removal fails while a killed process is still on its way out.
    for _ in 0..200 {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            _ => return,
        }
    }
}

/// A cgroup of version 2. Dropping it removes it with those below it.
pub(crate) struct Cgroup {
    path: String,
}

impl Cgroup {
    /// Makes the cgroup at `path`, which starts at the root of the hierarchy.
    pub(crate) fn make(path: &str) -> Self {
        let directory = unified().join(path.trim_start_matches('/'));
        fs::create_dir(&directory)
            .unwrap_or_else(|error| panic!("could not make {}: {error}", directory.display()));
        Self {
            path: path.to_owned(),
        }
    }

    /// Its path from the root of the hierarchy.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    fn procs(&self) -> PathBuf {
        unified()
            .join(self.path.trim_start_matches('/'))
            .join("cgroup.procs")
    }

    /// A command that runs `program` inside.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "echo 0 > \"$0\" && exec \"$@\""])
            .arg(self.procs())
            .arg(program);
        command
    }

    /// Moves the process `pid` into it.
    pub(crate) fn take(&self, pid: u32) {
        fs::write(self.procs(), pid.to_string()).expect("a process can be moved");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove_tree(&unified().join(self.path.trim_start_matches('/')));
    }
}

/// Waits until the cgroup at `path` is gone from the version 2 hierarchy: its last process has ended, and the runtime knows.
pub(crate) fn wait_until_gone(path: &str) {
    let directory = unified().join(path.trim_start_matches('/'));
    eventually(&format!("{} goes away", directory.display()), || {
        (!directory.exists()).then_some(())
    });
}
