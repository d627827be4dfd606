//! System calls that seccomp refuses, or kills for.

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use serde_json::{Value, json};

use super::child::Child;
use super::exec::noop;
use super::facts::error_name;
use super::{ACTOR, Action, Inside, sys};

pub(super) const ACTIONS: &[Action] = &[
    Action::new("seccomp-kill", "Has a child that seccomp kills", killed),
    Action::new(
        "seccomp-refused",
        "Tries a mount that seccomp refuses",
        |_| {
            filter(
                libc::SYS_mount,
                libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned(),
            )?;
            let none = c"none".as_ptr().expose_provenance();
            // SAFETY: source, target and type are texts.
            let refused = unsafe { sys::call(libc::SYS_mount, [none, none, none]) };
            let error = refused.err().context("it was not refused")?;
            Ok(json!({"call": "mount", "error": error_name(&error), "result": -libc::EPERM}))
        },
    ),
    Action::new(
        "exec-confined",
        "Runs a program with a filter, and without a way to more privileges",
        |_| {
            filter(
                libc::SYS_swapon,
                libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned(),
            )?;
            let pid = noop(&mut Command::new(ACTOR))?;
            Ok(json!({"pid": pid, "seccomp": libc::SECCOMP_MODE_FILTER}))
        },
    ),
];

fn killed(_: &Inside) -> Result<Value> {
    let child = Child::start(|| {
        filter(libc::SYS_getppid, libc::SECCOMP_RET_KILL_PROCESS)?;
        nix::unistd::getppid();
        bail!("seccomp let it live")
    })?;
    let pid = child.host_pid;
    match child.status()? {
        WaitStatus::Signaled(_, Signal::SIGSYS, _) => {
            Ok(json!({"pid": pid, "signal": libc::SIGSYS}))
        }
        other => bail!("the child ended with {other:?}"),
    }
}

/// From here on the system call `number` has `outcome` for the caller. See seccomp(2).
fn filter(number: libc::c_long, outcome: u32) -> Result<()> {
    let step = |code: u32, jt: u8, jf: u8, k: u32| -> Result<libc::sock_filter> {
        let code = u16::try_from(code)?;
        Ok(libc::sock_filter { code, jt, jf, k })
    };
    // Loads the number, which is the first field of `struct seccomp_data`; skips one step if it is another.
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)?,
        step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            u32::try_from(number)?,
        )?,
        step(libc::BPF_RET | libc::BPF_K, 0, 0, outcome)?,
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW)?,
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(steps.len())?,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: it takes numbers.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    Errno::result(done).context("could not set no_new_privs")?;
    // SAFETY: the program has as many steps as it says, and outlives the call.
    let done = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    Errno::result(done).context("could not install a filter")?;
    Ok(())
}
