//! Programs that are run with more rights than their caller has, with variables of the dynamic loader, or from memory.

use std::fs;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::changes::{CAPABILITY, NET_RAW_CAPABILITY};
use super::facts::offered;
use super::{ACTOR, Action, Inside, sys};

pub(super) const ACTIONS: &[Action] = &[
    Action::new(
        "exec-setuid",
        "Runs a setuid program as another user",
        setuid,
    ),
    Action::new(
        "exec-file-capability",
        "Runs a program with a capability as another user",
        capable,
    ),
    Action::new("ld-preload", "Runs a program with LD_PRELOAD", |_| {
        with_variable("LD_PRELOAD", "/nonexistent.so")
    }),
    Action::new("ld-audit", "Runs a program with LD_AUDIT", |_| {
        with_variable("LD_AUDIT", "/nonexistent.so")
    }),
    Action::new(
        "ld-library-path",
        "Runs a program with LD_LIBRARY_PATH",
        |_| with_variable("LD_LIBRARY_PATH", "/nonexistent"),
    ),
    Action::new(
        "glibc-tunables",
        "Runs a program with GLIBC_TUNABLES",
        |_| with_variable("GLIBC_TUNABLES", "glibc.malloc.check=1"),
    ),
    Action::new(
        "exec-setuid-after-alg",
        "Makes a socket for kernel cryptography, and then runs a setuid program as another user",
        |inside| {
            super::sockets::alg()?;
            setuid(inside)
        },
    ),
    Action::new("memfd-exec", "Runs a program from memory", from_memory),
];

const COPY: &str = "/tmp/copy";
const USER: u32 = 65_534;

/// Runs `program noop` and returns its process id on the host.
pub(super) fn noop(command: &mut Command) -> Result<u32> {
    let output = command
        .arg("noop")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .context("could not run a program")?;
    ensure!(
        output.status.success(),
        "a program ended with {}",
        output.status
    );
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .with_context(|| format!("a program said `{text}` for its process id"))
}

fn setuid(_: &Inside) -> Result<Value> {
    fs::copy(ACTOR, COPY).context("could not copy a program")?;
    fs::set_permissions(COPY, fs::Permissions::from_mode(0o4755))?;
    let mut command = Command::new(COPY);
    let pid = noop(command.uid(USER).gid(USER))?;
    Ok(json!({"pid": pid, "call": "exec", "uid": USER, "euid_before": USER, "euid_after": 0}))
}

fn capable(_: &Inside) -> Result<Value> {
    fs::copy(ACTOR, COPY).context("could not copy a program")?;
    let (path, name) = (sys::text(COPY)?, sys::text(CAPABILITY)?);
    let arguments = [
        path.as_ptr().expose_provenance(),
        name.as_ptr().expose_provenance(),
        NET_RAW_CAPABILITY.as_ptr().expose_provenance(),
        NET_RAW_CAPABILITY.len(),
    ];
    // SAFETY: path and name are texts, and the value is as long as is said.
    let set = unsafe { sys::call(libc::SYS_setxattr, arguments) };
    offered(set, "could not give a file a capability")?;
    let mut command = Command::new(COPY);
    let pid = noop(command.uid(USER).gid(USER))?;
    Ok(json!({"pid": pid, "call": "exec", "uid": USER, "capability": "CAP_NET_RAW"}))
}

fn with_variable(name: &str, value: &str) -> Result<Value> {
    let mut command = Command::new(ACTOR);
    command.env(name, value);
    let pid = noop(&mut command)?;
    Ok(json!({"pid": pid, "name": name, "value": value}))
}

/// The actor as a file in memory.
pub(super) fn in_memory(name: &str) -> Result<fs::File> {
    let name = sys::text(name)?;
    // SAFETY: the name is a text.
    let made = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    let made = nix::errno::Errno::result(made).map_err(Into::into);
    let made = offered(made, "could not make a memfd")?;
    // SAFETY: the call just returned it.
    let mut memory = fs::File::from(unsafe { sys::descriptor(made.into()) }?);
    let program = fs::read(ACTOR).context("could not read a program")?;
    memory
        .write_all(&program)
        .context("could not fill a memfd")?;
    Ok(memory)
}

fn from_memory(_: &Inside) -> Result<Value> {
    let memory = in_memory("from-memory")?;
    let inode = memory.metadata()?.ino();
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let pid = noop(&mut Command::new(path))?;
    Ok(json!({"pid": pid, "name": "from-memory", "inode": inode}))
}
