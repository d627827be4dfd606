//! `struct dentry` and `struct mount`: the path of a file, from the leaf to the root of its mount tree.
//!
//! Components are appended as they are met, so the last one comes first; the agent turns them round.
//! The walk doesn't stop at the process's root directory: a chroot can't shorten what is reported.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use watchkeeper_ebpf::record::{MAX_COMPONENT, MAX_PATH};

use super::{Address, follow};
use crate::output::{self, CONTENT_MASK};

/// Most components and mounts that a walk passes.
const MAX_STEPS: u32 = 128;

/// The walk ended before the root.
pub const TRUNCATED: u32 = 1 << 31;
/// The file has no place in a directory tree; or the walk was to ignore mounts, and ended at the filesystem's root.
pub const DETACHED: u32 = 1 << 30;

/// Appends the components of a path at offset `start` of the content of scratch buffer `level` of this CPU. Returns
/// where they end, together with [`TRUNCATED`] or [`DETACHED`]. With 0 for the mount, mounts are ignored: the path is
/// that from the root of the filesystem.
///
/// A function of its own with global linkage and plain numbers for arguments, so that the verifier goes through the
/// loop once, whatever the callers know of their values (global functions are verified by themselves, since kernel
/// 5.6, commit 51c39bb1d5d1).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn append_path(level: u32, start: u32, vfsmount: Address, dentry: Address) -> u32 {
    let Some(content) = output::content(level) else {
        return start | TRUNCATED;
    };
    let mut vfsmount = vfsmount;
    let mut dentry = dentry;
    let mut end = start & CONTENT_MASK;
    let limit = end + MAX_PATH as u32;
    let mut outcome = TRUNCATED;
    for _ in 0..MAX_STEPS {
        let parent = follow(dentry, offset!(dentry_parent));
        if parent == 0 || end > limit {
            break;
        }
        if dentry == follow(vfsmount, offset!(vfsmount_root)) {
            let mount = vfsmount - u64::from(offset!(mount_vfsmount));
            let parent_mount = follow(mount, offset!(mount_parent));
            if parent_mount == mount {
                outcome = 0;
                break;
            }
            dentry = follow(mount, offset!(mount_mountpoint));
            vfsmount = parent_mount + u64::from(offset!(mount_vfsmount));
            continue;
        }
        let name = follow(dentry, offset!(dentry_name));
        // SAFETY: the destination lies within the content: the offset is masked to its counted part, and a
        // component's length of slack follows that. The helper fails on a source that is not mapped.
        let length = unsafe {
            let destination = (content as *mut u8).add((end & CONTENT_MASK) as usize);
            bpf_probe_read_kernel_str(
                destination.cast(),
                MAX_COMPONENT as u32,
                name as *const core::ffi::c_void,
            )
        };
        if length <= 0 {
            break;
        }
        end = (end + length as u32) & CONTENT_MASK;
        if parent == dentry {
            outcome = DETACHED;
            break;
        }
        dentry = parent;
    }
    end | outcome
}

/// Where a path ends, from what [`append_path`] returned.
#[inline(always)]
pub const fn end(returned: u32) -> u32 {
    returned & CONTENT_MASK
}

/// What that says of the path, as the bits of the record.
#[inline(always)]
pub const fn flags(returned: u32, truncated: u32, detached: u32) -> u32 {
    let mut flags = 0;
    if returned & TRUNCATED != 0 {
        flags |= truncated;
    }
    if returned & DETACHED != 0 {
        flags |= detached;
    }
    flags
}
