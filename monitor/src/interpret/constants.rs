//! Names of the constants that arguments of system calls are made of, from the kernel's uapi headers.

/// The names of the bits that are set, those without a name in hexadecimal.
#[must_use]
pub fn flags(value: u64, names: &[(u64, &str)]) -> Vec<String> {
    let mut rest = value;
    let mut found = Vec::new();
    for (bits, name) in names {
        if rest & bits == *bits {
            rest &= !bits;
            found.push((*name).to_owned());
        }
    }
    if rest != 0 {
        found.push(format!("{rest:#x}"));
    }
    found
}

/// The name of a value; the number for one without.
#[must_use]
pub fn name(value: u64, names: &[(u64, &str)]) -> String {
    names
        .iter()
        .find(|(number, _)| *number == value)
        .map_or_else(|| value.to_string(), |(_, name)| (*name).to_owned())
}

/// include/uapi/linux/mount.h, mount(2)
pub const MOUNT: &[(u64, &str)] = &[
    (1, "MS_RDONLY"),
    (1 << 1, "MS_NOSUID"),
    (1 << 2, "MS_NODEV"),
    (1 << 3, "MS_NOEXEC"),
    (1 << 4, "MS_SYNCHRONOUS"),
    (1 << 5, "MS_REMOUNT"),
    (1 << 6, "MS_MANDLOCK"),
    (1 << 7, "MS_DIRSYNC"),
    (1 << 8, "MS_NOSYMFOLLOW"),
    (1 << 10, "MS_NOATIME"),
    (1 << 11, "MS_NODIRATIME"),
    (1 << 12, "MS_BIND"),
    (1 << 13, "MS_MOVE"),
    (1 << 14, "MS_REC"),
    (1 << 15, "MS_SILENT"),
    (1 << 16, "MS_POSIXACL"),
    (1 << 17, "MS_UNBINDABLE"),
    (1 << 18, "MS_PRIVATE"),
    (1 << 19, "MS_SLAVE"),
    (1 << 20, "MS_SHARED"),
    (1 << 21, "MS_RELATIME"),
    (1 << 24, "MS_STRICTATIME"),
    (1 << 25, "MS_LAZYTIME"),
];

/// include/linux/fs.h, umount2(2)
pub const UMOUNT: &[(u64, &str)] = &[
    (1, "MNT_FORCE"),
    (1 << 1, "MNT_DETACH"),
    (1 << 2, "MNT_EXPIRE"),
    (1 << 3, "UMOUNT_NOFOLLOW"),
];

/// include/uapi/linux/mount.h, open_tree(2)
pub const OPEN_TREE: &[(u64, &str)] = &[
    (1, "OPEN_TREE_CLONE"),
    (0o2_000_000, "OPEN_TREE_CLOEXEC"),
    (0x8000, "AT_RECURSIVE"),
    (0x1000, "AT_EMPTY_PATH"),
    (0x100, "AT_SYMLINK_NOFOLLOW"),
];

/// include/uapi/linux/mount.h, move_mount(2)
pub const MOVE_MOUNT: &[(u64, &str)] = &[
    (1, "MOVE_MOUNT_F_SYMLINKS"),
    (1 << 1, "MOVE_MOUNT_F_AUTOMOUNTS"),
    (1 << 2, "MOVE_MOUNT_F_EMPTY_PATH"),
    (1 << 4, "MOVE_MOUNT_T_SYMLINKS"),
    (1 << 5, "MOVE_MOUNT_T_AUTOMOUNTS"),
    (1 << 6, "MOVE_MOUNT_T_EMPTY_PATH"),
    (1 << 8, "MOVE_MOUNT_SET_GROUP"),
    (1 << 9, "MOVE_MOUNT_BENEATH"),
];

/// include/uapi/linux/mount.h, fsconfig(2)
pub const FSCONFIG: &[(u64, &str)] = &[
    (0, "FSCONFIG_SET_FLAG"),
    (1, "FSCONFIG_SET_STRING"),
    (2, "FSCONFIG_SET_BINARY"),
    (3, "FSCONFIG_SET_PATH"),
    (4, "FSCONFIG_SET_PATH_EMPTY"),
    (5, "FSCONFIG_SET_FD"),
    (6, "FSCONFIG_CMD_CREATE"),
    (7, "FSCONFIG_CMD_RECONFIGURE"),
    (8, "FSCONFIG_CMD_CREATE_EXCL"),
];

/// Namespaces by the flag of include/uapi/linux/sched.h.
pub const NAMESPACES: &[(u64, &str)] = &[
    (0x0002_0000, "mnt"),
    (0x2000_0000, "pid"),
    (0x4000_0000, "net"),
    (0x0400_0000, "uts"),
    (0x0800_0000, "ipc"),
    (0x0200_0000, "cgroup"),
    (0x1000_0000, "user"),
    (0x0000_0080, "time"),
];

/// include/uapi/linux/ptrace.h, and arch/x86/include/uapi/asm/ptrace-abi.h
pub const PTRACE: &[(u64, &str)] = &[
    (4, "PTRACE_POKETEXT"),
    (5, "PTRACE_POKEDATA"),
    (6, "PTRACE_POKEUSR"),
    (13, "PTRACE_SETREGS"),
    (15, "PTRACE_SETFPREGS"),
    (16, "PTRACE_ATTACH"),
    (0x4206, "PTRACE_SEIZE"),
];

/// include/uapi/linux/prctl.h
pub const PRCTL: &[(u64, &str)] = &[
    (4, "PR_SET_DUMPABLE"),
    (15, "PR_SET_NAME"),
    (22, "PR_SET_SECCOMP"),
    (35, "PR_SET_MM"),
    (38, "PR_SET_NO_NEW_PRIVS"),
    (47, "PR_CAP_AMBIENT"),
];

/// `enum bpf_cmd` of include/uapi/linux/bpf.h
pub const BPF: &[(u64, &str)] = &[
    (0, "BPF_MAP_CREATE"),
    (5, "BPF_PROG_LOAD"),
    (6, "BPF_OBJ_PIN"),
    (7, "BPF_OBJ_GET"),
    (8, "BPF_PROG_ATTACH"),
    (9, "BPF_PROG_DETACH"),
    (10, "BPF_PROG_TEST_RUN"),
    (13, "BPF_PROG_GET_FD_BY_ID"),
    (14, "BPF_MAP_GET_FD_BY_ID"),
    (17, "BPF_RAW_TRACEPOINT_OPEN"),
    (19, "BPF_BTF_GET_FD_BY_ID"),
    (21, "BPF_MAP_LOOKUP_AND_DELETE_ELEM"),
    (28, "BPF_LINK_CREATE"),
    (29, "BPF_LINK_UPDATE"),
    (30, "BPF_LINK_GET_FD_BY_ID"),
    (32, "BPF_ENABLE_STATS"),
    (33, "BPF_ITER_CREATE"),
    (34, "BPF_LINK_DETACH"),
    (35, "BPF_PROG_BIND_MAP"),
    (36, "BPF_TOKEN_CREATE"),
];

/// `enum bpf_map_type` likewise.
pub const BPF_MAPS: &[(u64, &str)] = &[
    (1, "BPF_MAP_TYPE_HASH"),
    (2, "BPF_MAP_TYPE_ARRAY"),
    (3, "BPF_MAP_TYPE_PROG_ARRAY"),
    (4, "BPF_MAP_TYPE_PERF_EVENT_ARRAY"),
    (5, "BPF_MAP_TYPE_PERCPU_HASH"),
    (6, "BPF_MAP_TYPE_PERCPU_ARRAY"),
    (7, "BPF_MAP_TYPE_STACK_TRACE"),
    (8, "BPF_MAP_TYPE_CGROUP_ARRAY"),
    (9, "BPF_MAP_TYPE_LRU_HASH"),
    (11, "BPF_MAP_TYPE_LPM_TRIE"),
    (12, "BPF_MAP_TYPE_ARRAY_OF_MAPS"),
    (13, "BPF_MAP_TYPE_HASH_OF_MAPS"),
    (15, "BPF_MAP_TYPE_SOCKMAP"),
    (18, "BPF_MAP_TYPE_SOCKHASH"),
    (27, "BPF_MAP_TYPE_RINGBUF"),
];

/// `enum bpf_prog_type` likewise.
pub const BPF_PROGRAMS: &[(u64, &str)] = &[
    (1, "BPF_PROG_TYPE_SOCKET_FILTER"),
    (2, "BPF_PROG_TYPE_KPROBE"),
    (3, "BPF_PROG_TYPE_SCHED_CLS"),
    (4, "BPF_PROG_TYPE_SCHED_ACT"),
    (5, "BPF_PROG_TYPE_TRACEPOINT"),
    (6, "BPF_PROG_TYPE_XDP"),
    (7, "BPF_PROG_TYPE_PERF_EVENT"),
    (8, "BPF_PROG_TYPE_CGROUP_SKB"),
    (9, "BPF_PROG_TYPE_CGROUP_SOCK"),
    (13, "BPF_PROG_TYPE_SOCK_OPS"),
    (14, "BPF_PROG_TYPE_SK_SKB"),
    (15, "BPF_PROG_TYPE_CGROUP_DEVICE"),
    (16, "BPF_PROG_TYPE_SK_MSG"),
    (17, "BPF_PROG_TYPE_RAW_TRACEPOINT"),
    (18, "BPF_PROG_TYPE_CGROUP_SOCK_ADDR"),
    (26, "BPF_PROG_TYPE_TRACING"),
    (27, "BPF_PROG_TYPE_STRUCT_OPS"),
    (28, "BPF_PROG_TYPE_EXT"),
    (29, "BPF_PROG_TYPE_LSM"),
    (30, "BPF_PROG_TYPE_SK_LOOKUP"),
    (31, "BPF_PROG_TYPE_SYSCALL"),
];

/// `enum perf_type_id` of include/uapi/linux/perf_event.h
pub const PERF: &[(u64, &str)] = &[
    (0, "PERF_TYPE_HARDWARE"),
    (1, "PERF_TYPE_SOFTWARE"),
    (2, "PERF_TYPE_TRACEPOINT"),
    (3, "PERF_TYPE_HW_CACHE"),
    (4, "PERF_TYPE_RAW"),
    (5, "PERF_TYPE_BREAKPOINT"),
];

/// include/uapi/linux/keyctl.h
pub const KEYCTL: &[(u64, &str)] = &[
    (0, "KEYCTL_GET_KEYRING_ID"),
    (1, "KEYCTL_JOIN_SESSION_KEYRING"),
    (2, "KEYCTL_UPDATE"),
    (3, "KEYCTL_REVOKE"),
    (4, "KEYCTL_CHOWN"),
    (5, "KEYCTL_SETPERM"),
    (6, "KEYCTL_DESCRIBE"),
    (7, "KEYCTL_CLEAR"),
    (8, "KEYCTL_LINK"),
    (9, "KEYCTL_UNLINK"),
    (10, "KEYCTL_SEARCH"),
    (11, "KEYCTL_READ"),
    (12, "KEYCTL_INSTANTIATE"),
    (13, "KEYCTL_NEGATE"),
    (14, "KEYCTL_SET_REQKEY_KEYRING"),
    (15, "KEYCTL_SET_TIMEOUT"),
    (16, "KEYCTL_ASSUME_AUTHORITY"),
    (17, "KEYCTL_GET_SECURITY"),
    (18, "KEYCTL_SESSION_TO_PARENT"),
    (19, "KEYCTL_REJECT"),
    (20, "KEYCTL_INSTANTIATE_IOV"),
    (21, "KEYCTL_INVALIDATE"),
    (22, "KEYCTL_GET_PERSISTENT"),
];

/// include/linux/socket.h
pub const FAMILIES: &[(u64, &str)] = &[
    (1, "unix"),
    (2, "inet"),
    (10, "inet6"),
    (15, "key"),
    (16, "netlink"),
    (17, "packet"),
    (30, "tipc"),
    (38, "alg"),
    (40, "vsock"),
    (44, "xdp"),
];

/// include/linux/net.h
pub const SOCKET_TYPES: &[(u64, &str)] = &[
    (1, "stream"),
    (2, "dgram"),
    (3, "raw"),
    (4, "rdm"),
    (5, "seqpacket"),
    (6, "dccp"),
    (10, "packet"),
];

/// include/uapi/linux/magic.h
pub const FILESYSTEMS: &[(u64, &str)] = &[
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0x4249_4e4d, "binfmt_misc"),
    (0x7363_6673, "securityfs"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0xf97c_ff8c, "selinuxfs"),
    (0x0102_1994, "tmpfs"),
    (0x794c_7630, "overlay"),
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x1cd1, "devpts"),
    (0x1915_5fef, "mqueue"),
    (0xcafe_4a11, "bpf"),
];

/// `enum io_uring_op` of include/uapi/linux/io_uring.h, by number.
pub const URING: &[&str] = &[
    "NOP",
    "READV",
    "WRITEV",
    "FSYNC",
    "READ_FIXED",
    "WRITE_FIXED",
    "POLL_ADD",
    "POLL_REMOVE",
    "SYNC_FILE_RANGE",
    "SENDMSG",
    "RECVMSG",
    "TIMEOUT",
    "TIMEOUT_REMOVE",
    "ACCEPT",
    "ASYNC_CANCEL",
    "LINK_TIMEOUT",
    "CONNECT",
    "FALLOCATE",
    "OPENAT",
    "CLOSE",
    "FILES_UPDATE",
    "STATX",
    "READ",
    "WRITE",
    "FADVISE",
    "MADVISE",
    "SEND",
    "RECV",
    "OPENAT2",
    "EPOLL_CTL",
    "SPLICE",
    "PROVIDE_BUFFERS",
    "REMOVE_BUFFERS",
    "TEE",
    "SHUTDOWN",
    "RENAMEAT",
    "UNLINKAT",
    "MKDIRAT",
    "SYMLINKAT",
    "LINKAT",
    "MSG_RING",
    "FSETXATTR",
    "SETXATTR",
    "FGETXATTR",
    "GETXATTR",
    "SOCKET",
    "URING_CMD",
    "SEND_ZC",
    "SENDMSG_ZC",
    "READ_MULTISHOT",
    "WAITID",
    "FUTEX_WAIT",
    "FUTEX_WAKE",
    "FUTEX_WAITV",
    "FIXED_FD_INSTALL",
    "FTRUNCATE",
    "BIND",
    "LISTEN",
];

/// A device as "major:minor", from the kernel's own encoding (include/linux/kdev_t.h).
#[must_use]
pub fn device(device: u32) -> String {
    format!("{}:{}", device >> 20, device & 0xf_ffff)
}

/// The same from the encoding of system calls (`new_decode_dev`, include/linux/kdev_t.h).
#[must_use]
pub fn user_device(device: u32) -> String {
    let major = (device & 0xf_ff00) >> 8;
    let minor = (device & 0xff) | (device >> 12 & 0xf_ff00);
    format!("{major}:{minor}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_and_what_has_no_name() {
        assert_eq!(flags(0x1001, MOUNT), ["MS_RDONLY", "MS_BIND"]);
        assert_eq!(flags(1 << 40, MOUNT), ["0x10000000000"]);
        assert!(flags(0, MOUNT).is_empty());
        assert_eq!(name(5, BPF), "BPF_PROG_LOAD");
        assert_eq!(name(99, BPF), "99");
        assert_eq!(URING[18], "OPENAT");
        assert_eq!(URING[45], "SOCKET");
    }

    #[test]
    fn devices() {
        assert_eq!(device(8 << 20 | 1), "8:1");
        assert_eq!(user_device(0x0801), "8:1");
        assert_eq!(user_device(libc::makedev(7, 300) as u32), "7:300");
    }
}
