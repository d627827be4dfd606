//! Changes of watched paths by each system call, and files made executable, setuid or capable.

use std::ffi::c_long;
use std::fs::File;
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::facts::{implemented, offered, outcome};
use super::{Action, gathered, sys};

pub(super) const ACTIONS: &[Action] = &[
    #[cfg(target_arch = "x86_64")]
    Action::new("rename", "Renames a file into /etc/cron.d", |_| {
        two_paths("rename", libc::SYS_rename, MADE, &[Old, New])
    }),
    Action::new("renameat", "The same with renameat(2)", |_| {
        two_paths("renameat", libc::SYS_renameat, MADE, &[At, Old, At, New])
    }),
    Action::new("renameat2", "The same with renameat2(2)", |_| {
        two_paths("renameat2", libc::SYS_renameat2, MADE, &[At, Old, At, New])
    }),
    #[cfg(target_arch = "x86_64")]
    Action::new("link", "Gives a file a second name in /etc/cron.d", |_| {
        two_paths("link", libc::SYS_link, MADE, &[Old, New])
    }),
    Action::new("linkat", "The same with linkat(2)", |_| {
        two_paths("linkat", libc::SYS_linkat, MADE, &[At, Old, At, New])
    }),
    #[cfg(target_arch = "x86_64")]
    Action::new("symlink", "Makes a symbolic link in /etc/cron.d", |_| {
        two_paths("symlink", libc::SYS_symlink, MADE, &[Old, New])
    }),
    Action::new("symlinkat", "The same with symlinkat(2)", |_| {
        two_paths("symlinkat", libc::SYS_symlinkat, MADE, &[Old, At, New])
    }),
    #[cfg(target_arch = "x86_64")]
    Action::new("unlink", "Removes a file from /etc/cron.d", |_| {
        one_path("unlink", libc::SYS_unlink, JOB, &[Old])
    }),
    Action::new("unlinkat", "The same with unlinkat(2)", |_| {
        one_path("unlinkat", libc::SYS_unlinkat, JOB, &[At, Old])
    }),
    Action::new("truncate", "Cuts a file in /etc/cron.d", |_| {
        one_path("truncate", libc::SYS_truncate, JOB, &[Old])
    }),
    #[cfg(target_arch = "x86_64")]
    Action::new(
        "chmod-executable",
        "Makes a file in /tmp executable",
        |_| {
            let mode = Number(0o755);
            one_path("chmod", libc::SYS_chmod, MADE, &[Old, mode]).map(mode_is("755"))
        },
    ),
    Action::new("fchmodat-executable", "The same with fchmodat(2)", |_| {
        let mode = Number(0o755);
        one_path("fchmodat", libc::SYS_fchmodat, MADE, &[At, Old, mode]).map(mode_is("755"))
    }),
    Action::new("fchmodat2-executable", "The same with fchmodat2(2)", |_| {
        // Newer than the oldest libc that this is built for.
        const FCHMODAT2: c_long = 452;
        let mode = Number(0o755);
        one_path("fchmodat2", FCHMODAT2, MADE, &[At, Old, mode]).map(mode_is("755"))
    }),
    Action::new("fchmod-executable", "The same with fchmod(2)", |_| {
        let mode = Number(0o755);
        one_path("fchmod", libc::SYS_fchmod, MADE, &[Open, mode]).map(mode_is("755"))
    }),
    Action::new("chmod-setuid", "Makes a file in /tmp setuid", |_| {
        let mode = Number(0o4755);
        one_path("fchmodat", libc::SYS_fchmodat, MADE, &[At, Old, mode]).map(mode_is("4755"))
    }),
    #[cfg(target_arch = "x86_64")]
    Action::new(
        "chown",
        "Gives a file in /etc/cron.d to another user",
        |_| {
            let [uid, gid] = OWNER;
            one_path("chown", libc::SYS_chown, JOB, &[Old, uid, gid]).map(owner)
        },
    ),
    #[cfg(target_arch = "x86_64")]
    Action::new("lchown", "The same with lchown(2)", |_| {
        let [uid, gid] = OWNER;
        one_path("lchown", libc::SYS_lchown, JOB, &[Old, uid, gid]).map(owner)
    }),
    Action::new("fchownat", "The same with fchownat(2)", |_| {
        let [uid, gid] = OWNER;
        one_path("fchownat", libc::SYS_fchownat, JOB, &[At, Old, uid, gid]).map(owner)
    }),
    Action::new("fchown", "The same with fchown(2)", |_| {
        let [uid, gid] = OWNER;
        one_path("fchown", libc::SYS_fchown, JOB, &[Open, uid, gid]).map(owner)
    }),
    Action::new("setxattr-capability", "Gives a file a capability", |_| {
        set_capability("setxattr", libc::SYS_setxattr, Old)
    }),
    Action::new("lsetxattr-capability", "The same with lsetxattr(2)", |_| {
        set_capability("lsetxattr", libc::SYS_lsetxattr, Old)
    }),
    Action::new("fsetxattr-capability", "The same with fsetxattr(2)", |_| {
        set_capability("fsetxattr", libc::SYS_fsetxattr, Open)
    }),
];

/// What is made for an action, outside what is watched.
const MADE: &str = "/tmp/made";
/// Its new name, or the file itself, in a watched directory.
const JOB: &str = "/etc/cron.d/job";

const OWNER: [Argument; 2] = [Number(1_000), Number(1_001)];

/// An argument of a system call.
#[derive(Clone, Copy)]
enum Argument {
    /// The working directory.
    At,
    /// The path of the file.
    Old,
    /// The second path.
    New,
    /// A descriptor of the file.
    Open,
    Number(usize),
}
use Argument::{At, New, Number, Old, Open};

/// Makes a file at `path`, and a system call that changes it.
fn one_path(call: &str, number: c_long, path: &str, arguments: &[Argument]) -> Result<Value> {
    super::file(path, b"# nothing\n")?;
    let file = File::options().write(true).open(path);
    let file = file.with_context(|| format!("could not open {path}"))?;
    let (old, new) = (sys::text(path)?, sys::text(JOB)?);
    let mut values = [0; 6];
    for (value, argument) in values.iter_mut().zip(arguments) {
        *value = match argument {
            At => sys::signed(libc::AT_FDCWD),
            Old => old.as_ptr().expose_provenance(),
            New => new.as_ptr().expose_provenance(),
            Open => usize::try_from(file.as_raw_fd())?,
            Number(number) => *number,
        };
    }
    // SAFETY: paths are texts, which outlive the call; everything else is a number.
    let result = unsafe { sys::call(number, values) };
    implemented(call, &result)?;
    let mut facts = outcome(call, &result);
    offered(result, call)?;
    facts.push(("path".to_owned(), path.into()));
    Ok(gathered(facts))
}

/// The same for a call with a second path.
fn two_paths(call: &str, number: c_long, path: &str, arguments: &[Argument]) -> Result<Value> {
    let mut facts = one_path(call, number, path, arguments)?;
    facts["new_path"] = JOB.into();
    Ok(facts)
}

fn mode_is(mode: &'static str) -> impl Fn(Value) -> Value {
    move |mut facts| {
        facts["mode"] = mode.into();
        facts
    }
}

fn owner(mut facts: Value) -> Value {
    facts["uid"] = 1_000.into();
    facts["gid"] = 1_001.into();
    facts
}

/// CAP_NET_RAW, permitted and effective, as in a file's attribute. See `struct vfs_cap_data` of linux/capability.h.
pub(super) const NET_RAW_CAPABILITY: [u8; 20] = {
    let mut bytes = [0; 20];
    // VFS_CAP_REVISION_2 with VFS_CAP_FLAGS_EFFECTIVE.
    bytes[0] = 1;
    bytes[3] = 2;
    // Bit 13 of the permitted set.
    bytes[5] = 0x20;
    bytes
};

/// The attribute that holds them.
pub(super) const CAPABILITY: &str = "security.capability";

fn set_capability(call: &str, number: c_long, file: Argument) -> Result<Value> {
    let name = sys::text(CAPABILITY)?;
    let arguments = [
        file,
        Number(name.as_ptr().expose_provenance()),
        Number(NET_RAW_CAPABILITY.as_ptr().expose_provenance()),
        Number(NET_RAW_CAPABILITY.len()),
    ];
    let mut facts = one_path(call, number, MADE, &arguments)?;
    facts["attribute"] = CAPABILITY.into();
    Ok(facts)
}
