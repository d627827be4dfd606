//! Reaching into other processes: children of the acting process, and one outside the container.

use std::ffi::c_long;
use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::child::Child;
use super::facts::offered;
use super::host::Outside;
use super::{Action, Inside, sys};

pub(super) const ACTIONS: &[Action] = &[
    Action::new("ptrace-attach", "Attaches to a child", |_| {
        let child = Child::waiting()?;
        trace(libc::PTRACE_ATTACH, child.pid(), 0, 0)?;
        facts(&child, "ptrace", "PTRACE_ATTACH")
    }),
    Action::new("ptrace-seize", "Seizes a child", |_| {
        let child = Child::waiting()?;
        trace(libc::PTRACE_SEIZE, child.pid(), 0, 0)?;
        facts(&child, "ptrace", "PTRACE_SEIZE")
    }),
    Action::new("ptrace-poke", "Writes to the memory of a child", poke),
    Action::new(
        "process-vm-writev",
        "Writes to it with process_vm_writev",
        |_| copy_memory("process_vm_writev", libc::SYS_process_vm_writev),
    ),
    Action::new(
        "proc-mem-write",
        "Writes to the memory of a child by its file in /proc",
        proc_mem,
    ),
    Action::new(
        "pidfd-getfd",
        "Takes a descriptor of a child",
        take_descriptor,
    ),
    Action::new(
        "signal-outside",
        "Sends a signal to a process outside, with the host's process ids",
        |inside| signal("kill", inside),
    )
    .with(Outside::ProcessInView),
    Action::new("tgkill-outside", "The same with tgkill(2)", |inside| {
        signal("tgkill", inside)
    })
    .with(Outside::ProcessInView),
    Action::new(
        "signal-other-container",
        "Sends a signal to a process of another container",
        |inside| {
            let mut facts = signal("kill", inside)?;
            facts["other"] = inside.get("other")?.into();
            Ok(facts)
        },
    )
    .with(Outside::OtherContainerInView),
    Action::new(
        "ptrace-outside",
        "Attaches to a process outside, with the host's process ids",
        trace_outside,
    )
    .with(Outside::ProcessInView),
];

/// Here, and so at the same place in every child.
static WORD: u64 = 0x5747_5747_5747_5747;

fn facts(child: &Child, call: &str, request: &str) -> Result<Value> {
    Ok(json!({
        "call": call, "request": request, "target": child.host_pid,
        "claimed": child.pid().as_raw(),
    }))
}

fn trace(request: libc::c_uint, pid: Pid, address: usize, data: usize) -> Result<()> {
    let arguments = [
        sys::word(request),
        usize::try_from(pid.as_raw())?,
        address,
        data,
    ];
    // SAFETY: addresses are those of the other process; nothing is written here.
    let outcome = unsafe { sys::call(libc::SYS_ptrace, arguments) };
    offered(outcome, "could not trace a process")?;
    Ok(())
}

fn poke(_: &Inside) -> Result<Value> {
    // On the stack, which can be written.
    let word = std::hint::black_box(WORD);
    let child = Child::waiting()?;
    trace(libc::PTRACE_ATTACH, child.pid(), 0, 0)?;
    waitpid(child.pid(), None).context("could not wait for the child to stop")?;
    let address = (&raw const word).expose_provenance();
    trace(
        libc::PTRACE_POKEDATA,
        child.pid(),
        address,
        usize::try_from(WORD)?,
    )?;
    facts(&child, "ptrace", "PTRACE_POKEDATA")
}

/// Copies eight bytes between the same variable here and in a child, where they are the same.
fn copy_memory(call: &str, number: c_long) -> Result<Value> {
    let mut word = std::hint::black_box(WORD);
    let child = Child::waiting()?;
    let vector = libc::iovec {
        iov_base: (&raw mut word).cast(),
        iov_len: size_of_val(&word),
    };
    let address = (&raw const vector).expose_provenance();
    let pid = usize::try_from(child.pid().as_raw())?;
    // SAFETY: both vectors name `word`, here and in the child; what is copied is what is there already.
    let copied = unsafe { sys::call(number, [pid, address, 1, address, 1, 0]) };
    offered(copied, call)?;
    facts(&child, call, "")
}

fn proc_mem(_: &Inside) -> Result<Value> {
    let word = std::hint::black_box(WORD);
    let child = Child::waiting()?;
    let path = format!("/proc/{}/mem", child.pid());
    let memory = File::options().read(true).write(true).open(&path);
    let memory = memory.with_context(|| format!("could not open {path}"))?;
    let address = u64::try_from((&raw const word).expose_provenance())?;
    let written = memory.write_at(&word.to_ne_bytes(), address);
    offered(written, "could not write to the memory of a child")?;
    let mut facts = facts(&child, "openat", "")?;
    facts["path"] = path.into();
    facts["access"] = json!(["read", "write"]);
    Ok(facts)
}

fn take_descriptor(_: &Inside) -> Result<Value> {
    let child = Child::waiting()?;
    let pid = usize::try_from(child.pid().as_raw())?;
    // SAFETY: both arguments are numbers.
    let pidfd = unsafe { sys::call(libc::SYS_pidfd_open, [pid, 0]) };
    // SAFETY: the call just returned it.
    let pidfd: OwnedFd = unsafe { sys::descriptor(offered(pidfd, "pidfd_open")?) }?;
    let arguments = [usize::try_from(pidfd.as_raw_fd())?, 1, 0];
    // SAFETY: all arguments are numbers.
    let taken = unsafe { sys::call(libc::SYS_pidfd_getfd, arguments) };
    // SAFETY: the call just returned it.
    drop(unsafe { sys::descriptor(offered(taken, "pidfd_getfd")?) }?);
    facts(&child, "pidfd_getfd", "")
}

fn helper(inside: &Inside) -> Result<Pid> {
    Ok(Pid::from_raw(inside.get("helper")?.parse()?))
}

/// SIGCONT, which does nothing to a process that runs.
fn signal(call: &str, inside: &Inside) -> Result<Value> {
    let target = helper(inside)?;
    if call == "kill" {
        kill(target, Signal::SIGCONT).context("could not send a signal")?;
    } else {
        let pid = usize::try_from(target.as_raw())?;
        let number = usize::try_from(libc::SIGCONT)?;
        // SAFETY: all arguments are numbers.
        unsafe { sys::call(libc::SYS_tgkill, [pid, pid, number]) }
            .context("could not send a signal")?;
    }
    Ok(json!({"number": libc::SIGCONT, "target": target.as_raw()}))
}

fn trace_outside(inside: &Inside) -> Result<Value> {
    let target = helper(inside)?;
    trace(libc::PTRACE_SEIZE, target, 0, 0)?;
    // Nothing stopped it, so there is nothing to undo: a tracer's end lets go.
    let alive = kill(target, None);
    ensure!(
        alive == Ok(()) || alive == Err(Errno::EPERM),
        "the process is gone"
    );
    Ok(json!({
        "call": "ptrace", "request": "PTRACE_SEIZE", "target": target.as_raw(),
        "claimed": target.as_raw(), "outside": true,
    }))
}
