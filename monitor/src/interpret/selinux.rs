//! Names of the permissions that SELinux denies.
//!
//! The kernel tells them as bits of its own classes (`secclass_map`, security/selinux/include/classmap.h), not of those of
//! the policy. Only those are named here that have had the same bits from 5.10 on.

use super::identity::capability;

/// What files and sockets have in common.
const FILES_AND_SOCKETS: [&str; 11] = [
    "ioctl",
    "read",
    "write",
    "create",
    "getattr",
    "setattr",
    "lock",
    "relabelfrom",
    "relabelto",
    "append",
    "map",
];

/// What follows for files.
const FILES: [&str; 14] = [
    "unlink",
    "link",
    "rename",
    "execute",
    "quotaon",
    "mounton",
    "audit_access",
    "open",
    "execmod",
    "watch",
    "watch_mount",
    "watch_sb",
    "watch_with_perm",
    "watch_reads",
];

/// What follows for sockets.
const SOCKETS: [&str; 10] = [
    "bind",
    "connect",
    "listen",
    "accept",
    "getopt",
    "setopt",
    "shutdown",
    "recvfrom",
    "sendto",
    "name_bind",
];

const PROCESS: [&str; 31] = [
    "fork",
    "transition",
    "sigchld",
    "sigkill",
    "sigstop",
    "signull",
    "signal",
    "ptrace",
    "getsched",
    "setsched",
    "getsession",
    "getpgid",
    "setpgid",
    "getcap",
    "setcap",
    "share",
    "getattr",
    "setexec",
    "setfscreate",
    "noatsecure",
    "siginh",
    "setrlimit",
    "rlimitinh",
    "dyntransition",
    "setcurrent",
    "execmem",
    "execstack",
    "execheap",
    "setkeycreate",
    "setsockcreate",
    "getrlimit",
];

/// Capabilities in the class `capability`; the rest are in `capability2`.
const FIRST_CAPABILITIES: usize = 32;

/// Names of the bits of `denied` that are set, for a class such as `file`; hexadecimal for those without.
#[must_use]
pub fn permissions(class: &str, denied: u32) -> Vec<String> {
    let mut unnamed = 0;
    let mut names = Vec::new();
    for bit in (0..32).filter(|bit| denied >> bit & 1 != 0) {
        match permission(class, bit) {
            Some(name) => names.push(name),
            None => unnamed |= 1_u32 << bit,
        }
    }
    if unnamed != 0 {
        names.push(format!("{unnamed:#x}"));
    }
    names
}

fn permission(class: &str, bit: usize) -> Option<String> {
    let after_common = bit.checked_sub(FILES_AND_SOCKETS.len());
    let common = |rest: &[&'static str]| match after_common {
        None => FILES_AND_SOCKETS.get(bit).copied(),
        Some(bit) => rest.get(bit).copied(),
    };
    let name = match class {
        "file" | "dir" | "lnk_file" | "chr_file" | "blk_file" | "sock_file" | "fifo_file" => {
            common(&FILES)
        }
        "socket" => common(&SOCKETS),
        _ if class.ends_with("_socket") => common(&SOCKETS).or_else(|| {
            let own = match class {
                "unix_stream_socket" => &["connectto"][..],
                "tcp_socket" => &["node_bind", "name_connect"],
                "udp_socket" | "rawip_socket" | "icmp_socket" => &["node_bind"],
                _ => &[],
            };
            own.get(bit - FILES_AND_SOCKETS.len() - SOCKETS.len())
                .copied()
        }),
        "process" => PROCESS.get(bit).copied(),
        "capability" | "cap_userns" => return capability(bit),
        "capability2" | "cap2_userns" => return capability(FIRST_CAPABILITIES + bit),
        _ => None,
    };
    name.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_named_by_class() {
        for (class, denied, expected) in [
            ("file", 1 << 1 | 1 << 18, &["read", "open"][..]),
            ("dir", 1 << 24, &["watch_reads"]),
            ("dir", 1 << 25 | 1 << 1, &["read", "0x2000000"]),
            ("tcp_socket", 1 << 12, &["connect"]),
            ("unix_stream_socket", 1 << 21, &["connectto"]),
            ("tcp_socket", 1 << 22, &["name_connect"]),
            ("udp_socket", 1 << 22, &["0x400000"]),
            ("process", 1 << 7, &["ptrace"]),
            ("capability", 1 << 21, &["sys_admin"]),
            ("capability2", 1 << 7, &["bpf"]),
            ("capability2", 1 << 30, &["0x40000000"]),
            ("bpf", 1 << 1, &["0x2"]),
            ("file", 0, &[]),
        ] {
            assert_eq!(permissions(class, denied), expected, "{class} {denied:#x}");
        }
    }
}
