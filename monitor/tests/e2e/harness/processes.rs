//! Finding what runtimes leave running, by their command lines: these name the test's own directories.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// A process of somebody else's making.
pub(crate) struct Stray {
    pid: Pid,
    /// The first of its arguments.
    pub(crate) program: PathBuf,
}

impl Stray {
    /// Kills it, if it is still there.
    pub(crate) fn kill(&self) {
        let _ = kill_process(self.pid, Signal::KILL);
    }
}

/// Processes that have `path` as an argument, or a path below it.
pub(crate) fn with_argument(path: &Path) -> Vec<Stray> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut arguments = line
            .split(|byte| *byte == 0)
            .map(|argument| Path::new(OsStr::from_bytes(argument)));
        let program = arguments.next().map(Path::to_owned).unwrap_or_default();
        if arguments.any(|argument| argument.starts_with(path)) {
            found.push(Stray { pid, program });
        }
    }
    found
}

/// Gives processes with arguments below `path` a while to end by themselves, then kills them.
pub(crate) fn clear(path: &Path) {
    for _ in 0..500 {
        if with_argument(path).is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    with_argument(path).iter().for_each(Stray::kill);
}
