//! Changes of the acting process's own credentials.

use std::ffi::c_long;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::facts::{NotOffered, offered};
use super::{Action, Inside, sys};

pub(super) const ACTIONS: &[Action] = &[
    Action::new("setuid", "Becomes another user", |_| {
        change("setuid", libc::SYS_setuid, [USER, 0, 0])
    }),
    Action::new("setreuid", "The same with setreuid(2)", |_| {
        change("setreuid", libc::SYS_setreuid, [USER, USER, 0])
    }),
    Action::new("setresuid", "The same with setresuid(2)", |_| {
        change("setresuid", libc::SYS_setresuid, [USER, USER, USER])
    }),
    Action::new("setgid", "Changes its group", |_| {
        change("setgid", libc::SYS_setgid, [USER, 0, 0])
    }),
    Action::new("setregid", "The same with setregid(2)", |_| {
        change("setregid", libc::SYS_setregid, [USER, USER, 0])
    }),
    Action::new("setresgid", "The same with setresgid(2)", |_| {
        change("setresgid", libc::SYS_setresgid, [USER, USER, USER])
    }),
    Action::new("capset", "Gives CAP_SYS_PTRACE away", capset),
    Action::new("loginuid", "Says which user logged in", login),
    #[cfg(target_arch = "x86_64")]
    Action::new(
        "setuid-ia32",
        "Becomes another user by a system call of 32-bit programs",
        |_| {
            // setuid32.
            ia32(213, [u32::try_from(USER)?, 0, 0])
        },
    ),
    #[cfg(target_arch = "x86_64")]
    Action::new(
        "setresuid-ia32",
        "Becomes root again by such a system call, having been another user",
        |_| {
            let user = u32::try_from(USER)?;
            nix::unistd::seteuid(user.into()).context("could not become another user")?;
            end_with_a_program()?;
            // setresuid32, which leaves what is -1.
            ia32(208, [u32::MAX, 0, u32::MAX])
        },
    ),
];

/// The user and group to become.
const USER: usize = 65_534;

/// User, effective user, group, effective group.
fn ids() -> Value {
    json!({
        "uid": nix::unistd::getuid().as_raw(), "euid": nix::unistd::geteuid().as_raw(),
        "gid": nix::unistd::getgid().as_raw(), "egid": nix::unistd::getegid().as_raw(),
    })
}

fn change(call: &str, number: c_long, arguments: [usize; 3]) -> Result<Value> {
    let before = ids();
    // SAFETY: all arguments are numbers. The acting process has one thread, so no other keeps its old credentials.
    offered(unsafe { sys::call(number, arguments) }, call)?;
    Ok(json!({"call": call, "before": before, "after": ids()}))
}

/// As in linux/capability.h.
const VERSION_3: u32 = 0x2008_0522;
const SYS_PTRACE: u32 = 19;

fn capset(_: &Inside) -> Result<Value> {
    // Version and process, then effective, permitted and inheritable, each in two halves.
    let header = [VERSION_3, 0];
    let mut sets = [[0_u32; 3]; 2];
    let arguments = [
        header.as_ptr().expose_provenance(),
        sets.as_mut_ptr().expose_provenance(),
    ];
    // SAFETY: the kernel writes as many sets as version 3 has.
    unsafe { sys::call(libc::SYS_capget, arguments) }.context("could not get capabilities")?;
    let had = sets[0][0] & 1 << SYS_PTRACE != 0;
    ensure!(had, "CAP_SYS_PTRACE is missing, so it can't be given away");
    for set in &mut sets[0] {
        *set &= !(1 << SYS_PTRACE);
    }
    // SAFETY: as above; now the kernel reads them.
    let set = unsafe { sys::call(libc::SYS_capset, arguments) };
    offered(set, "could not set capabilities")?;
    let half = |index: usize| u64::from(sets[index][0]);
    Ok(json!({
        "call": "capset", "capability": "CAP_SYS_PTRACE", "after": half(1) << 32 | half(0),
    }))
}

fn login(_: &Inside) -> Result<Value> {
    const FILE: &str = "/proc/self/loginuid";
    const LOGIN: u32 = 4_711;
    let written = fs::write(FILE, LOGIN.to_string());
    offered(written, "could not say which user logged in")?;
    end_with_a_program()?;
    Ok(json!({"login_uid": LOGIN}))
}

/// Something that every agent sees, after which a change that came before can show.
fn end_with_a_program() -> Result<()> {
    let mut noop = std::process::Command::new(super::ACTOR);
    let output = noop
        .arg("noop")
        .stdin(std::process::Stdio::null())
        .output()
        .context("could not run a program")?;
    ensure!(
        output.status.success(),
        "a program ended with {}",
        output.status
    );
    Ok(())
}

/// Where tracepoints of single system calls do not see those of 32-bit programs, nothing explains the change.
#[cfg(target_arch = "x86_64")]
fn ia32(number: i32, arguments: [u32; 3]) -> Result<Value> {
    use super::child::Child;
    use nix::sys::signal::Signal;
    use nix::sys::wait::WaitStatus;

    // A kernel without it answers with SIGSEGV: a child finds out.
    let probe = Child::start(|| {
        // SAFETY: getuid32 takes nothing.
        unsafe { interrupt(199, [0; 3]) };
        Ok(())
    })?;
    if let WaitStatus::Signaled(_, Signal::SIGSEGV, _) = probe.status()? {
        return Err(NotOffered("this kernel runs no 32-bit programs".to_owned()).into());
    }
    let before = ids();
    // SAFETY: the calls that are made so take numbers.
    let result = unsafe { interrupt(number, arguments) };
    if result == -libc::ENOSYS {
        return Err(NotOffered("this kernel runs no 32-bit programs".to_owned()).into());
    }
    ensure!(result == 0, "a 32-bit call returned {result}");
    end_with_a_program()?;
    Ok(json!({"before": before, "after": ids()}))
}

/// Makes a system call as 32-bit programs do.
///
/// # Safety
///
/// `arguments` must be what the call takes, and no addresses above 4 GiB.
#[cfg(target_arch = "x86_64")]
unsafe fn interrupt(number: i32, arguments: [u32; 3]) -> i32 {
    let mut result = number;
    let [first, second, third] = arguments;
    // SAFETY: the kernel keeps all registers but rax and, in some versions, r8 to r11. rbx is put back, as the compiler
    // keeps it for itself.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) u64::from(first) => _,
            in("rcx") u64::from(second),
            in("rdx") u64::from(third),
            inout("eax") result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    result
}
