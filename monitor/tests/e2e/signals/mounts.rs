//! Mounts by the old calls and by the new ones, and changes of the root directory.

use watchkeeper::proto::v1::{Event, EventKind};

use super::case::{Case, Facts, called, called_as, detail, holds, includes, same};

pub(super) const CASES: &[Case] = &[
    Case::new("mount-tmpfs", EventKind::Mount, MOUNT, mounted),
    Case::new("mount-bind", EventKind::Mount, MOUNT, mounted),
    Case::new("mount-remount", EventKind::Mount, MOUNT, mounted),
    Case::new("mount-fails", EventKind::Mount, MOUNT, mounted),
    Case::new("fsopen", EventKind::Mount, &["fsopen"], fsopen).of("move-mount"),
    Case::new("fsconfig", EventKind::Mount, &["fsconfig"], fsconfig).of("move-mount"),
    Case::new("fsmount", EventKind::Mount, &["fsmount"], fsmount).of("move-mount"),
    Case::new("move-mount", EventKind::Mount, &["move_mount"], move_mount),
    Case::new("open-tree", EventKind::Mount, &["open_tree"], open_tree),
    Case::new(
        "mount-setattr",
        EventKind::Mount,
        &["mount_setattr"],
        mounted,
    ),
    Case::new("umount", EventKind::Mount, &["umount"], mounted),
    Case::new("pivot-root", EventKind::Mount, &["pivot_root"], pivoted),
    Case::new("chroot", EventKind::Mount, &["chroot"], rooted),
    Case::new("seccomp-refused", EventKind::Mount, MOUNT, refused),
];

const MOUNT: &[&str] = &["mount"];

/// In the mount namespace of the acting process.
fn placed(facts: &Facts, event: &Event) -> Result<(), String> {
    let namespaces = detail!(event, Mount).namespaces.as_ref();
    let found = namespaces.map(|namespaces| u64::from(namespaces.mnt));
    let expected = facts.inner("namespaces").number("mnt");
    same("namespaces.mnt", found, Some(expected))
}

/// What the facts have of source, target, filesystem and flags.
fn mounted(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Mount);
    called(facts, found.call.as_ref())?;
    for (what, value) in [
        ("source", &found.source),
        ("target", &found.target),
        ("filesystem", &found.filesystem),
    ] {
        if facts.has(what) {
            same(what, value.as_str(), facts.text(what))?;
        }
    }
    for flag in facts.list("flags") {
        includes("flags", &found.flags, &flag)?;
    }
    placed(facts, event)
}

fn fsopen(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Mount);
    called_as(facts, found.call.as_ref(), "fsopen")?;
    let filesystem = facts.text("filesystem");
    same("filesystem", found.filesystem.as_str(), filesystem)?;
    placed(facts, event)
}

fn fsconfig(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Mount);
    called_as(facts, found.call.as_ref(), "fsconfig")?;
    same("key", found.key.as_str(), facts.text("key"))?;
    same("value", found.value.as_str(), facts.text("value"))?;
    placed(facts, event)
}

fn fsmount(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Mount);
    called_as(facts, found.call.as_ref(), "fsmount")?;
    placed(facts, event)
}

fn move_mount(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Mount);
    called_as(facts, found.call.as_ref(), "move_mount")?;
    same("target", found.target.as_str(), facts.text("target"))?;
    placed(facts, event)
}

/// The one path that it has is shown as either.
fn open_tree(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Mount);
    called(facts, found.call.as_ref())?;
    one_of(facts.text("path"), &found.source, &found.target)?;
    placed(facts, event)
}

fn pivoted(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Mount);
    called(facts, found.call.as_ref())?;
    one_of(facts.text("new_root"), &found.source, &found.target)?;
    same("root", found.root.as_str(), facts.text("root"))?;
    placed(facts, event)
}

fn rooted(facts: &Facts, event: &Event) -> Result<(), String> {
    mounted(facts, event)?;
    let found = detail!(event, Mount);
    same("root", found.root.as_str(), facts.text("root"))
}

fn one_of(path: &str, source: &str, target: &str) -> Result<(), String> {
    holds(
        &format!("source is {source:?} and target {target:?}, neither {path:?}"),
        source == path || target == path,
    )
}

/// A seccomp filter refused it.
fn refused(facts: &Facts, event: &Event) -> Result<(), String> {
    let call = detail!(event, Mount).call.as_ref();
    let call = call.ok_or("there is no call")?;
    same("call.name", call.name.as_str(), facts.text("call"))?;
    same("call.error", call.error.as_str(), facts.text("error"))?;
    same(
        "call.maybe_refused_by_seccomp",
        call.maybe_refused_by_seccomp,
        true,
    )
}
