//! The same things done in ways that are meant to escape notice: the events are no others.

use watchkeeper::proto::v1::{Event, EventKind};

use super::case::{Case, Facts, holds, same};
use super::credentials::from_memory;
use super::files::shadow;
use super::network::refused;

pub(super) const CASES: &[Case] = &[
    Case::new("shadow-thread", EventKind::FileOpen, OPEN, shadow),
    Case::new("shadow-forked", EventKind::FileOpen, OPEN, shadow),
    Case::new(
        "shadow-arguments",
        EventKind::FileOpen,
        OPEN,
        under_its_arguments,
    ),
    Case::new("shadow-io-uring", EventKind::FileOpen, URING, shadow),
    Case::new("shadow-io-uring-worker", EventKind::FileOpen, URING, shadow),
    Case::new("shadow-io-uring-direct", EventKind::FileOpen, URING, shadow),
    Case::new("kubelet-thread", EventKind::Connect, TCP, refused),
    Case::new("kubelet-forked", EventKind::Connect, TCP, refused),
    Case::new("execveat-memfd", EventKind::Exec, EXEC, from_memory),
    Case::new("execveat-thread", EventKind::Exec, EXEC, from_memory),
    Case::new("execveat-copy", EventKind::Exec, EXEC, written),
];

const OPEN: &[&str] = &["file-open"];
const URING: &[&str] = &["io-uring-open"];
const TCP: &[&str] = &["inet_sock_set_state", "tcp", "connect"];
const EXEC: &[&str] = &["exec"];

/// What the process was run with is told, not what it shows now.
fn under_its_arguments(facts: &Facts, event: &Event) -> Result<(), String> {
    shadow(facts, event)?;
    let process = event.process.as_ref().ok_or("there is no process")?;
    let told = process
        .argv
        .iter()
        .any(|argument| argument == "shadow-arguments");
    holds(&format!("its arguments are {:?}", process.argv), told)
}

fn written(facts: &Facts, event: &Event) -> Result<(), String> {
    let process = event.process.as_ref().ok_or("there is no process")?;
    same("exe", process.exe.as_str(), facts.text("path"))?;
    let file = process.file.as_ref().ok_or("file is missing")?;
    same("file.inode", file.inode, facts.number("inode"))
}
