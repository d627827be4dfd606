//! Opens: of a watched file by every way to it, of devices, of files that control the kernel, and of files elsewhere.

use watchkeeper::proto::v1::{Event, EventKind};

use super::case::{Case, Facts, detail, holds, includes, same, same_set, target};

pub(super) const CASES: &[Case] = &[
    Case::new("shadow-openat", EventKind::FileOpen, OPEN, shadow),
    #[cfg(target_arch = "x86_64")]
    Case::new("shadow-open", EventKind::FileOpen, OPEN, shadow),
    Case::new("shadow-openat2", EventKind::FileOpen, OPEN, shadow),
    Case::new("shadow-symlink", EventKind::FileOpen, OPEN, shadow),
    Case::new("shadow-dotdot", EventKind::FileOpen, OPEN, shadow),
    Case::new("shadow-relative", EventKind::FileOpen, OPEN, shadow),
    Case::new("shadow-proc-root", EventKind::FileOpen, OPEN, shadow),
    Case::new("shadow-descriptor", EventKind::FileOpen, OPEN, shadow),
    Case::new("shadow-bind", EventKind::FileOpen, OPEN, shadow),
    Case::new("shadow-hard-link", EventKind::FileOpen, OPEN, hard_link),
    Case::new("cron-create", EventKind::FileOpen, OPEN, written),
    Case::new("cron-append", EventKind::FileOpen, OPEN, written),
    #[cfg(target_arch = "x86_64")]
    Case::new("cron-creat", EventKind::FileOpen, OPEN, made_by_creat),
    Case::new("open-by-handle", EventKind::FileOpen, OPEN, by_handle),
    Case::new("open-other-root", EventKind::FileOpen, OPEN, elsewhere),
    Case::new("open-block-device", EventKind::FileOpen, OPEN, device),
    Case::new("open-memory", EventKind::FileOpen, OPEN, device),
    Case::new("core-pattern", EventKind::FileOpen, OPEN, control),
    Case::new("modprobe-path", EventKind::FileOpen, OPEN, control),
    Case::new("sysctl", EventKind::FileOpen, OPEN, control),
    Case::new("sysrq-trigger", EventKind::FileOpen, OPEN, control),
    Case::new("uevent-helper", EventKind::FileOpen, OPEN, control),
    Case::new("binfmt-register", EventKind::FileOpen, OPEN, control),
    Case::new("selinux-enforce", EventKind::FileOpen, OPEN, control),
    Case::new("release-agent", EventKind::FileOpen, OPEN, control),
    Case::new("notify-on-release", EventKind::FileOpen, OPEN, control),
    Case::new("proc-mem-write", EventKind::FileOpen, OPEN, memory),
];

const OPEN: &[&str] = &["file-open"];

/// Path, call and access, where the facts have them.
fn opened(facts: &Facts, event: &Event, access: &[String]) -> Result<(), String> {
    let found = detail!(event, FileOpen);
    same("path", found.path.as_str(), facts.text("path"))?;
    same("call", found.call.as_str(), facts.text("call"))?;
    same_set("access", &found.access, access)?;
    holds("reasons is empty", !found.reasons.is_empty())?;
    if facts.has("inode") {
        let file = found.file.as_ref().ok_or("file is missing")?;
        same("file.inode", file.inode, facts.number("inode"))?;
        let device = facts.text("device_number");
        same("file.device", file.device.as_str(), device)?;
    }
    Ok(())
}

fn read(facts: &Facts, event: &Event) -> Result<(), String> {
    opened(facts, event, &["read".to_owned()])
}

/// /etc/shadow was read, whatever the way to it.
pub(super) fn shadow(facts: &Facts, event: &Event) -> Result<(), String> {
    read(facts, event)?;
    let found = detail!(event, FileOpen);
    includes("reasons", &found.reasons, "shadow")?;
    let path = found.path_in_filesystem.as_str();
    same("path_in_filesystem", path, "/etc/shadow")?;
    same("linked_path", found.linked_path.as_str(), "")?;
    same("mount_namespace", found.mount_namespace, 0)
}

fn hard_link(facts: &Facts, event: &Event) -> Result<(), String> {
    read(facts, event)?;
    let found = detail!(event, FileOpen);
    includes("reasons", &found.reasons, "shadow")?;
    same("linked_path", found.linked_path.as_str(), "/etc/shadow")
}

fn written(facts: &Facts, event: &Event) -> Result<(), String> {
    opened(facts, event, &facts.list("access"))
}

fn made_by_creat(facts: &Facts, event: &Event) -> Result<(), String> {
    let access = ["write", "create", "truncate"].map(str::to_owned);
    opened(facts, event, &access)
}

fn by_handle(facts: &Facts, event: &Event) -> Result<(), String> {
    read(facts, event)?;
    includes("reasons", &detail!(event, FileOpen).reasons, "handle")
}

fn elsewhere(facts: &Facts, event: &Event) -> Result<(), String> {
    read(facts, event)?;
    let found = detail!(event, FileOpen);
    includes("reasons", &found.reasons, "other-mount-namespace")?;
    let namespace = u64::from(found.mount_namespace);
    same(
        "mount_namespace",
        namespace,
        facts.number("mount_namespace"),
    )
}

fn device(facts: &Facts, event: &Event) -> Result<(), String> {
    read(facts, event)?;
    let found = detail!(event, FileOpen);
    includes("reasons", &found.reasons, "device")?;
    same("device", found.device.as_str(), facts.text("device"))
}

fn control(facts: &Facts, event: &Event) -> Result<(), String> {
    opened(facts, event, &["write".to_owned()])?;
    let found = detail!(event, FileOpen);
    includes("reasons", &found.reasons, "kernel-control")?;
    let filesystem = facts.text("filesystem");
    same("filesystem", found.filesystem.as_str(), filesystem)
}

fn memory(facts: &Facts, event: &Event) -> Result<(), String> {
    opened(facts, event, &facts.list("access"))?;
    let found = detail!(event, FileOpen);
    same("filesystem", found.filesystem.as_str(), "proc")?;
    target(facts, found.target.as_ref())
}
