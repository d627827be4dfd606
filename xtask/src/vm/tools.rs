//! The two programs that a virtual machine is made with: QEMU to run it, busybox to live in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::unpack;

const PURPOSE: &str = "test in virtual machines";

/// Where both have their files: see [`unpack::root`].
pub(crate) struct Tools {
    qemu: PathBuf,
    busybox: PathBuf,
}

impl Tools {
    /// Finds or gets them.
    pub(crate) fn get() -> Result<Self> {
        Ok(Self {
            qemu: unpack::root("qemu-system-x86", PURPOSE)?,
            busybox: unpack::root("busybox-static", PURPOSE)?,
        })
    }

    /// A statically linked busybox.
    pub(crate) fn busybox(&self) -> PathBuf {
        self.busybox.join("bin/busybox")
    }

    /// A QEMU that finds its libraries, modules and firmware.
    pub(crate) fn qemu(&self) -> Result<Command> {
        let at = |path: &str| self.qemu.join(path);
        let mut qemu = Command::new(at("usr/bin/qemu-system-x86_64"));
        if self.qemu != Path::new("/") {
            let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(at);
            let libraries = std::env::join_paths(libraries)
                .context("the cache directory's path holds a colon")?;
            qemu.env("LD_LIBRARY_PATH", libraries);
            qemu.env("QEMU_MODULE_DIR", at("usr/lib/x86_64-linux-gnu/qemu"));
            qemu.arg("-L")
                .arg(at("usr/share/qemu"))
                .arg("-L")
                .arg(at("usr/share/seabios"));
        }
        Ok(qemu)
    }
}
