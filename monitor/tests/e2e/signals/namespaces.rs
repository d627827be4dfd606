//! New namespaces, those of the host, and cgroups.

use watchkeeper::proto::v1::{Event, EventKind};

use super::case::{
    By, Case, Facts, called, detail, holds, includes, same, same_namespaces, same_set,
};

pub(super) const CASES: &[Case] = &[
    Case::new("unshare-user", EventKind::NamespaceChange, UNSHARE, changed),
    Case::new("unshare-net", EventKind::NamespaceChange, UNSHARE, changed),
    Case::new("unshare-mnt", EventKind::NamespaceChange, UNSHARE, changed),
    Case::new(
        "unshare-pid",
        EventKind::NamespaceChange,
        UNSHARE,
        for_children,
    ),
    Case::new("setns-host-net", EventKind::NamespaceChange, SETNS, to_host),
    Case::new("setns-host-mnt", EventKind::NamespaceChange, SETNS, to_host),
    Case::new("setns-pidfd", EventKind::NamespaceChange, SETNS, changed),
    Case::new(
        "clone-namespaces",
        EventKind::NamespaceChange,
        CLONE,
        cloned,
    ),
    Case::new(
        "clone3-namespaces",
        EventKind::NamespaceChange,
        CLONE,
        cloned,
    ),
    Case::new(
        "cgroup-create",
        EventKind::CgroupCreated,
        &["mkdir"],
        created,
    ),
    Case::new("cgroup-leave", EventKind::CgroupAttach, &["attach"], left).by(By::Mover),
];

const UNSHARE: &[&str] = &["unshare"];
const SETNS: &[&str] = &["setns"];
const CLONE: &[&str] = &["clone", "fork"];

fn changed(facts: &Facts, event: &Event) -> Result<(), String> {
    changed_but(facts, event, &[])
}

/// The process itself stays where it is.
fn for_children(facts: &Facts, event: &Event) -> Result<(), String> {
    changed_but(facts, event, &["pid"])
}

fn changed_but(facts: &Facts, event: &Event, without: &[&str]) -> Result<(), String> {
    let found = detail!(event, NamespaceChange);
    called(facts, found.call.as_ref())?;
    same_set("requested", &found.requested, &facts.list("requested"))?;
    same_set("changed", &found.changed, &facts.list("changed"))?;
    let before = facts.inner("before");
    same_namespaces("before", found.before.as_ref(), &before, without)?;
    let after = facts.inner("after");
    same_namespaces("after", found.after.as_ref(), &after, without)
}

/// It sits in a namespace of the host now, and did not before.
fn to_host(facts: &Facts, event: &Event) -> Result<(), String> {
    changed(facts, event)?;
    let found = detail!(event, NamespaceChange);
    let before = found.before.as_ref().ok_or("before is missing")?;
    let after = found.after.as_ref().ok_or("after is missing")?;
    for name in facts.list("changed") {
        includes("after.host", &after.host, &name)?;
        holds(
            &format!("before.host has {name}"),
            !before.host.contains(&name),
        )?;
    }
    Ok(())
}

fn cloned(facts: &Facts, event: &Event) -> Result<(), String> {
    changed(facts, event)?;
    let found = detail!(event, NamespaceChange);
    let child = u64::from(found.child_pid);
    same("child_pid", child, facts.number("child_pid"))
}

fn created(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Cgroup);
    same("id", found.id, facts.number("id"))?;
    ends_with(facts, &found.path)
}

fn left(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, CgroupAttach);
    same("pid", u64::from(found.pid), facts.number("pid"))?;
    same("cgroup_id", found.cgroup_id, facts.number("id"))?;
    ends_with(facts, &found.path)
}

/// The facts have the path with the mount point before it.
fn ends_with(facts: &Facts, path: &str) -> Result<(), String> {
    let whole = facts.text("path");
    holds(
        &format!("path is {path:?}, which {whole:?} does not end with"),
        path.starts_with('/') && whole.ends_with(path),
    )
}
