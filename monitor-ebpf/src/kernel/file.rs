//! `struct file` and `struct inode`: what a file is, whatever it was called.

use watchkeeper_ebpf::{
    offsets::ABSENT,
    record::{Descriptor, File, descriptor, file_flag},
};

use super::{Address, current, follow, read, sock};

/// include/uapi/linux/magic.h
const OVERLAYFS_SUPER_MAGIC: u64 = 0x794c_7630;
const TMPFS_MAGIC: u64 = 0x0102_1994;
/// `SB_KERNMOUNT` of include/linux/fs.h: mounted by the kernel for itself.
const SB_KERNMOUNT: u64 = 1 << 22;

/// The rest of the field holds flags since 6.13 (`I_CTIME_QUERIED`, kernel commit 4e40eff0b573).
const NANOSECONDS: u32 = 0x3fff_ffff;

/// The lowest of the addresses that stand for error numbers (`MAX_ERRNO`, include/linux/err.h).
const FIRST_ERROR: u64 = (-4_095i64) as u64;

/// Bits of a mode that say what kind of file it is (include/uapi/linux/stat.h).
pub const S_IFMT: u32 = 0o170_000;
const S_IFIFO: u32 = 0o010_000;
/// A character device.
pub const S_IFCHR: u32 = 0o020_000;
/// A block device.
pub const S_IFBLK: u32 = 0o060_000;
/// A regular file.
pub const S_IFREG: u32 = 0o100_000;
const S_IFSOCK: u32 = 0o140_000;

/// Bits of the minor number in the kernel's `dev_t`.
pub const MINOR_BITS: u32 = 20;
/// Documentation/admin-guide/devices.txt: memory devices, of which minor 3 is `/dev/null`.
pub const MEM_MAJOR: u32 = 1;
const NULL_MINOR: u32 = 3;
/// Virtual consoles, alternate terminals, the ends of pseudo-terminals.
const TTY_MAJOR: u32 = 4;
const TTYAUX_MAJOR: u32 = 5;
const UNIX98_PTY_MAJORS: core::ops::RangeInclusive<u32> = 128..=143;

/// What is known of a file from its inode.
#[inline(always)]
pub fn describe(file: Address) -> File {
    let inode = follow(file, offset!(file_inode));
    let sb = follow(inode, offset!(inode_sb));
    File {
        inode: read(inode, offset!(inode_number)),
        size: read(inode, offset!(inode_size)),
        ctime_s: read(inode, offset!(inode_ctime_s)),
        ctime_ns: read::<u32>(inode, offset!(inode_ctime_ns)) & NANOSECONDS,
        device: read(sb, offset!(sb_device)),
        links: read(inode, offset!(inode_links)),
        mode: u32::from(read::<u16>(inode, offset!(inode_mode))),
        uid: read(inode, offset!(inode_uid)),
        flags: storage(inode, sb),
        filesystem: read::<u64>(sb, offset!(sb_magic)) as u32,
        reserved: 0,
    }
}

/// Where its content lies, as bits of [`file_flag`].
#[inline(always)]
fn storage(inode: Address, sb: Address) -> u32 {
    let magic = read::<u64>(sb, offset!(sb_magic));
    if magic == OVERLAYFS_SUPER_MAGIC {
        if offset!(ovl_inode_upper) == ABSENT || offset!(ovl_inode_vfs) == ABSENT {
            return file_flag::OVERLAY | file_flag::UPPER_LAYER_UNKNOWN;
        }
        let overlay_inode = inode - u64::from(offset!(ovl_inode_vfs));
        return if follow(overlay_inode, offset!(ovl_inode_upper)) == 0 {
            file_flag::OVERLAY
        } else {
            file_flag::OVERLAY | file_flag::UPPER_LAYER
        };
    }
    if magic == TMPFS_MAGIC {
        return if read::<u64>(sb, offset!(sb_flags)) & SB_KERNMOUNT == 0 {
            file_flag::TMPFS
        } else {
            file_flag::TMPFS | file_flag::MEMFD
        };
    }
    0
}

/// Mount and directory entry of a file: by one read where they follow each other (struct path, include/linux/path.h), as in
/// every kernel so far.
#[inline(always)]
pub fn path(file: Address) -> (Address, Address) {
    if offset!(file_dentry) == offset!(file_mnt) + 8 {
        let [mount, dentry]: [u64; 2] = read(file, offset!(file_mnt));
        return (mount, dentry);
    }
    (
        follow(file, offset!(file_mnt)),
        follow(file, offset!(file_dentry)),
    )
}

/// The file behind descriptor `number` of a task; 0 for one that is not open.
#[inline(always)]
pub fn of_descriptor(task: Address, number: u32) -> Address {
    let table = follow(follow(task, offset!(task_files)), offset!(files_fdt));
    if number >= read::<u32>(table, offset!(fdtable_max_fds)) {
        return 0;
    }
    read(
        follow(table, offset!(fdtable_fd)).wrapping_add(u64::from(number) * 8),
        0,
    )
}

/// The device that a device file stands for, in the kernel's encoding; 0 for other files.
#[inline(always)]
pub fn device(file: Address) -> u32 {
    read(follow(file, offset!(file_inode)), offset!(inode_rdev))
}

/// Descriptor `number` of a task.
#[inline(always)]
pub fn descriptor(task: Address, number: u32) -> Descriptor {
    let file = of_descriptor(task, number);
    if file == 0 {
        return Descriptor::default();
    }
    let inode = follow(file, offset!(file_inode));
    let device = read::<u32>(inode, offset!(inode_rdev));
    let mut kind = kind(u32::from(read::<u16>(inode, offset!(inode_mode))), device);
    if kind == descriptor::SOCKET {
        let family = sock::family(sock::of_file(file));
        if family == sock::AF_INET || family == sock::AF_INET6 {
            kind = descriptor::INET_SOCKET;
        }
    }
    Descriptor {
        inode: read(inode, offset!(inode_number)),
        kind,
        device,
    }
}

/// What a file of this mode and device is, as one of [`descriptor`](mod@descriptor).
#[inline(always)]
fn kind(mode: u32, device: u32) -> u32 {
    let major = device >> MINOR_BITS;
    let minor = device & ((1 << MINOR_BITS) - 1);
    match mode & S_IFMT {
        S_IFIFO => descriptor::PIPE,
        S_IFSOCK => descriptor::SOCKET,
        S_IFREG => descriptor::FILE,
        S_IFBLK => descriptor::DEVICE,
        S_IFCHR if major == MEM_MAJOR && minor == NULL_MINOR => descriptor::NULL,
        S_IFCHR
            if major == TTY_MAJOR
                || major == TTYAUX_MAJOR
                || UNIX98_PTY_MAJORS.contains(&major) =>
        {
            descriptor::TTY
        }
        S_IFCHR => descriptor::DEVICE,
        _ => descriptor::OTHER,
    }
}

/// The mount namespace that a mount belongs to, where it is not that of the current task; 0 where it is, or there is none.
#[inline(always)]
pub fn other_mount_namespace(mount: Address) -> Address {
    let mount = mount.wrapping_sub(u64::from(offset!(mount_vfsmount)));
    let namespace = follow(mount, offset!(mount_namespace));
    // None for what was taken off; an error number for the kernel's own mounts (`MNT_NS_INTERNAL`, fs/mount.h).
    if namespace == 0 || namespace >= FIRST_ERROR || namespace == current::mount_namespace() {
        return 0;
    }
    namespace
}
