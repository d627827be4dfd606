//! Files through which the kernel is told what to do: opened to write, and closed with nothing written.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::facts::offered;
use super::root::put_file_system;
use super::{Action, Inside};

pub(super) const ACTIONS: &[Action] = &[
    Action::new("core-pattern", "Opens core_pattern to write", |_| {
        open("/proc/sys/kernel/core_pattern", "proc")
    }),
    Action::new(
        "modprobe-path",
        "Opens the path of modprobe to write",
        |_| open("/proc/sys/kernel/modprobe", "proc"),
    ),
    Action::new("sysctl", "Opens ip_forward to write", |_| {
        open("/proc/sys/net/ipv4/ip_forward", "proc")
    }),
    Action::new("sysrq-trigger", "Opens sysrq-trigger to write", |_| {
        open("/proc/sysrq-trigger", "proc")
    }),
    Action::new("uevent-helper", "Opens uevent_helper to write", |_| {
        open("/sys/kernel/uevent_helper", "sysfs")
    }),
    Action::new(
        "binfmt-register",
        "Opens register of binfmt_misc to write",
        binfmt,
    ),
    Action::new(
        "selinux-enforce",
        "Opens the switch of SELinux to write",
        |_| open("/sys/fs/selinux/enforce", "selinuxfs"),
    ),
    Action::new("release-agent", "Opens a release_agent to write", |_| {
        in_hierarchy("release_agent")
    }),
    Action::new(
        "notify-on-release",
        "Opens a notify_on_release to write",
        |_| in_hierarchy("notify_on_release"),
    ),
];

fn open(path: &str, filesystem: &str) -> Result<Value> {
    let opened = File::options().write(true).open(path);
    drop(offered(opened, path)?);
    let file = Path::new(path).file_name().unwrap_or_default();
    Ok(json!({
        "call": "openat", "path": path, "filesystem": filesystem, "file": file.to_string_lossy(),
    }))
}

fn binfmt(_: &Inside) -> Result<Value> {
    const AT: &str = "/proc/sys/fs/binfmt_misc";
    let mounted = put_file_system("binfmt_misc", AT, "");
    mounted.map_err(|error| super::facts::NotOffered(format!("{error:#}")))?;
    open(&format!("{AT}/register"), "binfmt_misc")
}

/// In a cgroup version 1 hierarchy that is there, or in one without controllers that is gone with the container.
fn in_hierarchy(file: &str) -> Result<Value> {
    const OWN: &str = "/tmp/hierarchy";
    let mounted = fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.join("release_agent").exists());
    if let Some(there) = mounted {
        return open(&there.join(file).to_string_lossy(), "cgroup");
    }
    fs::create_dir(OWN).context("could not make a directory")?;
    put_file_system("cgroup", OWN, "none,name=watchkeeper-actor")
        .map_err(|error| super::facts::NotOffered(format!("{error:#}")))?;
    open(&format!("{OWN}/{file}"), "cgroup")
}
