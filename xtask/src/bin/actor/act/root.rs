//! The container's root: a tmpfs with a few files of its own, and programs and libraries of the host.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};

use super::ACTOR;
use crate::loopback;

/// The host's /proc in the container: there a process finds its id on the host.
pub(super) const HOST_PROC: &str = "/host-proc";

/// The host's /run, in a container that has it.
pub(super) const HOST_RUN: &str = "/host-run";

/// Where the root is put together, in the container's mount namespace.
const BUILT: &str = "/tmp";

/// What a dynamically linked program needs, and where a shell may be.
const SHARED: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr"];

const FILES: [(&str, u32, &str); 5] = [
    ("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n"),
    ("etc/group", 0o644, "root:x:0:\n"),
    ("etc/shadow", 0o600, "root:*:20000:0:99999:7:::\n"),
    ("etc/hostname", 0o644, "act\n"),
    ("etc/resolv.conf", 0o644, "nameserver 127.0.0.1\n"),
];

/// Makes the root of a container and enters it, with loopback up. The caller is its first process.
pub(super) fn enter(with_host_run: bool) -> Result<()> {
    put_file_system("tmpfs", BUILT, "mode=755")?;
    for directory in [
        "dev",
        "etc",
        "etc/cron.d",
        "host-proc",
        "host-run",
        "proc",
        "run",
        "sys",
        "tmp",
    ] {
        let path = Path::new(BUILT).join(directory);
        fs::create_dir(&path).with_context(|| format!("could not make {}", path.display()))?;
    }
    fs::set_permissions(
        Path::new(BUILT).join("tmp"),
        fs::Permissions::from_mode(0o1777),
    )?;
    for (name, mode, content) in FILES {
        let path = Path::new(BUILT).join(name);
        fs::write(&path, content)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
            .with_context(|| format!("could not make {}", path.display()))?;
    }
    for name in SHARED {
        share(name)?;
    }
    // A copy: the file that runs belongs to a mount of the host's namespace, which can't be bound here.
    fs::copy("/proc/self/exe", format!("{BUILT}{ACTOR}")).context("could not copy the actor")?;
    for device in ["null", "zero", "urandom"] {
        let path = format!("{BUILT}/dev/{device}");
        fs::write(&path, "").with_context(|| format!("could not make {path}"))?;
        bind(&format!("/dev/{device}"), &path)?;
    }
    bind("/sys", &format!("{BUILT}/sys"))?;
    bind("/proc", &format!("{BUILT}{HOST_PROC}"))?;
    if with_host_run {
        bind("/run", &format!("{BUILT}{HOST_RUN}"))?;
    }
    become_root()?;
    put_file_system("proc", "/proc", "")?;
    nix::unistd::sethostname("act").context("could not set the host name")?;
    loopback::bring_up()
}

/// Not pivot_root: it refuses where the root was unpacked from an initramfs.
fn become_root() -> Result<()> {
    std::env::set_current_dir(BUILT).context("could not enter the new root")?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .context("could not move the new root to /")?;
    std::os::unix::fs::chroot(".").context("could not make the new root the root")?;
    std::env::set_current_dir("/").context("could not enter /")
}

/// A directory or link of the host's root, if it has one of that name.
fn share(name: &str) -> Result<()> {
    let host = Path::new("/").join(name);
    let own = Path::new(BUILT).join(name);
    let made = if let Ok(target) = fs::read_link(&host) {
        symlink(target, &own)
    } else if host.is_dir() {
        fs::create_dir(&own)
    } else {
        return Ok(());
    };
    made.with_context(|| format!("could not make {}", own.display()))?;
    if own.is_symlink() {
        return Ok(());
    }
    bind(&host.to_string_lossy(), &own.to_string_lossy())
}

/// Shows `source` with all that is mounted below it at `target`.
pub(super) fn bind(source: &str, target: &str) -> Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source), target, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("could not bind {source} to {target}"))
}

/// Mounts a file system that needs no device.
pub(super) fn put_file_system(kind: &str, target: &str, options: &str) -> Result<()> {
    let none = MsFlags::empty();
    mount(Some(kind), target, Some(kind), none, Some(options))
        .with_context(|| format!("could not mount {kind} at {target}"))
}
