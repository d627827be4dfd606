//! What an action reports of itself.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use serde_json::{Value, json};

use super::root::HOST_PROC;

/// The kernel or the host does not offer what an action needs.
#[derive(Debug)]
pub(super) struct NotOffered(pub(super) String);

impl std::fmt::Display for NotOffered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotOffered {}

/// The caller's process id on the host.
pub(super) fn host_pid() -> Result<u32> {
    let link = format!("{HOST_PROC}/self");
    let target = fs::read_link(&link).with_context(|| format!("could not read {link}"))?;
    target
        .to_str()
        .and_then(|text| text.parse().ok())
        .with_context(|| format!("{link} leads to {}", target.display()))
}

/// Name of an error of a system call ("ENOENT").
pub(super) fn error_name(error: &io::Error) -> String {
    format!("{:?}", Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

/// How a system call ended, as facts: `call`, `result` and `error`.
pub(super) fn outcome(call: &str, outcome: &io::Result<i64>) -> Vec<(String, Value)> {
    let (result, error) = match outcome {
        Ok(result) => (*result, String::new()),
        Err(error) => (
            -i64::from(error.raw_os_error().unwrap_or(0)),
            error_name(error),
        ),
    };
    vec![
        ("call".to_owned(), call.into()),
        ("result".to_owned(), result.into()),
        ("error".to_owned(), error.into()),
    ]
}

/// The value of a call whose failure, for one of the reasons below, means that the kernel or host does not offer it.
pub(super) fn offered<T>(outcome: io::Result<T>, what: &str) -> Result<T> {
    const REFUSALS: [i32; 9] = [
        libc::ENOSYS,
        libc::EPERM,
        libc::EOPNOTSUPP,
        libc::EAFNOSUPPORT,
        libc::EPROTONOSUPPORT,
        libc::ESOCKTNOSUPPORT,
        libc::ENODEV,
        libc::ENXIO,
        libc::ENOENT,
    ];
    match outcome {
        Err(error)
            if error
                .raw_os_error()
                .is_some_and(|code| REFUSALS.contains(&code)) =>
        {
            Err(NotOffered(format!("{what}: {error}")).into())
        }
        other => other.with_context(|| what.to_owned()),
    }
}

/// As an action's result: that a call's system call number is unknown to this kernel is no outcome worth a look.
pub(super) fn implemented(call: &str, result: &io::Result<i64>) -> Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            Err(NotOffered(format!("this kernel has no {call}")).into())
        }
        _ => Ok(()),
    }
}

/// Inode and device of a file.
pub(super) fn identity(path: &str) -> Result<Vec<(String, Value)>> {
    let metadata =
        fs::symlink_metadata(path).with_context(|| format!("could not look at {path}"))?;
    Ok(vec![
        ("inode".to_owned(), metadata.ino().into()),
        ("device_number".to_owned(), device(metadata.dev()).into()),
    ])
}

/// A device number as `major:minor`.
pub(super) fn device(number: u64) -> String {
    format!("{}:{}", libc::major(number), libc::minor(number))
}

/// Inodes of the caller's namespaces, by name.
pub(super) fn namespaces() -> Result<Value> {
    namespaces_of("/proc/self")
}

/// Inodes of the namespaces of the process that a directory of /proc is about, by name.
pub(super) fn namespaces_of(process: &str) -> Result<Value> {
    let mut inodes = json!({});
    for name in ["mnt", "pid", "net", "uts", "ipc", "cgroup", "user"] {
        inodes[name] = namespace(&format!("{process}/ns/{name}"))?.into();
    }
    Ok(inodes)
}

/// Inode that a link such as `/proc/self/ns/net` names.
fn namespace(link: &str) -> Result<u64> {
    let target = fs::read_link(link).with_context(|| format!("could not read {link}"))?;
    let text = target.to_string_lossy();
    let inode = text
        .split_once('[')
        .and_then(|(_, rest)| rest.strip_suffix(']'));
    inode
        .and_then(|inode| inode.parse().ok())
        .with_context(|| format!("{link} leads to {text}"))
}
