//! A cgroup that looks like a runtime's, made and removed here.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// A cgroup v2 directory, with those of its parents that did not exist before. Dropping it removes them.
pub(crate) struct Cgroup {
    directory: PathBuf,
    /// Outermost first.
    made: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes `path` below the cgroup2 mount, such as `kubepods/besteffort/pod…/…`.
    pub(crate) fn make(path: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")
            .context("could not read /proc/self/mountinfo")?;
        let mount = cgroup2_mount(&mounts)
            .context("no cgroup2 is mounted; mount one: mount -t cgroup2 cgroup2 /sys/fs/cgroup")?;
        let mut cgroup = Self {
            directory: mount,
            made: Vec::new(),
        };
        for part in path.split('/') {
            cgroup.directory.push(part);
            match fs::create_dir(&cgroup.directory) {
                Ok(()) => cgroup.made.push(cgroup.directory.clone()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("could not make the cgroup {}", cgroup.directory.display())
                    });
                }
            }
        }
        Ok(cgroup)
    }

    /// Where it is mounted.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Kills every process in it.
    pub(crate) fn kill(&self) {
        let procs = fs::read_to_string(self.directory.join("cgroup.procs")).unwrap_or_default();
        for pid in procs.lines().filter_map(|line| line.parse().ok()) {
            // It fails only for one that has ended.
            let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// The file through which a process joins, open for writing: a process that writes `0` moves itself.
    pub(crate) fn door(&self) -> Result<File> {
        let procs = self.directory.join("cgroup.procs");
        File::options()
            .write(true)
            .open(&procs)
            .with_context(|| format!("could not open {}", procs.display()))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for directory in self.made.iter().rev() {
            if let Err(error) = remove(directory) {
                eprintln!(
                    "actor: could not remove the cgroup {}: {error}",
                    directory.display()
                );
            }
        }
    }
}

/// A cgroup is busy for a moment after its last process was killed.
fn remove(directory: &Path) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match fs::remove_dir(directory) {
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome,
        }
    }
}

/// Where cgroup2 is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` beside version 1. See proc_pid_mountinfo(5).
fn cgroup2_mount(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (file_system.starts_with("cgroup2 ") && root == "/").then(|| PathBuf::from(point))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_is_found_beside_version_1() {
        let hybrid = "30 25 0:27 / /sys/fs/cgroup ro shared:4 - tmpfs tmpfs ro\n\
                      31 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      32 30 0:29 / /sys/fs/cgroup/unified rw shared:5 master:1 - cgroup2 cgroup2 rw\n";
        assert_eq!(
            cgroup2_mount(hybrid),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
    }

    #[test]
    fn a_part_of_another_hierarchy_mounted_somewhere_does_not_count() {
        let bound = "40 25 0:29 /system.slice /mnt rw - cgroup2 cgroup2 rw\n41 25 0:30 / /x rw - ext4 cgroup2 rw\n";
        assert_eq!(cgroup2_mount(bound), None);
    }
}
