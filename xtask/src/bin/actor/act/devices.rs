//! Device files: made in the container, and opened.

use std::ffi::c_long;
use std::fs::{self, File};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::facts::{NotOffered, device, identity, implemented, offered, outcome};
use super::{Action, Inside, gathered, sys};

pub(super) const ACTIONS: &[Action] = &[
    #[cfg(target_arch = "x86_64")]
    Action::new("mknod", "Makes the file of a block device", |_| {
        make("mknod", libc::SYS_mknod, &[])
    }),
    Action::new("mknodat", "The same with mknodat(2)", |_| {
        make("mknodat", libc::SYS_mknodat, &[sys::signed(libc::AT_FDCWD)])
    }),
    Action::new(
        "open-block-device",
        "Opens an unused loop device",
        open_block,
    ),
    Action::new("open-memory", "Opens the memory of the machine", |_| {
        open(libc::S_IFCHR, libc::makedev(1, 1), "/tmp/memory")
    }),
];

/// Of SCSI disks. Nothing opens it.
const DISK: (u32, u32) = (8, 0);

fn make(call: &str, number: c_long, before: &[usize]) -> Result<Value> {
    const PATH: &str = "/tmp/disk";
    let path = sys::text(PATH)?;
    let device = libc::makedev(DISK.0, DISK.1);
    let mode = sys::word(libc::S_IFBLK | 0o600);
    let rest = [
        path.as_ptr().expose_provenance(),
        mode,
        usize::try_from(device)?,
    ];
    let mut arguments = [0; 6];
    for (to, from) in arguments.iter_mut().zip(before.iter().chain(&rest)) {
        *to = *from;
    }
    // SAFETY: `path` is a text; the other arguments are numbers.
    let result = unsafe { sys::call(number, arguments) };
    implemented(call, &result)?;
    let mut facts = outcome(call, &result);
    offered(result, "could not make a device file")?;
    facts.push(("path".to_owned(), PATH.into()));
    facts.push(("device".to_owned(), format!("{}:{}", DISK.0, DISK.1).into()));
    facts.push(("mode".to_owned(), "600".into()));
    Ok(gathered(facts))
}

/// A loop device that nothing is behind: opening it shows nobody anything.
fn open_block(_: &Inside) -> Result<Value> {
    let number = fs::read_dir("/sys/block")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("loop"))
        .filter(|entry| {
            let size = fs::read_to_string(entry.path().join("size"));
            size.is_ok_and(|size| size.trim() == "0")
        })
        .find_map(|entry| fs::read_to_string(entry.path().join("dev")).ok());
    let number = number.ok_or_else(|| NotOffered("no unused loop device is here".to_owned()))?;
    let (major, minor) = number
        .trim()
        .split_once(':')
        .context("a device number is not MAJOR:MINOR")?;
    let device = libc::makedev(major.parse()?, minor.parse()?);
    open(libc::S_IFBLK, device, "/tmp/disk")
}

/// Makes the file of a device and opens it to read.
fn open(kind: libc::mode_t, number: libc::dev_t, path: &str) -> Result<Value> {
    let name = sys::text(path)?;
    // SAFETY: `name` is a text; the other arguments are numbers.
    let made = unsafe { libc::mknod(name.as_ptr(), kind | 0o600, number) };
    let made = nix::errno::Errno::result(made).map_err(Into::into);
    offered(made, "could not make a device file")?;
    drop(offered(File::open(path), "could not open the device")?);
    let mut facts = identity(path)?;
    facts.push(("call".to_owned(), "openat".into()));
    facts.push(("path".to_owned(), path.into()));
    facts.push(("device".to_owned(), device(number).into()));
    Ok(gathered(facts))
}
