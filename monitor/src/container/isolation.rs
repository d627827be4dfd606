//! What keeps a container apart from its node, as it is at this moment: read from procfs for the container's first process, and not
//! from what somebody asked for.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use crate::{
    interpret::identity,
    process::procfs::{self, field},
};

/// Namespaces by their names in `/proc/PID/ns` (namespaces(7)).
const NAMESPACES: [&str; 7] = ["mnt", "pid", "net", "ipc", "uts", "user", "cgroup"];

/// Those that are no weakness when they are the host's: without user namespaces, which few use, everybody has the host's, and the
/// others only show names.
const HARMLESS: [&str; 3] = ["user", "uts", "cgroup"];

/// Capabilities each of which is enough to get out (capabilities(7)).
const DANGEROUS: [&str; 9] = [
    "CAP_SYS_ADMIN",
    "CAP_SYS_MODULE",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_BOOT",
    "CAP_DAC_READ_SEARCH",
    "CAP_MAC_ADMIN",
    "CAP_BPF",
    "CAP_PERFMON",
];

/// Sockets through which the whole node is had, by the ends of their names.
const SOCKETS: [&str; 6] = [
    "containerd.sock",
    "crio.sock",
    "docker.sock",
    "podman.sock",
    "cri-dockerd.sock",
    "buildkitd.sock",
];

/// Directories of the host that hold its secrets or what it runs.
const HOST_DIRECTORIES: [&str; 19] = [
    "/dev",
    "/etc",
    "/root",
    "/home",
    "/boot",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/opt",
    "/var",
    "/run",
    "/var/run",
    "/var/lib",
    "/var/lib/kubelet",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/etcd",
];

/// Where the kubelet mounts volumes of pods, which are theirs.
const VOLUMES: [&str; 2] = ["/var/lib/kubelet/pods/", "/var/lib/kubelet/plugins/"];

/// Types of labels of SELinux that confine nothing.
const UNCONFINED: [&str; 4] = ["unconfined_t", "spc_t", "container_runtime_t", "super_t"];

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Isolation {
    /// Its namespaces that are the host's.
    pub host_namespaces: Vec<&'static str>,
    /// Real user id of the first process, in the agent's user namespace.
    pub uid: u32,
    /// Capabilities that it has, in its user namespace.
    pub cap_effective: u64,
    /// `off`, `strict` or `filter`.
    pub seccomp: &'static str,
    /// It can't gain privileges by running programs.
    pub no_new_privileges: bool,
    /// Its label of SELinux, or profile of AppArmor; empty where the node has neither.
    pub label: String,
    /// Its root directory can't be written to.
    pub read_only_root: bool,
    /// Files of the host that matter, and are mounted in it.
    pub mounts: Vec<HostMount>,
}

/// A directory or file of the host that is mounted in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostMount {
    /// Where it is in the container.
    pub path: String,
    /// What it is on the host.
    pub host_path: String,
    /// Type of its filesystem.
    pub filesystem: String,
    /// It can't be written to.
    pub read_only: bool,
}

impl Isolation {
    /// That of a container whose first process is `pid`; `None` when that has ended, or is not in this cgroup.
    #[must_use]
    pub fn read(pid: u32, cgroup_path: &str) -> Option<Self> {
        let directory = format!("/proc/{pid}");
        let directory = Path::new(&directory);
        let text = |name: &str| procfs::read_text(&directory.join(name));
        let status = text("status")?;
        let is_here = |cgroups: &str| cgroups.lines().any(|line| line.ends_with(cgroup_path));
        if !is_here(&text("cgroup")?) {
            return None;
        }
        let inode = |path: &Path| fs::metadata(path).ok().map(|found| found.ino());
        let is_host = |name: &&str| {
            let own = inode(&directory.join("ns").join(name));
            let host = of_host(|process| inode(&process.join("ns").join(name)));
            own.is_some() && own == host
        };
        let host = of_host(|process| procfs::read_text(&process.join("mountinfo")));
        let host = host.unwrap_or_default();
        let (read_only_root, mounts) = mounts(&text("mountinfo").unwrap_or_default(), &host);
        Some(Self {
            host_namespaces: NAMESPACES.into_iter().filter(is_host).collect(),
            uid: field(&status, "Uid:")
                .and_then(|ids| ids.split_whitespace().next()?.parse().ok())
                .unwrap_or(u32::MAX),
            cap_effective: field(&status, "CapEff:")
                .and_then(|set| u64::from_str_radix(set, 16).ok())
                .unwrap_or(0),
            seccomp: match field(&status, "Seccomp:") {
                Some("1") => "strict",
                Some("2") => "filter",
                _ => "off",
            },
            no_new_privileges: field(&status, "NoNewPrivs:") == Some("1"),
            label: text("attr/current")
                .unwrap_or_default()
                .trim_matches(['\0', '\n', ' '])
                .to_owned(),
            read_only_root,
            mounts,
        })
    }

    /// What makes it easier to get out than it has to be, in words; the worst first.
    #[must_use]
    pub fn weaknesses(&self) -> Vec<String> {
        let mut found = Vec::new();
        let is_host_user = self.host_namespaces.contains(&"user");
        let dangerous: Vec<&str> = identity::capability_names(self.cap_effective)
            .filter(|name| DANGEROUS.contains(name))
            .collect();
        // In a user namespace of its own they give no rights on the host.
        if is_host_user && !dangerous.is_empty() {
            let all = identity::capabilities_in_words(self.cap_effective);
            found.push(if all.starts_with("ALL") {
                format!("capabilities: {all}")
            } else {
                dangerous.join(", ")
            });
        }
        for name in &self.host_namespaces {
            if !HARMLESS.contains(name) {
                found.push(format!("{name} namespace of the host"));
            }
        }
        for mount in &self.mounts {
            let access = if mount.read_only { "read" } else { "write" };
            let (host_path, path) = (&mount.host_path, &mount.path);
            found.push(format!("the host's {host_path} at {path} ({access})"));
        }
        if self.seccomp == "off" {
            found.push("no seccomp filter".to_owned());
        }
        if is_unconfined(&self.label) {
            found.push(format!("label {} confines nothing", self.label));
        }
        found
    }
}

/// What is read of the host's first process or, where that is shielded, of the kernel's first thread, which stays where the kernel
/// began.
fn of_host<T>(read: impl Fn(&Path) -> Option<T>) -> Option<T> {
    ["/proc/1", "/proc/2"]
        .into_iter()
        .find_map(|process| read(Path::new(process)))
}

/// SELinux: `user:role:type:level`. AppArmor: the profile and its mode, or `unconfined`.
fn is_unconfined(label: &str) -> bool {
    let kind = label.split(':').nth(2).unwrap_or(label);
    kind == "unconfined" || UNCONFINED.contains(&kind)
}

/// A line of mountinfo (proc_pid_mountinfo(5)).
struct Mount<'a> {
    device: &'a str,
    /// Which directory or file of the filesystem is mounted.
    root: &'a str,
    point: &'a str,
    read_only: bool,
    filesystem: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(2);
        let (device, root, point) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Self {
            device,
            root,
            point,
            read_only: fields.next()?.split(',').any(|option| option == "ro"),
            filesystem: filesystem.split(' ').next()?,
        })
    }

    /// The path of what `other` mounts, where this mount shows that, too.
    fn path_of(&self, other: &Mount<'_>) -> Option<String> {
        if self.device != other.device {
            return None;
        }
        let rest = if self.root == "/" {
            other.root
        } else {
            other.root.strip_prefix(self.root)?
        };
        let rest = rest.trim_start_matches('/');
        let point = self.point.trim_end_matches('/');
        Some(match rest {
            "" if point.is_empty() => "/".to_owned(),
            "" => point.to_owned(),
            rest => format!("{point}/{rest}"),
        })
    }
}

/// Whether the root directory is read-only, and what is mounted of the host's files that matter.
fn mounts(container: &str, host: &str) -> (bool, Vec<HostMount>) {
    let host: Vec<Mount<'_>> = host
        .lines()
        .filter_map(Mount::parse)
        .filter(|mount| !VOLUMES.iter().any(|place| mount.point.starts_with(place)))
        .collect();
    let mut read_only_root = false;
    let mut found = Vec::new();
    for mount in container.lines().filter_map(Mount::parse) {
        if mount.point == "/" {
            read_only_root = mount.read_only;
            continue;
        }
        let shown = host.iter().filter_map(|other| other.path_of(&mount));
        if let Some(host_path) = shown.into_iter().find(|path| matters(path)) {
            found.push(HostMount {
                path: mount.point.to_owned(),
                host_path,
                filesystem: mount.filesystem.to_owned(),
                read_only: mount.read_only,
            });
        }
    }
    (read_only_root, found)
}

/// Whether a path of the host is a directory with its secrets or what it runs, or the socket of a runtime.
fn matters(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    path == "/" || HOST_DIRECTORIES.contains(&path) || SOCKETS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "\
20 1 254:0 /ostree/deploy/x / rw - xfs /dev/vda rw
21 20 254:0 /ostree/deploy/x/etc /etc rw - xfs /dev/vda rw
22 20 254:1 / /var rw - xfs /dev/vdb rw
23 20 0:22 / /run rw - tmpfs tmpfs rw
24 20 0:5 / /dev rw - devtmpfs udev rw
25 22 254:9 / /var/lib/kubelet/pods/1/volumes/csi/data rw - ext4 /dev/vdc rw";

    const CONTAINER: &str = "\
600 500 0:50 / / ro,relatime - overlay overlay rw,lowerdir=/l
601 600 0:51 / /proc rw,nosuid - proc proc rw
602 600 254:0 /ostree/deploy/x/etc /host/etc ro,relatime master:1 - xfs /dev/vda rw
603 600 254:0 /ostree/deploy/x /host rw,relatime - xfs /dev/vda rw
604 600 0:22 /containerd/containerd.sock /sock rw - tmpfs tmpfs rw
605 600 254:1 /lib/kubelet/pods/1/etc-hosts /etc/hosts rw,relatime - xfs /dev/vdb rw
606 600 254:1 /lib/kubelet /kubelet rw - xfs /dev/vdb rw
607 600 0:60 / /dev rw - tmpfs tmpfs rw
608 600 254:9 / /data rw - ext4 /dev/vdc rw
broken";

    #[test]
    fn files_of_the_host_are_told_from_volumes_and_what_every_container_has() {
        let (read_only, found) = mounts(CONTAINER, HOST);
        assert!(read_only);
        let shown: Vec<_> = found
            .iter()
            .map(|mount| {
                (
                    mount.path.as_str(),
                    mount.host_path.as_str(),
                    mount.read_only,
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("/host/etc", "/etc", true),
                ("/host", "/", false),
                ("/sock", "/run/containerd/containerd.sock", false),
                ("/kubelet", "/var/lib/kubelet", false),
            ]
        );
    }

    #[test]
    fn a_confined_container_has_no_weakness() {
        let confined = Isolation {
            host_namespaces: vec!["user"],
            cap_effective: identity::capability_bits(&["CAP_CHOWN".to_owned()]),
            seccomp: "filter",
            label: "system_u:system_r:container_t:s0:c1,c2".to_owned(),
            ..Isolation::default()
        };
        assert!(confined.weaknesses().is_empty());
        let open = Isolation {
            host_namespaces: vec!["pid", "net", "user"],
            cap_effective: u64::MAX,
            seccomp: "off",
            label: "unconfined".to_owned(),
            mounts: mounts(CONTAINER, HOST).1,
            ..Isolation::default()
        };
        let weaknesses = open.weaknesses();
        assert_eq!(weaknesses[0], "capabilities: ALL");
        assert_eq!(weaknesses[1], "pid namespace of the host");
        assert!(weaknesses.contains(&"the host's /etc at /host/etc (read)".to_owned()));
        assert!(weaknesses.contains(&"no seccomp filter".to_owned()));
        assert!(weaknesses.contains(&"label unconfined confines nothing".to_owned()));
    }

    #[test]
    fn capabilities_in_a_user_namespace_of_its_own_are_none_on_the_host() {
        let rootless = Isolation {
            cap_effective: u64::MAX,
            seccomp: "filter",
            ..Isolation::default()
        };
        assert!(rootless.weaknesses().is_empty());
    }

    #[test]
    fn labels_that_confine_nothing_are_known() {
        for (label, expected) in [
            ("unconfined", true),
            ("unconfined_u:unconfined_r:unconfined_t:s0", true),
            ("system_u:system_r:spc_t:s0", true),
            ("system_u:system_r:container_t:s0:c1,c2", false),
            ("cri-containerd.apparmor.d (enforce)", false),
            ("", false),
        ] {
            assert_eq!(is_unconfined(label), expected, "{label}");
        }
    }

    #[test]
    fn another_process_than_the_containers_is_not_looked_at() {
        assert!(Isolation::read(std::process::id(), "/no/such/cgroup").is_none());
        assert!(Isolation::read(u32::MAX, "").is_none());
    }
}
