//! The same things done in ways that are meant to escape notice: by a thread, by a child without a program of its own, by a
//! program that is run without a path, under other arguments.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::child::Child;
use super::facts::{identity, offered};
use super::{ACTOR, Action, Inside, exec, sys};

pub(super) const ACTIONS: &[Action] = &[
    Action::new("shadow-thread", "A second thread reads /etc/shadow", |_| {
        by_thread(open_shadow)?;
        shadow(None)
    }),
    Action::new(
        "shadow-forked",
        "A child without a program of its own reads it",
        |_| shadow(Some(by_child(open_shadow)?)),
    ),
    Action::new(
        "shadow-arguments",
        "Reads it after it wrote over its own arguments",
        |_| {
            overwrite_arguments()?;
            open_shadow()?;
            shadow(None)
        },
    ),
    Action::new(
        "kubelet-thread",
        "A second thread connects to the port of a kubelet",
        |_| {
            by_thread(ask_kubelet)?;
            kubelet(None)
        },
    ),
    Action::new(
        "kubelet-forked",
        "A child without a program of its own connects to it",
        |_| kubelet(Some(by_child(ask_kubelet)?)),
    ),
    Action::new(
        "execveat-memfd",
        "Runs a program from memory, without a path",
        |_| from_memory(run_descriptor),
    ),
    Action::new(
        "execveat-thread",
        "The same by a second thread, which takes the place of the first",
        |_| from_memory(run_by_thread),
    ),
    Action::new(
        "execveat-copy",
        "Runs a file that it wrote, without a path",
        written_file,
    ),
];

const SHADOW: &str = "/etc/shadow";

/// As [`exec::noop`] is run.
const ARGUMENTS: [&std::ffi::CStr; 2] = [c"kworker", c"noop"];

fn by_thread(action: fn() -> Result<()>) -> Result<()> {
    let thread = thread::spawn(action);
    thread.join().ok().context("the thread panicked")?
}

/// By a child that runs no program of its own; returns its process id on the host.
fn by_child(action: fn() -> Result<()>) -> Result<u32> {
    let child = Child::start(action)?;
    let pid = child.host_pid;
    child.finish()?;
    Ok(pid)
}

fn open_shadow() -> Result<()> {
    drop(File::open(SHADOW).with_context(|| format!("could not open {SHADOW}"))?);
    Ok(())
}

/// Facts of a read, by another process than the acting one where that is given.
fn shadow(by: Option<u32>) -> Result<Value> {
    let mut facts = identity(SHADOW)?;
    facts.extend([
        ("call".to_owned(), "openat".into()),
        ("path".to_owned(), SHADOW.into()),
    ]);
    facts.extend(by.map(|pid| ("pid".to_owned(), pid.into())));
    Ok(super::gathered(facts))
}

const KUBELET: u16 = 10_250;

/// Nobody listens there.
fn ask_kubelet() -> Result<()> {
    let outcome = TcpStream::connect((Ipv4Addr::LOCALHOST, KUBELET));
    ensure!(outcome.is_err(), "somebody listens at port {KUBELET}");
    Ok(())
}

fn kubelet(by: Option<u32>) -> Result<Value> {
    let mut facts = json!({"address": Ipv4Addr::LOCALHOST.to_string(), "port": KUBELET});
    if let Some(pid) = by {
        facts["pid"] = pid.into();
    }
    Ok(facts)
}

/// Where the kernel has the arguments: fields 48 and 49 of proc_pid_stat(5).
fn overwrite_arguments() -> Result<()> {
    let stat = fs::read_to_string("/proc/self/stat").context("could not read /proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").context("a process without a name")?;
    let field = |number: usize| -> Result<usize> {
        let text = fields
            .split(' ')
            .nth(number - 3)
            .context("a field is missing")?;
        Ok(text.trim().parse()?)
    };
    let (start, end) = (field(48)?, field(49)?);
    ensure!(start != 0 && start < end, "the arguments are nowhere");
    let other = b"nginx: worker process";
    for (index, address) in (start..end).enumerate() {
        let byte = other.get(index).copied().unwrap_or(0);
        // SAFETY: the kernel says that the arguments lie there, in memory that may be written; nothing reads them any more,
        // as they were parsed.
        unsafe { std::ptr::with_exposed_provenance_mut::<u8>(address).write_volatile(byte) };
    }
    let shown = fs::read("/proc/self/cmdline").context("could not read /proc/self/cmdline")?;
    let length = other.len().min(end - start);
    ensure!(
        shown.get(..length) == other.get(..length),
        "others still see the arguments"
    );
    Ok(())
}

/// Runs a program from memory in a child. Facts as of [`exec`]'s.
fn from_memory(run: fn(&File) -> Result<()>) -> Result<Value> {
    const NAME: &str = "without-path";
    let program = exec::in_memory(NAME)?;
    let inode = program.metadata()?.ino();
    let pid = in_child(|| run(&program))?;
    Ok(json!({"pid": pid, "name": NAME, "inode": inode}))
}

fn written_file(_: &Inside) -> Result<Value> {
    const COPY: &str = "/tmp/written";
    fs::copy(ACTOR, COPY).context("could not copy a program")?;
    let program = File::open(COPY).context("could not open a copy")?;
    let inode = program.metadata()?.ino();
    let pid = in_child(|| run_descriptor(&program))?;
    Ok(json!({"pid": pid, "path": COPY, "inode": inode}))
}

/// A child that becomes a program, which ends well.
fn in_child(body: impl FnOnce() -> Result<()>) -> Result<u32> {
    let child = Child::start(|| {
        // What the program prints is not the actor's.
        let nowhere = File::options().write(true).open("/dev/null")?;
        // SAFETY: both are descriptors, and nothing owns standard output.
        let moved = unsafe { libc::dup2(nowhere.as_raw_fd(), libc::STDOUT_FILENO) };
        nix::errno::Errno::result(moved).context("could not put standard output away")?;
        body()
    })?;
    let pid = child.host_pid;
    child.finish()?;
    Ok(pid)
}

/// Returns only where it fails.
fn run_descriptor(program: &File) -> Result<()> {
    let arguments = ARGUMENTS.map(|argument| argument.as_ptr().expose_provenance());
    let pointers = [arguments[0], arguments[1], 0];
    let none = [0_usize];
    let given = [
        usize::try_from(program.as_raw_fd())?,
        c"".as_ptr().expose_provenance(),
        pointers.as_ptr().expose_provenance(),
        none.as_ptr().expose_provenance(),
        usize::try_from(libc::AT_EMPTY_PATH)?,
    ];
    // SAFETY: path and arguments are texts, and both lists end with zero.
    offered(unsafe { sys::call(libc::SYS_execveat, given) }, "execveat")?;
    Ok(())
}

fn run_by_thread(program: &File) -> Result<()> {
    let program = program.try_clone()?;
    let thread = thread::spawn(move || run_descriptor(&program));
    thread.join().ok().context("the thread panicked")?
}
