//! Reaching into other processes, signals, and what a process changes of itself.

use watchkeeper::proto::v1::{Event, EventKind, Location};

use super::case::{Case, Facts, called, detail, same, target};

pub(super) const CASES: &[Case] = &[
    Case::new("ptrace-attach", EventKind::ProcessAccess, PTRACE, accessed),
    Case::new("ptrace-seize", EventKind::ProcessAccess, PTRACE, accessed),
    Case::new("ptrace-poke", EventKind::ProcessAccess, PTRACE, accessed),
    Case::new(
        "ptrace-outside",
        EventKind::ProcessAccess,
        PTRACE,
        accessed_outside,
    ),
    Case::new(
        "process-vm-writev",
        EventKind::ProcessAccess,
        &["process_vm_writev"],
        accessed,
    ),
    Case::new(
        "pidfd-getfd",
        EventKind::ProcessAccess,
        &["pidfd_getfd"],
        taken,
    ),
    Case::new("signal-outside", EventKind::Signal, &["signal"], signalled),
    Case::new("tgkill-outside", EventKind::Signal, &["signal"], signalled),
    Case::new(
        "signal-other-container",
        EventKind::Signal,
        &["signal"],
        signalled_container,
    ),
    Case::new(
        "memfd-create",
        EventKind::ProcessControl,
        &["memfd_create"],
        memory,
    ),
    Case::new(
        "userfaultfd",
        EventKind::ProcessControl,
        &["userfaultfd"],
        controlled,
    ),
    Case::new("prctl-name", EventKind::ProcessControl, &["prctl"], named),
    Case::new(
        "prctl-dumpable",
        EventKind::ProcessControl,
        &["prctl"],
        dumpable,
    ),
];

const PTRACE: &[&str] = &["ptrace"];

/// The target is in the same container.
fn taken(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, ProcessAccess);
    called(facts, found.call.as_ref())?;
    same("request", found.request.as_str(), facts.text("request"))?;
    target(facts, found.target.as_ref())?;
    let container = found
        .target
        .as_ref()
        .map(|target| target.container_id.as_str());
    let own = facts.text("container");
    same("target.container_id", container, Some(own))
}

/// The same by a process id.
fn accessed(facts: &Facts, event: &Event) -> Result<(), String> {
    taken(facts, event)?;
    let claimed = u64::from(detail!(event, ProcessAccess).claimed_pid);
    same("claimed_pid", claimed, facts.number("claimed"))
}

fn accessed_outside(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, ProcessAccess);
    called(facts, found.call.as_ref())?;
    same("request", found.request.as_str(), facts.text("request"))?;
    target(facts, found.target.as_ref())?;
    let location = found.target.as_ref().map(|target| target.location());
    same("target.location", location, Some(Location::Host))
}

fn signalled(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Signal);
    same("number", u64::from(found.number), facts.number("number"))?;
    target(facts, found.target.as_ref())?;
    let location = found.target.as_ref().map(|target| target.location());
    same("target.location", location, Some(Location::Host))
}

fn signalled_container(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Signal);
    same("number", u64::from(found.number), facts.number("number"))?;
    target(facts, found.target.as_ref())?;
    let found = found.target.as_ref().ok_or("there is no target")?;
    same("target.location", found.location(), Location::Container)?;
    let container = found.container_id.as_str();
    same("target.container_id", container, facts.text("other"))
}

fn controlled(facts: &Facts, event: &Event) -> Result<(), String> {
    called(facts, detail!(event, ProcessControl).call.as_ref())
}

fn memory(facts: &Facts, event: &Event) -> Result<(), String> {
    controlled(facts, event)?;
    let found = detail!(event, ProcessControl);
    same("name", found.name.as_str(), facts.text("name"))?;
    same("inode", found.inode, facts.number("inode"))
}

fn named(facts: &Facts, event: &Event) -> Result<(), String> {
    controlled(facts, event)?;
    let found = detail!(event, ProcessControl);
    same("option", found.option.as_str(), facts.text("option"))?;
    same("name", found.name.as_str(), facts.text("name"))
}

fn dumpable(facts: &Facts, event: &Event) -> Result<(), String> {
    controlled(facts, event)?;
    let found = detail!(event, ProcessControl);
    same("option", found.option.as_str(), facts.text("option"))?;
    let first = found.arguments.first().copied();
    same("arguments[0]", first, Some(facts.number("argument")))
}
