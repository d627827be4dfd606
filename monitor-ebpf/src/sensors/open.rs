//! The ends of open(2), openat(2), openat2(2), creat(2) and open_by_handle_at(2): what was opened, by the file that the
//! new descriptor leads to, and not by the name that was asked for.
//!
//! The cheap looks come first: the result, the cgroup, the kind of file and of filesystem, the lengths of the names near the
//! end of the path. Only what is reported has its path walked.

use aya_ebpf::{
    helpers::generated::bpf_probe_read_user, macros::tracepoint, programs::TracePointContext,
};
use watchkeeper_ebpf::{
    calls::Call,
    loss::Class,
    record::{Kind, Open, open_reason, path_flag},
    watch::{CHANGE, READ, WRITE},
};

use super::calls::{arguments_of, result_of, spec_of};
use crate::{
    credentials::check_credentials,
    kernel::{
        Address, cgroup, current,
        file::{self, MEM_MAJOR, MINOR_BITS, S_IFBLK, S_IFCHR, S_IFMT, S_IFREG},
        follow,
        name::{watched_alias, watched_near},
        path, read, task,
    },
    maps::{CRITICAL, TELEMETRY},
    output::Draft,
    subject::{Place, Subject},
};

/// include/uapi/linux/magic.h
const PROC_SUPER_MAGIC: u64 = 0x9fa0;
const SYSFS_MAGIC: u64 = 0x6265_6572;
const CGROUP_SUPER_MAGIC: u64 = 0x0027_e0eb;
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
const BINFMTFS_MAGIC: u64 = 0x4249_4e4d;
const SECURITYFS_MAGIC: u64 = 0x7363_6673;
const DEBUGFS_MAGIC: u64 = 0x6462_6720;
const TRACEFS_MAGIC: u64 = 0x7472_6163;
const SELINUX_MAGIC: u64 = 0xf97c_ff8c;

/// include/uapi/asm-generic/fcntl.h
pub(super) const O_ACCMODE: u32 = 3;
const O_WRONLY: u32 = 1;
const O_CREAT: u32 = 0o100;
pub(super) const O_TRUNC: u32 = 0o1_000;
/// include/linux/fs.h
const FMODE_CREATED: u32 = 0x10_0000;
const O_PATH: u32 = 0o10_000_000;

/// `mem`, `kmem` and `port` among the memory devices (Documentation/admin-guide/devices.txt), and `/dev/cpu/N/msr`.
const RAW_MINORS: [u32; 3] = [1, 2, 4];
const MSR_MAJOR: u32 = 202;

/// Reports a file that was opened.
#[tracepoint]
pub fn open_exit(ctx: TracePointContext) -> u32 {
    let result = result_of(&ctx);
    if result < 0 {
        return 0;
    }
    let task = task::current();
    let place = Place::current();
    if !place.wants(Class::File as u32) {
        return 0;
    }
    let opened = current::file_of(result as u32);
    let Some((number, spec)) = spec_of(&ctx) else {
        return 0;
    };
    let mut open_flags = flags_of(opened);
    if open_flags & O_ACCMODE != 0 {
        open_flags |= asked(task, spec.call, number) & O_TRUNC;
    }
    observe(task, &place, opened, u32::from(spec.call), open_flags);
    0
}

/// Reports a file that was opened, where it is of interest.
#[inline(always)]
pub(super) fn observe(task: Address, place: &Place, opened: Address, call: u32, open_flags: u32) {
    let by_handle = call == Call::OpenByHandleAt as u32;
    let found = look(task, opened, open_flags, by_handle);
    if found.reasons != 0 {
        check_credentials(task);
        report(task, place, opened, call, open_flags, &found);
    }
}

/// The flags that a file was opened with. The file keeps all but those that only matter at the opening: whether it was made
/// then is in its mode, and whether it was cut only in what was [`asked`] for.
#[inline(always)]
pub(super) fn flags_of(opened: Address) -> u32 {
    let flags: u32 = read(opened, offset!(file_flags));
    if read::<u32>(opened, offset!(file_mode)) & FMODE_CREATED != 0 {
        return flags | O_CREAT;
    }
    flags
}

/// The flags that a system call was made with.
#[inline(always)]
fn asked(task: Address, call: u16, number: u64) -> u32 {
    if call == Call::Creat as u16 {
        return O_TRUNC;
    }
    let arguments = arguments_of(task, number).values;
    if call == Call::Open as u16 {
        arguments[1] as u32
    } else if call == Call::Openat as u16 {
        arguments[2] as u32
    } else if call == Call::Openat2 as u16 {
        let mut asked = 0u32;
        // SAFETY: the destination is as long as what is read, and the helper fails on a source that is not mapped. What it
        // reads is what `open_how` begins with.
        let outcome = unsafe {
            bpf_probe_read_user(
                (&raw mut asked).cast(),
                size_of::<u32>() as u32,
                arguments[2] as *const core::ffi::c_void,
            )
        };
        if outcome == 0 { asked } else { 0 }
    } else {
        0
    }
}

/// What a first look at a file has shown.
struct Found {
    /// Bits of [`open_reason`].
    reasons: u32,
    /// Bits of [`watch`](watchkeeper_ebpf::watch).
    watched: u32,
    /// Another name of it that is watched.
    linked: Address,
    /// The process that it is about.
    target: Address,
    /// Its mount namespace, where that is another one.
    mount_ns: Address,
}

#[inline(always)]
fn look(task: Address, opened: Address, open_flags: u32, by_handle: bool) -> Found {
    let inode = follow(opened, offset!(file_inode));
    let (mount, dentry) = file::path(opened);
    let wanted = wanted(open_flags);
    let mut found = Found {
        reasons: kind_reasons(inode, open_flags),
        watched: watched_near(dentry),
        linked: 0,
        target: 0,
        mount_ns: file::other_mount_namespace(mount),
    };
    if by_handle {
        found.reasons |= open_reason::HANDLE;
    }
    if found.watched & wanted != 0 {
        found.reasons |= open_reason::WATCHED;
    }
    if read::<u32>(inode, offset!(inode_links)) > 1 {
        found.linked = watched_alias(inode, dentry, wanted);
    }
    if found.linked != 0 {
        found.watched |= wanted;
        found.reasons |= open_reason::LINKED;
    }
    if found.mount_ns != 0 {
        found.reasons |= open_reason::OTHER_MOUNT_NAMESPACE;
    }
    if found.reasons != 0 {
        found.target = process_of(inode);
        if found.target != 0 && task::tgid(found.target) != task::tgid(task) {
            found.reasons |= open_reason::OTHER_PROCESS;
        }
    }
    found
}

/// The bits of [`watch`](watchkeeper_ebpf::watch) that an open with these flags is about.
#[inline(always)]
fn wanted(open_flags: u32) -> u32 {
    let mut wanted = if open_flags & O_ACCMODE == O_WRONLY {
        0
    } else {
        READ
    };
    if open_flags & O_ACCMODE != 0 {
        wanted |= WRITE;
    }
    if open_flags & O_TRUNC != 0 {
        wanted |= WRITE | CHANGE;
    }
    wanted
}

/// What is of interest in the kind of a file: whether it is a device, or controls the kernel.
///
/// A global function, see [`append_path`](crate::kernel::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn kind_reasons(inode: Address, open_flags: u32) -> u32 {
    let kind = u32::from(read::<u16>(inode, offset!(inode_mode))) & S_IFMT;
    if kind == S_IFBLK || kind == S_IFCHR {
        let device: u32 = read(inode, offset!(inode_rdev));
        let (major, minor) = (device >> MINOR_BITS, device & ((1 << MINOR_BITS) - 1));
        let is_raw = kind == S_IFBLK
            || major == MSR_MAJOR
            || (major == MEM_MAJOR && RAW_MINORS.contains(&minor));
        if is_raw && open_flags & O_PATH == 0 {
            return open_reason::DEVICE;
        }
        return 0;
    }
    let writes = open_flags & (O_ACCMODE | O_TRUNC) != 0;
    if kind != S_IFREG || !writes {
        return 0;
    }
    let magic: u64 = read(follow(inode, offset!(inode_sb)), offset!(sb_magic));
    if is_kernel_control(magic) {
        open_reason::KERNEL_CONTROL
    } else {
        0
    }
}

/// The task that a file below `/proc/PID` is about; 0 for other files.
#[inline(always)]
fn process_of(inode: Address) -> Address {
    let magic: u64 = read(follow(inode, offset!(inode_sb)), offset!(sb_magic));
    if magic != PROC_SUPER_MAGIC {
        return 0;
    }
    let proc_inode = inode.wrapping_sub(u64::from(offset!(proc_inode_vfs)));
    task::of_pid(follow(proc_inode, offset!(proc_inode_pid)))
}

/// Whether a filesystem's files control the kernel.
#[inline(always)]
fn is_kernel_control(magic: u64) -> bool {
    magic == PROC_SUPER_MAGIC
        || magic == SYSFS_MAGIC
        || magic == CGROUP_SUPER_MAGIC
        || magic == CGROUP2_SUPER_MAGIC
        || magic == BINFMTFS_MAGIC
        || magic == SECURITYFS_MAGIC
        || magic == DEBUGFS_MAGIC
        || magic == TRACEFS_MAGIC
        || magic == SELINUX_MAGIC
}

#[inline(always)]
fn report(
    task: Address,
    place: &Place,
    opened: Address,
    call: u32,
    open_flags: u32,
    found: &Found,
) {
    let Some(draft) = Draft::admitted(place, Class::File as u32) else {
        return;
    };
    let (mount, dentry) = file::path(opened);
    let start = Draft::start::<Open>();
    let returned = path::append_path(draft.level, start, mount, dentry);
    let mut path_flags = path::flags(returned, path_flag::TRUNCATED[0], path_flag::DETACHED[0]);
    let path_end = path::end(returned);
    let returned = path::append_path(draft.level, path_end, 0, dentry);
    path_flags |= path::flags(returned, path_flag::TRUNCATED[1], path_flag::DETACHED[1]);
    let inner_end = path::end(returned);
    let mut linked_end = inner_end;
    if found.linked != 0 {
        let returned = path::append_path(draft.level, inner_end, 0, found.linked);
        path_flags |= path::flags(returned, path_flag::TRUNCATED[2], path_flag::DETACHED[2]);
        linked_end = path::end(returned);
    }
    let mount_ns = read(found.mount_ns, offset!(mnt_ns_inum));
    let body = draft.body::<Open>();
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe {
        (*body).file = file::describe(opened);
        (*body).target = task::process(found.target);
        (*body).target_cgroup_id = if found.target == 0 {
            0
        } else {
            cgroup::id(cgroup::of_task(found.target))
        };
        (*body).call = call;
        (*body).open_flags = open_flags;
        (*body).reasons = found.reasons;
        (*body).watched = found.watched;
        (*body).device = file::device(opened);
        (*body).mount_ns = mount_ns;
        (*body).path_flags = path_flags;
        (*body).path_length = path_end.saturating_sub(start);
        (*body).inner_length = inner_end.saturating_sub(path_end);
        (*body).linked_length = linked_end.saturating_sub(inner_end);
    }
    let ring = if found.reasons & !(open_reason::WATCHED | open_reason::LINKED) == 0 {
        &TELEMETRY
    } else {
        &CRITICAL
    };
    draft.submit(ring, Kind::Open, &Subject::new(*place, task), 0, linked_end);
}
