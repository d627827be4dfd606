//! Mounts that runtimes need, and unmounting what they leave.

use std::fs;
use std::path::Path;

use super::command;

/// Makes a directory a mount that others can follow, as all of a node is with systemd. [`unmount_below`] undoes that.
pub(crate) fn share(directory: &Path) {
    let mount = |arguments: &[&str]| {
        let mut mount = std::process::Command::new("mount");
        command::succeed(mount.args(arguments).arg(directory));
    };
    let path = directory.display().to_string();
    mount(&["--bind", &path]);
    mount(&["--make-shared"]);
}

/// The kernel's list of tracepoints where systemd mounts it on every node. What was mounted for this is unmounted when it is dropped.
pub(crate) struct Tracefs {
    mounted: bool,
}

impl Tracefs {
    const PLACE: &str = "/sys/kernel/tracing";

    pub(crate) fn ensure() -> Self {
        let mounted = !Path::new(Self::PLACE).join("events").is_dir();
        if mounted {
            let mut mount = std::process::Command::new("mount");
            command::succeed(mount.args(["-t", "tracefs", "tracefs", Self::PLACE]));
        }
        Self { mounted }
    }
}

impl Drop for Tracefs {
    fn drop(&mut self) {
        if self.mounted {
            // What still uses it keeps it until it ends.
            let mut unmount = std::process::Command::new("umount");
            command::output(unmount.args(["--lazy", Self::PLACE]));
        }
    }
}

/// Unmounts everything at and below `directory`, the latest first.
pub(crate) fn unmount_below(directory: &Path) {
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else {
        return;
    };
    // See proc_pid_mountinfo(5): the fifth field is the mount point.
    let points: Vec<&Path> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4).map(Path::new))
        .filter(|point| point.starts_with(directory))
        .collect();
    for point in points.iter().rev() {
        let mut unmount = std::process::Command::new("umount");
        // What can't be unmounted shows when the directory is removed.
        command::output(unmount.arg("--lazy").arg(point));
    }
}
