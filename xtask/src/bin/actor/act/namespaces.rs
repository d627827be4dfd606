//! Leaving namespaces: for new ones, and for those of a process outside.

use std::ffi::c_long;
use std::fs::File;
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::facts::{self, offered};
use super::host::Outside;
use super::root::HOST_PROC;
use super::{Action, Inside, sys};

pub(super) const ACTIONS: &[Action] = &[
    Action::new("unshare-user", "Enters a new user namespace", |_| {
        alone(CloneFlags::CLONE_NEWUSER, &["user"])
    }),
    Action::new("unshare-net", "Enters a new network namespace", |_| {
        alone(CloneFlags::CLONE_NEWNET, &["net"])
    }),
    Action::new("unshare-mnt", "Enters a new mount namespace", |_| {
        alone(CloneFlags::CLONE_NEWNS, &["mnt"])
    }),
    Action::new(
        "unshare-pid",
        "Has its children in a new PID namespace",
        |_| alone(CloneFlags::CLONE_NEWPID, &["pid"]),
    ),
    Action::new(
        "setns-host-net",
        "Enters the network namespace of the host",
        |inside| enter(inside, "net", CloneFlags::CLONE_NEWNET),
    )
    .with(Outside::Process),
    Action::new(
        "setns-host-mnt",
        "Enters the mount namespace of the host",
        |inside| enter(inside, "mnt", CloneFlags::CLONE_NEWNS),
    )
    .with(Outside::Process),
    Action::new(
        "setns-pidfd",
        "Enters two namespaces of a process on the host at once",
        by_pidfd,
    )
    .with(Outside::ProcessInView),
    Action::new(
        "clone-namespaces",
        "Makes a child in new namespaces",
        |_| cloned("clone"),
    ),
    Action::new("clone3-namespaces", "The same with clone3(2)", |_| {
        cloned("clone3")
    }),
];

fn alone(flags: CloneFlags, names: &[&str]) -> Result<Value> {
    let before = facts::namespaces()?;
    offered(unshare(flags).map_err(Into::into), "could not unshare")?;
    let after = facts::namespaces()?;
    Ok(json!({
        "call": "unshare", "requested": names, "changed": names, "before": before, "after": after,
    }))
}

fn enter(inside: &Inside, name: &str, flag: CloneFlags) -> Result<Value> {
    let helper = inside.get("helper")?;
    let link = format!("{HOST_PROC}/{helper}/ns/{name}");
    let file = File::open(&link).with_context(|| format!("could not open {link}"))?;
    let before = facts::namespaces()?;
    offered(setns(file, flag).map_err(Into::into), "could not enter it")?;
    let after = facts::namespaces()?;
    Ok(json!({
        "call": "setns", "requested": [name], "changed": [name], "before": before, "after": after,
    }))
}

fn by_pidfd(inside: &Inside) -> Result<Value> {
    let helper = inside.get("helper")?.parse()?;
    // SAFETY: both arguments are numbers.
    let pidfd = unsafe { sys::call(libc::SYS_pidfd_open, [helper, 0]) };
    let pidfd = offered(pidfd, "could not open a process")?;
    // SAFETY: the call just returned it.
    let pidfd = unsafe { sys::descriptor(pidfd) }?;
    let before = facts::namespaces()?;
    let flags = libc::CLONE_NEWNET | libc::CLONE_NEWUTS;
    // SAFETY: it takes numbers only.
    let entered = unsafe { libc::setns(pidfd.as_raw_fd(), flags) };
    let entered = nix::errno::Errno::result(entered).map_err(Into::into);
    offered(entered, "could not enter namespaces by a pidfd")?;
    let after = facts::namespaces()?;
    let names = ["net", "uts"];
    Ok(json!({
        "call": "setns", "requested": names, "changed": names, "before": before, "after": after,
    }))
}

/// Makes a child in new network and UTS namespaces that ends at once; the parent reads its namespaces before it reaps it.
fn cloned(call: &str) -> Result<Value> {
    let flags = libc::CLONE_NEWNET | libc::CLONE_NEWUTS;
    let (number, arguments): (c_long, [usize; 2]);
    // `struct clone_args`: flags and exit signal are its first and fifth field.
    let mut structure = [0_u64; 11];
    if call == "clone3" {
        structure[0] = u64::from(flags.cast_unsigned());
        structure[4] = u64::from(libc::SIGCHLD.cast_unsigned());
        number = libc::SYS_clone3;
        arguments = [
            structure.as_ptr().expose_provenance(),
            size_of_val(&structure),
        ];
    } else {
        number = libc::SYS_clone;
        arguments = [sys::signed(flags | libc::SIGCHLD), 0];
    }
    let before = facts::namespaces()?;
    let (mut told, teller) = std::io::pipe().context("could not make a pipe")?;
    // SAFETY: without a stack of its own the child goes on with a copy of this one, as after fork(2); it has one thread.
    let child = unsafe { sys::call(number, arguments) };
    let child = offered(child, call)?;
    if child == 0 {
        drop(told);
        let tell = || -> Result<()> {
            let facts = json!({"pid": facts::host_pid()?, "namespaces": facts::namespaces()?});
            serde_json::to_writer(&teller, &facts)?;
            Ok(())
        };
        let code = i32::from(tell().is_err());
        // SAFETY: it takes a number and does not return.
        unsafe { libc::_exit(code) }
    }
    drop(teller);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut told, &mut text)?;
    waitpid(Pid::from_raw(i32::try_from(child)?), None).context("could not wait for the child")?;
    let told: Value = serde_json::from_str(&text).context("the child did not say what it is")?;
    let names = ["net", "uts"];
    Ok(json!({
        "call": "clone", "requested": names, "changed": names, "before": before,
        "after": told["namespaces"], "child_pid": told["pid"],
    }))
}
