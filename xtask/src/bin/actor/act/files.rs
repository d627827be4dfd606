//! Opens of a watched file by every way that leads to it, and of files outside the container.

use std::fs::{self, File};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::symlink;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::facts::{identity, offered};
use super::host::Outside;
use super::root::{HOST_PROC, bind};
use super::{Action, Inside, sys};

pub(super) const ACTIONS: &[Action] = &[
    Action::new("shadow-openat", "Reads /etc/shadow", |_| {
        open(SHADOW, SHADOW)
    }),
    #[cfg(target_arch = "x86_64")]
    Action::new("shadow-open", "The same with open(2)", |_| {
        let path = sys::text(SHADOW)?;
        // SAFETY: `path` is a text; the other arguments are numbers.
        let opened =
            unsafe { sys::call(libc::SYS_open, [path.as_ptr().expose_provenance(), READ]) };
        opened_by("open", opened, SHADOW, SHADOW)
    }),
    Action::new("shadow-openat2", "The same with openat2(2)", |_| openat2()),
    Action::new("shadow-symlink", "Reads it through a symbolic link", |_| {
        symlink(SHADOW, "/tmp/link").context("could not make a link")?;
        open("/tmp/link", SHADOW)
    }),
    Action::new("shadow-dotdot", "Reads it by a path with ..", |_| {
        open("/tmp/../etc/cron.d/../shadow", SHADOW)
    }),
    Action::new("shadow-relative", "Reads it by a relative path", |_| {
        std::env::set_current_dir("/etc").context("could not enter /etc")?;
        open("shadow", SHADOW)
    }),
    Action::new("shadow-proc-root", "Reads it by /proc/self/root", |_| {
        open("/proc/self/root/etc/shadow", SHADOW)
    }),
    Action::new(
        "shadow-descriptor",
        "Opens it again by /proc/self/fd",
        |_| {
            let path_only = {
                let path = sys::text(SHADOW)?;
                // SAFETY: `path` is a text; the other arguments are numbers.
                let opened = unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
                let opened = nix::errno::Errno::result(opened).context("could not open it")?;
                // SAFETY: it is open, and nothing else owns it.
                unsafe { sys::descriptor(opened.into()) }?
            };
            open(&format!("/proc/self/fd/{}", path_only.as_raw_fd()), SHADOW)
        },
    ),
    Action::new(
        "shadow-bind",
        "Reads it through a bind mount of /etc",
        |_| {
            fs::create_dir("/tmp/elsewhere").context("could not make a directory")?;
            bind("/etc", "/tmp/elsewhere")?;
            open("/tmp/elsewhere/shadow", "/tmp/elsewhere/shadow")
        },
    ),
    Action::new("shadow-hard-link", "Reads it by another name", |_| {
        fs::hard_link(SHADOW, "/tmp/other-name").context("could not make a link")?;
        open("/tmp/other-name", "/tmp/other-name")
    }),
    Action::new("cron-create", "Makes a file in /etc/cron.d", |_| {
        let created = File::create(JOB).context("could not make a file")?;
        drop(created);
        written(&["write", "create", "truncate"])
    }),
    Action::new(
        "cron-append",
        "Opens a file in /etc/cron.d to append",
        |_| {
            fs::write(JOB, "#").context("could not make a file")?;
            let file = File::options().append(true).open(JOB);
            drop(file.context("could not open it")?);
            written(&["write", "append"])
        },
    ),
    #[cfg(target_arch = "x86_64")]
    Action::new("cron-creat", "Makes a file there with creat(2)", |_| {
        let path = sys::text(JOB)?;
        // SAFETY: `path` is a text; the other argument is a number.
        let made =
            unsafe { sys::call(libc::SYS_creat, [path.as_ptr().expose_provenance(), 0o644]) };
        opened_by("creat", made, JOB, JOB)
    }),
    Action::new(
        "open-by-handle",
        "Opens a file by its handle",
        open_by_handle,
    ),
    Action::new(
        "open-other-root",
        "Opens a file of the host through /proc/PID/root",
        other_root,
    )
    .with(Outside::Process),
];

const SHADOW: &str = "/etc/shadow";
const JOB: &str = "/etc/cron.d/job";
const READ: usize = libc::O_RDONLY as usize;

/// Opens `path`, which the kernel resolves to `resolved`.
fn open(path: &str, resolved: &str) -> Result<Value> {
    File::open(path).with_context(|| format!("could not open {path}"))?;
    read_facts("openat", resolved, path)
}

/// Closes what a system call opened.
fn opened_by(
    call: &str,
    opened: std::io::Result<i64>,
    resolved: &str,
    given: &str,
) -> Result<Value> {
    let opened = offered(opened, call)?;
    // SAFETY: the call just returned it.
    drop(unsafe { sys::descriptor(opened) }?);
    read_facts(call, resolved, given)
}

fn read_facts(call: &str, resolved: &str, given: &str) -> Result<Value> {
    let mut facts = identity(resolved)?;
    let common = json!({"call": call, "path": resolved, "given": given});
    facts.extend(common.as_object().cloned().unwrap_or_default());
    Ok(super::gathered(facts))
}

fn written(access: &[&str]) -> Result<Value> {
    let mut facts = identity(JOB)?;
    let common = json!({"call": "openat", "path": JOB, "access": access});
    facts.extend(common.as_object().cloned().unwrap_or_default());
    Ok(super::gathered(facts))
}

fn openat2() -> Result<Value> {
    let path = sys::text(SHADOW)?;
    // SAFETY: `open_how` is plain data, for which all zeroes is a value: reading.
    let how: libc::open_how = unsafe { std::mem::zeroed() };
    let arguments = [
        sys::signed(libc::AT_FDCWD),
        path.as_ptr().expose_provenance(),
        (&raw const how).expose_provenance(),
        size_of_val(&how),
    ];
    // SAFETY: `path` is a text, and `how` is as long as is said.
    let opened = unsafe { sys::call(libc::SYS_openat2, arguments) };
    opened_by("openat2", opened, SHADOW, SHADOW)
}

/// As `struct file_handle`, with room for any handle (MAX_HANDLE_SZ).
#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    data: [u8; 128],
}

fn open_by_handle(_: &Inside) -> Result<Value> {
    const PATH: &str = "/tmp/handled";
    super::file(PATH, b"watchkeeper")?;
    let mount: OwnedFd = File::open("/tmp").context("could not open /tmp")?.into();
    let path = sys::text(PATH)?;
    let mut handle = Handle {
        bytes: 128,
        kind: 0,
        data: [0; 128],
    };
    let mut mount_id = 0_i32;
    let arguments = [
        sys::signed(libc::AT_FDCWD),
        path.as_ptr().expose_provenance(),
        (&raw mut handle).expose_provenance(),
        (&raw mut mount_id).expose_provenance(),
        0,
    ];
    // SAFETY: `path` is a text; the kernel writes a handle of at most 128 bytes, and a number.
    let found = unsafe { sys::call(libc::SYS_name_to_handle_at, arguments) };
    offered(found, "could not get a handle")?;
    let arguments = [
        usize::try_from(mount.as_raw_fd())?,
        (&raw const handle).expose_provenance(),
        READ,
    ];
    // SAFETY: `handle` is what the kernel made it.
    let opened = unsafe { sys::call(libc::SYS_open_by_handle_at, arguments) };
    opened_by("open_by_handle_at", opened, PATH, PATH)
}

fn other_root(inside: &Inside) -> Result<Value> {
    const NAME: &str = "/etc/group";
    let helper: u32 = inside.get("helper")?.parse()?;
    let given = format!("{HOST_PROC}/{helper}/root{NAME}");
    let namespaces = super::facts::namespaces_of(&format!("{HOST_PROC}/{helper}"))?;
    drop(File::open(&given).with_context(|| format!("could not open {given}"))?);
    Ok(json!({
        "call": "openat", "path": NAME, "given": given, "mount_namespace": namespaces["mnt"],
    }))
}
