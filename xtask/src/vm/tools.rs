//! The programs that a virtual machine is made with: QEMU to run it, busybox to live in it, checkpolicy for its SELinux.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{command, paths, unpack};

const PURPOSE: &str = "test in virtual machines";

/// Where they have their files: see [`unpack::root`].
pub(crate) struct Tools {
    qemu: PathBuf,
    busybox: PathBuf,
    checkpolicy: PathBuf,
}

impl Tools {
    /// Finds or gets them.
    pub(crate) fn get() -> Result<Self> {
        Ok(Self {
            qemu: unpack::root("qemu-system-x86", PURPOSE)?,
            busybox: unpack::root("busybox-static", PURPOSE)?,
            checkpolicy: unpack::root("checkpolicy", PURPOSE)?,
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
            find_libraries(&mut qemu, &self.qemu)?;
            qemu.env("QEMU_MODULE_DIR", at("usr/lib/x86_64-linux-gnu/qemu"));
            qemu.arg("-L")
                .arg(at("usr/share/qemu"))
                .arg("-L")
                .arg(at("usr/share/seabios"));
        }
        Ok(qemu)
    }

    /// The policy in `selinux.conf`, in the form that the kernel loads.
    pub(crate) fn selinux_policy(&self) -> Result<Vec<u8>> {
        let directory = paths::cache("selinux")?;
        let (source, compiled) = (directory.join("policy.conf"), directory.join("policy"));
        fs::write(&source, include_str!("selinux.conf"))
            .with_context(|| format!("could not write {}", source.display()))?;
        let mut compiler = Command::new(self.checkpolicy.join("usr/bin/checkpolicy"));
        if self.checkpolicy != Path::new("/") {
            find_libraries(&mut compiler, &self.checkpolicy)?;
        }
        // What the policy does not know is allowed. Every kernel since 4.8 reads version 30.
        compiler.args(["-U", "allow", "-c", "30", "-o"]);
        compiler.arg(&compiled).arg(&source);
        command::output(&mut compiler, "compile a policy for SELinux")?;
        fs::read(&compiled).with_context(|| format!("could not read {}", compiled.display()))
    }
}

/// Lets a program that was unpacked in `root` find its libraries there.
fn find_libraries(program: &mut Command, root: &Path) -> Result<()> {
    let libraries =
        ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|path| root.join(path));
    let libraries =
        std::env::join_paths(libraries).context("the cache directory's path holds a colon")?;
    program.env("LD_LIBRARY_PATH", libraries);
    Ok(())
}
