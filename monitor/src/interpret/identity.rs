//! Credentials, namespaces and files as messages, and what differs between two states of a process.

use prost_types::Timestamp;

use watchkeeper_ebpf::record::{self, Identity, file_flag, flag};

use crate::proto::v1;

/// Credentials.
#[must_use]
pub fn credentials(credentials: &record::Credentials) -> v1::Credentials {
    let set = |id: u32| (id != u32::MAX).then_some(id);
    v1::Credentials {
        uid: credentials.uid,
        gid: credentials.gid,
        euid: credentials.euid,
        egid: credentials.egid,
        login_uid: set(credentials.loginuid),
        audit_session: set(credentials.sessionid),
        cap_effective: capabilities(credentials.cap_effective),
        cap_permitted: capabilities(credentials.cap_permitted),
        cap_inheritable: capabilities(credentials.cap_inheritable),
        cap_bounding: capabilities(credentials.cap_bounding),
        cap_ambient: capabilities(credentials.cap_ambient),
    }
}

/// Every capability that has a name: the full set since kernel 5.9.
const ALL_CAPABILITIES: u64 = (1 << CAPABILITIES.len()) - 1;

/// Names of capabilities by number (include/uapi/linux/capability.h).
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Name of a capability by its number, as policies of SELinux write it ("sys_admin").
#[must_use]
pub fn capability(number: usize) -> Option<String> {
    let name = CAPABILITIES.get(number)?;
    Some(
        name.strip_prefix("CAP_")
            .unwrap_or(name)
            .to_ascii_lowercase(),
    )
}

/// The set of capabilities with these names.
#[must_use]
pub fn capability_bits(names: &[String]) -> u64 {
    names.iter().fold(0, |bits, name| {
        let number = CAPABILITIES.iter().position(|known| known == name);
        match (name.as_str(), number) {
            ("ALL", _) => bits | ALL_CAPABILITIES,
            (_, Some(number)) => bits | 1 << number,
            // One that has no name here.
            (name, None) => {
                let number = name
                    .strip_prefix("CAP_")
                    .and_then(|number| number.parse().ok());
                bits | number
                    .and_then(|number| 1_u64.checked_shl(number))
                    .unwrap_or(0)
            }
        }
    })
}

/// Names of the capabilities of a set ("CAP_SYS_ADMIN"), as far as they have one.
pub fn capability_names(set: u64) -> impl Iterator<Item = &'static str> {
    let mut rest = set;
    std::iter::from_fn(move || {
        while rest != 0 {
            let number = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            if let Some(name) = CAPABILITIES.get(number) {
                return Some(*name);
            }
        }
        None
    })
}

/// Names of all capabilities of a set; just "ALL" for a full one.
#[must_use]
pub fn capabilities(set: u64) -> Vec<String> {
    if set & ALL_CAPABILITIES == ALL_CAPABILITIES {
        return vec!["ALL".to_owned()];
    }
    (0..64)
        .filter(|number| set & (1 << number) != 0)
        .map(|number| {
            CAPABILITIES
                .get(number)
                .map_or_else(|| format!("CAP_{number}"), |&name| name.to_owned())
        })
        .collect()
}

/// A set of capabilities in few words: of a set that is nearly full, which ones it lacks.
#[must_use]
pub fn capabilities_in_words(set: u64) -> String {
    const FEW: u32 = 8;
    let lacking = ALL_CAPABILITIES & !set;
    if (1..=FEW).contains(&lacking.count_ones()) {
        let lacking: Vec<&str> = capability_names(lacking).collect();
        return format!("ALL but {}", lacking.join(", "));
    }
    capabilities(set).join(", ")
}

/// Namespaces; `host` has bits of [`flag`].
#[must_use]
pub fn namespaces(namespaces: &record::Namespaces, host: u32) -> v1::Namespaces {
    v1::Namespaces {
        mnt: namespaces.mnt,
        pid: namespaces.pid,
        net: namespaces.net,
        uts: namespaces.uts,
        ipc: namespaces.ipc,
        cgroup: namespaces.cgroup,
        user: namespaces.user,
        host: [
            (flag::HOST_MNT_NS, "mnt"),
            (flag::HOST_PID_NS, "pid"),
            (flag::HOST_NET_NS, "net"),
        ]
        .into_iter()
        .filter(|(bit, _)| host & bit != 0)
        .map(|(_, name)| name.to_owned())
        .collect(),
    }
}

/// A file.
#[must_use]
pub fn file(file: &record::File) -> v1::File {
    v1::File {
        inode: file.inode,
        device: format!("{}:{}", file.device >> 20, file.device & 0xf_ffff),
        links: file.links,
        mode: format!("{:o}", file.mode),
        uid: file.uid,
        size: file.size,
        change_time: Some(Timestamp {
            seconds: file.ctime_s.try_into().unwrap_or(i64::MAX),
            nanos: file.ctime_ns.try_into().unwrap_or(0),
        }),
        layer: layer(file).into(),
        unlinked: file.inode != 0 && file.links == 0,
    }
}

/// Where a file's content lies, as conditions name it; empty for an ordinary filesystem.
#[must_use]
pub fn layer_name(file: &record::File) -> &'static str {
    match layer(file) {
        v1::Layer::Unspecified => "",
        v1::Layer::Image => "image",
        v1::Layer::Upper => "upper",
        v1::Layer::OverlayUnknown => "overlay-unknown",
        v1::Layer::Tmpfs => "tmpfs",
        v1::Layer::Memfd => "memfd",
    }
}

fn layer(file: &record::File) -> v1::Layer {
    let has = |bit: u32| file.flags & bit != 0;
    if has(file_flag::MEMFD) {
        v1::Layer::Memfd
    } else if has(file_flag::TMPFS) {
        v1::Layer::Tmpfs
    } else if has(file_flag::UPPER_LAYER) {
        v1::Layer::Upper
    } else if has(file_flag::UPPER_LAYER_UNKNOWN) {
        v1::Layer::OverlayUnknown
    } else if has(file_flag::OVERLAY) {
        v1::Layer::Image
    } else {
        v1::Layer::Unspecified
    }
}

/// Names of the namespaces that differ.
#[must_use]
pub fn changed(before: &Identity, after: &Identity) -> Vec<String> {
    let (before, after) = (&before.namespaces, &after.namespaces);
    [
        ("mnt", before.mnt, after.mnt),
        ("pid", before.pid, after.pid),
        // It takes effect with the next child.
        ("pid", before.pid_for_children, after.pid_for_children),
        ("net", before.net, after.net),
        ("uts", before.uts, after.uts),
        ("ipc", before.ipc, after.ipc),
        ("cgroup", before.cgroup, after.cgroup),
        ("user", before.user, after.user),
    ]
    .into_iter()
    .filter(|(_, before, after)| before != after)
    .map(|(name, _, _)| name)
    .fold(Vec::new(), |mut names, name| {
        if names.last().is_none_or(|last| last != name) {
            names.push(name.to_owned());
        }
        names
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_named() {
        assert_eq!(capabilities(1 << 21 | 1), ["CAP_CHOWN", "CAP_SYS_ADMIN"]);
        assert_eq!(capabilities(1 << 60), ["CAP_60"]);
        for set in [0, 1 << 21 | 1, 1 << 60, ALL_CAPABILITIES, 7] {
            assert_eq!(capability_bits(&capabilities(set)), set);
        }
        assert_eq!(capabilities(ALL_CAPABILITIES), ["ALL"]);
        assert_eq!(capabilities_in_words(ALL_CAPABILITIES), "ALL");
        assert_eq!(
            capabilities_in_words(ALL_CAPABILITIES & !(1 | 1 << 21)),
            "ALL but CAP_CHOWN, CAP_SYS_ADMIN"
        );
        assert_eq!(
            capabilities_in_words(1 | 1 << 21),
            "CAP_CHOWN, CAP_SYS_ADMIN"
        );
        assert_eq!(capabilities_in_words(0), "");
        assert_eq!(capabilities(ALL_CAPABILITIES & !1).len(), 40);
        assert_eq!(CAPABILITIES[39], "CAP_BPF");
    }

    #[test]
    fn what_differs_is_named() {
        let before = Identity::default();
        let mut after = before;
        assert!(changed(&before, &after).is_empty());
        after.namespaces.net = 7;
        after.namespaces.user = 8;
        assert_eq!(changed(&before, &after), ["net", "user"]);
    }
}
