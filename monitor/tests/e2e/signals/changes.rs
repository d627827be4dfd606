//! Changes of watched paths, device files, and files made executable, setuid or capable.

use watchkeeper::proto::v1::{Event, EventKind};

use super::case::{Case, Facts, called, detail, holds, includes, same};

pub(super) const CASES: &[Case] = &[
    #[cfg(target_arch = "x86_64")]
    Case::new("rename", EventKind::FileChange, &["rename"], moved),
    Case::new("renameat", EventKind::FileChange, &["rename"], moved),
    Case::new("renameat2", EventKind::FileChange, &["rename"], moved),
    #[cfg(target_arch = "x86_64")]
    Case::new("link", EventKind::FileChange, &["link"], moved),
    Case::new("linkat", EventKind::FileChange, &["link"], moved),
    #[cfg(target_arch = "x86_64")]
    Case::new("symlink", EventKind::FileChange, &["symlink"], moved),
    Case::new("symlinkat", EventKind::FileChange, &["symlink"], moved),
    #[cfg(target_arch = "x86_64")]
    Case::new("unlink", EventKind::FileChange, &["unlink"], changed),
    Case::new("unlinkat", EventKind::FileChange, &["unlink"], changed),
    Case::new("truncate", EventKind::FileChange, &["truncate"], changed),
    #[cfg(target_arch = "x86_64")]
    Case::new("chmod-executable", EventKind::FileChange, CHMOD, executable),
    Case::new(
        "fchmodat-executable",
        EventKind::FileChange,
        CHMOD,
        executable,
    ),
    Case::new(
        "fchmodat2-executable",
        EventKind::FileChange,
        CHMOD,
        executable,
    ),
    Case::new(
        "fchmod-executable",
        EventKind::FileChange,
        CHMOD,
        executable,
    ),
    Case::new("chmod-setuid", EventKind::FileChange, CHMOD, setuid),
    #[cfg(target_arch = "x86_64")]
    Case::new("chown", EventKind::FileChange, &["chown"], owned),
    #[cfg(target_arch = "x86_64")]
    Case::new("lchown", EventKind::FileChange, &["chown"], owned),
    Case::new("fchownat", EventKind::FileChange, &["chown"], owned),
    Case::new("fchown", EventKind::FileChange, &["chown"], owned),
    Case::new("setxattr-capability", EventKind::FileChange, XATTR, capable),
    Case::new(
        "lsetxattr-capability",
        EventKind::FileChange,
        XATTR,
        capable,
    ),
    Case::new(
        "fsetxattr-capability",
        EventKind::FileChange,
        XATTR,
        capable,
    ),
    #[cfg(target_arch = "x86_64")]
    Case::new("mknod", EventKind::FileChange, &["mknod"], device),
    Case::new("mknodat", EventKind::FileChange, &["mknod"], device),
];

const CHMOD: &[&str] = &["chmod"];
const XATTR: &[&str] = &["setxattr"];

/// Calls on a descriptor: the kernel knows the path.
const BY_DESCRIPTOR: [&str; 3] = ["fchmod", "fchown", "fsetxattr"];

fn changed(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, FileChange);
    called(facts, found.call.as_ref())?;
    same("path", found.path.as_str(), facts.text("path"))?;
    let claimed = !BY_DESCRIPTOR.contains(&facts.text("call"));
    same("path_claimed", found.path_claimed, claimed)?;
    holds("reasons is empty", !found.reasons.is_empty())
}

fn moved(facts: &Facts, event: &Event) -> Result<(), String> {
    changed(facts, event)?;
    let found = detail!(event, FileChange);
    same("new_path", found.new_path.as_str(), facts.text("new_path"))
}

fn executable(facts: &Facts, event: &Event) -> Result<(), String> {
    changed(facts, event)?;
    let found = detail!(event, FileChange);
    same("mode", found.mode.as_str(), facts.text("mode"))?;
    includes("reasons", &found.reasons, "executable")
}

fn setuid(facts: &Facts, event: &Event) -> Result<(), String> {
    changed(facts, event)?;
    let found = detail!(event, FileChange);
    same("mode", found.mode.as_str(), facts.text("mode"))?;
    includes("reasons", &found.reasons, "setuid")
}

fn owned(facts: &Facts, event: &Event) -> Result<(), String> {
    changed(facts, event)?;
    let found = detail!(event, FileChange);
    for (what, id) in [("uid", found.uid), ("gid", found.gid)] {
        same(what, id.map(u64::from), Some(facts.number(what)))?;
    }
    Ok(())
}

fn capable(facts: &Facts, event: &Event) -> Result<(), String> {
    changed(facts, event)?;
    let found = detail!(event, FileChange);
    let attribute = facts.text("attribute");
    same("attribute", found.attribute.as_str(), attribute)?;
    includes("reasons", &found.reasons, "file-capability")
}

fn device(facts: &Facts, event: &Event) -> Result<(), String> {
    changed(facts, event)?;
    let found = detail!(event, FileChange);
    same("device", found.device.as_str(), facts.text("device"))?;
    same("mode", found.mode.as_str(), facts.text("mode"))?;
    includes("reasons", &found.reasons, "device")
}
