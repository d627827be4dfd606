//! Mounts, and changes of the root directory, in the container's own mount namespace.

use std::ffi::{CStr, c_long};
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use super::facts::{error_name, namespaces, offered};
use super::root::put_file_system;
use super::{Action, Inside, sys};

pub(super) const ACTIONS: &[Action] = &[
    Action::new("mount-tmpfs", "Mounts a tmpfs", |_| tmpfs()),
    Action::new("mount-bind", "Shows a directory in another place", |_| {
        directories(&["/tmp/bound"])?;
        let none = None::<&str>;
        mount(Some("/etc"), "/tmp/bound", none, MsFlags::MS_BIND, none)
            .context("could not bind")?;
        facts(json!({
            "call": "mount", "source": "/etc", "target": "/tmp/bound", "flags": ["MS_BIND"],
        }))
    }),
    Action::new("mount-remount", "Makes a mount writable again", |_| {
        directories(&["/tmp/bound"])?;
        put_file_system("tmpfs", "/tmp/bound", "")?;
        let none = None::<&str>;
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_NOEXEC;
        mount(none, "/tmp/bound", none, flags, none).context("could not remount")?;
        facts(json!({
            "call": "mount", "target": "/tmp/bound", "flags": ["MS_REMOUNT", "MS_NOEXEC"],
        }))
    }),
    Action::new("mount-fails", "Mounts where nothing is", |_| {
        let flags = MsFlags::MS_NODEV;
        let outcome = mount(
            Some("none"),
            "/tmp/nowhere",
            Some("tmpfs"),
            flags,
            None::<&str>,
        );
        let error = outcome.err().context("it was mounted")?;
        facts(json!({
            "call": "mount", "source": "none", "target": "/tmp/nowhere", "filesystem": "tmpfs",
            "error": error_name(&error.into()), "result": -libc::ENOENT,
        }))
    }),
    Action::new(
        "move-mount",
        "Mounts a tmpfs by fsopen, fsconfig, fsmount and move_mount",
        move_mount,
    ),
    Action::new("open-tree", "Copies a mount with open_tree", open_tree),
    Action::new("mount-setattr", "Makes a mount read-only", set_attributes),
    Action::new("umount", "Detaches a mount", |_| {
        directories(&["/tmp/mounted"])?;
        put_file_system("tmpfs", "/tmp/mounted", "")?;
        nix::mount::umount2("/tmp/mounted", nix::mount::MntFlags::MNT_DETACH)
            .context("could not unmount")?;
        facts(json!({"call": "umount", "target": "/tmp/mounted", "flags": ["MNT_DETACH"]}))
    }),
    Action::new("pivot-root", "Makes another mount the root", pivot_root),
    Action::new("chroot", "Makes a directory the root", |_| {
        directories(&["/tmp/jail"])?;
        let before = facts(json!({"call": "chroot", "target": "/tmp/jail", "root": "/tmp/jail"}));
        std::os::unix::fs::chroot("/tmp/jail").context("could not change the root")?;
        before
    }),
];

fn directories(paths: &[&str]) -> Result<()> {
    for path in paths {
        fs::create_dir_all(path).with_context(|| format!("could not make {path}"))?;
    }
    Ok(())
}

/// `facts` with the namespaces of the caller.
fn facts(mut facts: Value) -> Result<Value> {
    facts["namespaces"] = namespaces()?;
    Ok(facts)
}

fn tmpfs() -> Result<Value> {
    directories(&["/tmp/mounted"])?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("watchkeeper-source"),
        "/tmp/mounted",
        Some("tmpfs"),
        flags,
        Some("size=64k"),
    )
    .context("could not mount a tmpfs")?;
    facts(json!({
        "call": "mount", "source": "watchkeeper-source", "target": "/tmp/mounted",
        "filesystem": "tmpfs", "flags": ["MS_NOSUID", "MS_NODEV"],
    }))
}

/// Values of linux/mount.h.
const FSCONFIG_SET_STRING: usize = 1;
const FSCONFIG_CMD_CREATE: usize = 6;
const MOVE_MOUNT_F_EMPTY_PATH: usize = 4;
const OPEN_TREE_CLONE: usize = 1;
const MOUNT_ATTR_RDONLY: u64 = 1;

fn address(text: &CStr) -> usize {
    text.as_ptr().expose_provenance()
}

/// A call that returns a descriptor.
///
/// # Safety
///
/// As of [`sys::call`].
unsafe fn open(name: &str, number: c_long, arguments: [usize; 5]) -> Result<OwnedFd> {
    // SAFETY: the caller answers for the arguments.
    let opened = offered(unsafe { sys::call(number, arguments) }, name)?;
    // SAFETY: the call just returned it.
    unsafe { sys::descriptor(opened) }
}

fn number(file: &OwnedFd) -> Result<usize> {
    Ok(usize::try_from(file.as_raw_fd())?)
}

fn move_mount(_: &Inside) -> Result<Value> {
    directories(&["/tmp/moved"])?;
    let kind = [address(c"tmpfs"), 0, 0, 0, 0];
    // SAFETY: it is a text and a number.
    let context = unsafe { open("fsopen", libc::SYS_fsopen, kind) }?;
    let context_number = number(&context)?;
    for arguments in [
        [
            context_number,
            FSCONFIG_SET_STRING,
            address(c"size"),
            address(c"64k"),
            0,
        ],
        [context_number, FSCONFIG_CMD_CREATE, 0, 0, 0],
    ] {
        // SAFETY: key and value are texts, or absent.
        let configured = unsafe { sys::call(libc::SYS_fsconfig, arguments) };
        offered(configured, "fsconfig")?;
    }
    let arguments = [context_number, 0, 0, 0, 0];
    // SAFETY: all are numbers.
    let mounted = unsafe { open("fsmount", libc::SYS_fsmount, arguments) }?;
    let arguments = [
        number(&mounted)?,
        address(c""),
        sys::signed(libc::AT_FDCWD),
        address(c"/tmp/moved"),
        MOVE_MOUNT_F_EMPTY_PATH,
    ];
    // SAFETY: both paths are texts.
    let moved = unsafe { sys::call(libc::SYS_move_mount, arguments) };
    offered(moved, "move_mount")?;
    facts(json!({
        "filesystem": "tmpfs", "key": "size", "value": "64k", "target": "/tmp/moved",
    }))
}

fn open_tree(_: &Inside) -> Result<Value> {
    let arguments = [
        sys::signed(libc::AT_FDCWD),
        address(c"/etc"),
        OPEN_TREE_CLONE,
        0,
        0,
    ];
    // SAFETY: the path is a text.
    drop(unsafe { open("open_tree", libc::SYS_open_tree, arguments) }?);
    facts(json!({"call": "open_tree", "path": "/etc"}))
}

fn set_attributes(_: &Inside) -> Result<Value> {
    directories(&["/tmp/mounted"])?;
    put_file_system("tmpfs", "/tmp/mounted", "")?;
    // `struct mount_attr`: set, clear, propagation, user namespace.
    let attributes = [MOUNT_ATTR_RDONLY, 0, 0, 0];
    let arguments = [
        sys::signed(libc::AT_FDCWD),
        address(c"/tmp/mounted"),
        0,
        attributes.as_ptr().expose_provenance(),
        size_of_val(&attributes),
    ];
    // SAFETY: the path is a text, and `attributes` is as long as is said.
    let outcome = unsafe { sys::call(libc::SYS_mount_setattr, arguments) };
    offered(outcome, "mount_setattr")?;
    facts(json!({"call": "mount_setattr", "target": "/tmp/mounted"}))
}

fn pivot_root(_: &Inside) -> Result<Value> {
    directories(&["/tmp/new"])?;
    put_file_system("tmpfs", "/tmp/new", "")?;
    directories(&["/tmp/new/old"])?;
    let before = facts(json!({
        "call": "pivot_root", "new_root": "/tmp/new", "put_old": "/tmp/new/old", "root": "/",
    }));
    let arguments = [address(c"/tmp/new"), address(c"/tmp/new/old")];
    // SAFETY: both paths are texts.
    let done = unsafe { sys::call(libc::SYS_pivot_root, arguments) };
    done.context("could not pivot")?;
    before
}
