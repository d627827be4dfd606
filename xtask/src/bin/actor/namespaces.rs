//! Starting processes in new namespaces, or in those of a running process, the way runc does.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

use anyhow::{Context as _, Result};
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, setns, unshare};

/// Those that a process can enter itself. A PID namespace is entered by children only.
const ENTERED: [(&str, CloneFlags); 4] = [
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("net", CloneFlags::CLONE_NEWNET),
    // Last: /proc and everything else is the other's from here on.
    ("mnt", CloneFlags::CLONE_NEWNS),
];

/// Whether a container has process ids of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pids {
    /// `/proc` still shows those of the host.
    Own,
    /// `/proc` shows them.
    OwnInProc,
    /// Those of the host, as a pod with `hostPID: true` has.
    Host,
}

/// Starts `command` in new mount, UTS, IPC and network namespaces, in the cgroup behind `door`; unless with
/// [`Pids::Host`] as process 1 of a new PID namespace.
pub(crate) fn spawn_new(mut command: Command, pids: Pids, door: File) -> Result<Child> {
    let enter = move || {
        nix::unistd::write(&door, b"0")?;
        unshare(
            ENTERED
                .iter()
                .fold(CloneFlags::empty(), |flags, (_, flag)| flags | *flag),
        )?;
        // Nothing that is mounted from here on shows outside.
        nix::mount::mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )?;
        if pids == Pids::OwnInProc {
            let proc = Some("proc");
            nix::mount::mount(proc, "/proc", proc, MsFlags::empty(), None::<&str>)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure only makes system calls; it takes no lock, and the paths it passes are
    // short enough for nix to terminate them on the stack.
    unsafe { command.pre_exec(enter) };
    let choose = || match pids {
        Pids::Own | Pids::OwnInProc => unshare(CloneFlags::CLONE_NEWPID),
        Pids::Host => Ok(()),
    };
    children_in(choose, || command.spawn()).context("could not start a process in new namespaces")
}

/// Starts `command` in the namespaces of the process `target` and the cgroup behind `door`; its parent stays outside.
pub(crate) fn spawn_beside(mut command: Command, target: u32, door: File) -> Result<Child> {
    let mut files = Vec::new();
    for (name, flag) in ENTERED {
        files.push((namespace(target, name)?, flag));
    }
    let pids = namespace(target, "pid")?;
    let enter = move || {
        nix::unistd::write(&door, b"0")?;
        for (file, flag) in &files {
            setns(file, *flag)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure only makes system calls on files that are open already.
    unsafe { command.pre_exec(enter) };
    children_in(
        || setns(&pids, CloneFlags::CLONE_NEWPID),
        || command.spawn(),
    )
    .with_context(|| format!("could not start a process in the namespaces of process {target}"))
}

/// Runs `action` in a thread inside the network namespace of the process `target`.
pub(crate) fn in_network_of<T: Send>(
    target: u32,
    action: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let network = namespace(target, "net")?;
    let inside = move || {
        setns(&network, CloneFlags::CLONE_NEWNET)
            .context("could not enter the network namespace")?;
        action()
    };
    std::thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|_| {
        Err(anyhow::anyhow!(
            "the thread in the network namespace panicked"
        ))
    })
}

/// Runs `spawn` while children of this thread start in the PID namespace that `enter` chose, and goes back.
fn children_in<T>(
    enter: impl FnOnce() -> nix::Result<()>,
    spawn: impl FnOnce() -> io::Result<T>,
) -> Result<T> {
    let own = File::open("/proc/self/ns/pid").context("could not open the own PID namespace")?;
    enter().context("could not choose a PID namespace")?;
    let outcome = spawn();
    setns(&own, CloneFlags::CLONE_NEWPID).context("could not go back to the own PID namespace")?;
    Ok(outcome?)
}

fn namespace(process: u32, name: &str) -> Result<File> {
    let path = format!("/proc/{process}/ns/{name}");
    File::open(&path).with_context(|| format!("could not open {path}"))
}
