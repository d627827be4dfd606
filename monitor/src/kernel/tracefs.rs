//! The kernel's list of tracepoints: a filesystem that has to be mounted for it to be read.

use std::{fs, io, path::Path};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Where it is mounted on every distribution.
const PLACE: &str = "/sys/kernel/tracing";
/// Where older ones have it, below debugfs.
const OLDER_PLACE: &str = "/sys/kernel/debug/tracing";

/// Holds the filesystem; what was mounted for this is taken off when it is dropped.
#[derive(Debug)]
pub struct Tracefs {
    mounted: bool,
}

impl Tracefs {
    /// Mounts it where it is not there.
    ///
    /// # Errors
    /// When it can't be mounted: no CAP_SYS_ADMIN, or a kernel without it.
    pub fn ensure() -> io::Result<Self> {
        let there = |place: &str| Path::new(place).join("events").is_dir();
        if there(PLACE) || there(OLDER_PLACE) {
            return Ok(Self { mounted: false });
        }
        mount(
            "tracefs",
            PLACE,
            "tracefs",
            MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
            None,
        )?;
        Ok(Self { mounted: true })
    }

    /// Whether the kernel has a tracepoint.
    #[must_use]
    pub fn has(&self, category: &str, name: &str) -> bool {
        [PLACE, OLDER_PLACE].iter().any(|place| {
            fs::exists(Path::new(place).join("events").join(category).join(name)).unwrap_or(false)
        })
    }
}

impl Drop for Tracefs {
    fn drop(&mut self) {
        if self.mounted {
            // Somebody else may use it by now: then it stays.
            let _ = unmount(PLACE, UnmountFlags::empty());
        }
    }
}
