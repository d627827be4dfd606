//! The cgroup hierarchy that containers are recognised in.
//!
//! A node runs version 2 (unified), version 1, or both (hybrid). Where version 2 is mounted, runtimes put
//! containers there as well, so it is watched; else a version 1 controller is.

use std::{fs, io, path::PathBuf};

use watchkeeper_ebpf::offsets::ABSENT;

use super::btf::KernelTypes;

/// Version 1 controllers that every runtime puts containers in, the best first, with the enumerator of
/// `cgroup_subsys_id` that says where `css_set.subsys` has them.
const CONTROLLERS: [(&str, &str); 3] = [
    ("memory", "memory_cgrp_id"),
    ("pids", "pids_cgrp_id"),
    ("cpu", "cpu_cgrp_id"),
];

/// Where version 2 is mounted for everybody: alone, or beside version 1.
const USUAL_MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// The watched hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Name of the version 1 controller; `None` for version 2.
    pub controller: Option<String>,
    /// Index of the controller in `css_set.subsys`, or [`ABSENT`].
    pub controller_index: u32,
    /// Number of the hierarchy in the kernel; 0 for version 2.
    pub id: u32,
    /// Where it is mounted.
    pub mount: PathBuf,
}

/// No hierarchy can be watched.
#[derive(Debug, thiserror::Error)]
pub enum HierarchyError {
    /// A file of procfs can't be read.
    #[error("finding the cgroup hierarchy: reading {path}: {source}")]
    Read {
        /// The file.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Nothing suitable is mounted.
    #[error(
        "finding the cgroup hierarchy: neither cgroup2 nor a version 1 memory, pids or cpu controller is mounted; \
         mount one with `mount -t cgroup2 none /sys/fs/cgroup`"
    )]
    None,
}

impl Hierarchy {
    /// Finds the hierarchy of the running system.
    ///
    /// # Errors
    /// When no suitable hierarchy is mounted.
    pub fn find(types: &KernelTypes) -> Result<Self, HierarchyError> {
        let read = |path: &'static str| {
            fs::read_to_string(path).map_err(|source| HierarchyError::Read { path, source })
        };
        let mounts = read("/proc/self/mountinfo")?;
        let cgroups = read("/proc/cgroups")?;
        Self::choose(&mounts, &cgroups, |name| {
            types.enumerator("cgroup_subsys_id", name)
        })
        .ok_or(HierarchyError::None)
    }

    fn choose(mounts: &str, cgroups: &str, index: impl Fn(&str) -> Option<u32>) -> Option<Self> {
        // A part of a hierarchy that is mounted somewhere (a bind mount) does not show all of it.
        let mounted: Vec<Mount<'_>> = mounts
            .lines()
            .filter_map(Mount::parse)
            .filter(|mount| mount.root == "/")
            .collect();
        let unified = |wanted: &dyn Fn(&Mount<'_>) -> bool| {
            let mount = mounted
                .iter()
                .find(|mount| mount.kind == "cgroup2" && wanted(mount))?;
            Some(Self {
                controller: None,
                controller_index: ABSENT,
                id: 0,
                mount: unescape(mount.point),
            })
        };
        // Some software mounts version 2 for itself on a node whose containers are in version 1.
        unified(&|mount| USUAL_MOUNTS.contains(&mount.point))
            .or_else(|| Self::version_1(&mounted, cgroups, index))
            .or_else(|| unified(&|_| true))
    }

    fn version_1(
        mounted: &[Mount<'_>],
        cgroups: &str,
        index: impl Fn(&str) -> Option<u32>,
    ) -> Option<Self> {
        CONTROLLERS.iter().find_map(|(name, enumerator)| {
            let mount = mounted.iter().find(|mount| {
                mount.kind == "cgroup" && mount.options.split(',').any(|option| option == *name)
            })?;
            Some(Self {
                controller: Some((*name).to_owned()),
                controller_index: index(enumerator)?,
                id: hierarchy_id(cgroups, name)?,
                mount: unescape(mount.point),
            })
        })
    }

    /// Path of a process's cgroup in this hierarchy, from the content of `/proc/PID/cgroup`.
    #[must_use]
    pub fn path_in<'a>(&self, content: &'a str) -> Option<&'a str> {
        content.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let ours = match &self.controller {
                None => controllers.is_empty(),
                Some(name) => controllers.split(',').any(|controller| controller == name),
            };
            ours.then_some(path)
        })
    }

    /// What to call it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.controller.as_deref().unwrap_or("unified")
    }
}

/// One line of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).
struct Mount<'a> {
    /// What part of the filesystem is mounted.
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    /// Options of the filesystem itself.
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        Some(Self {
            root: mount.split(' ').nth(3)?,
            point: mount.split(' ').nth(4)?,
            kind: filesystem.next()?,
            options: filesystem.nth(1)?,
        })
    }
}

/// Undoes the octal escapes of mountinfo for blank, tab, newline and backslash.
fn unescape(path: &str) -> PathBuf {
    PathBuf::from(
        path.replace("\\040", " ")
            .replace("\\011", "\t")
            .replace("\\012", "\n")
            .replace("\\134", "\\"),
    )
}

/// Hierarchy number of a controller, from the content of `/proc/cgroups`.
fn hierarchy_id(cgroups: &str, controller: &str) -> Option<u32> {
    cgroups.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        (fields.next()? == controller).then(|| fields.next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str =
        "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "31 30 0:27 / /sys/fs/cgroup/cpu\\040acct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    const CGROUPS: &str =
        "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t1\t1\nmemory\t5\t40\t1\n";

    #[test]
    fn unified_is_preferred_even_beside_version_1() {
        let both = format!(
            "{V1}{}",
            V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
        );
        for mounts in [V2, &both] {
            let hierarchy = Hierarchy::choose(mounts, CGROUPS, |_| Some(1)).expect("found");
            assert_eq!((hierarchy.name(), hierarchy.id), ("unified", 0));
        }
    }

    #[test]
    fn version_1_is_watched_by_a_controller() {
        let hierarchy =
            Hierarchy::choose(V1, CGROUPS, |name| (name == "memory_cgrp_id").then_some(4))
                .expect("found");
        assert_eq!(
            (hierarchy.name(), hierarchy.id, hierarchy.controller_index),
            ("memory", 5, 4)
        );
        assert_eq!(hierarchy.mount, PathBuf::from("/sys/fs/cgroup/memory"));
        // Without a memory controller the next one is taken, and escapes in its path are undone.
        let hierarchy = Hierarchy::choose(V1, CGROUPS, |name| (name == "cpu_cgrp_id").then_some(0))
            .expect("found");
        assert_eq!(hierarchy.mount, PathBuf::from("/sys/fs/cgroup/cpu acct"));
    }

    #[test]
    fn a_private_or_partial_mount_of_version_2_is_not_taken_for_the_nodes() {
        for odd in [
            V2.replace("/sys/fs/cgroup", "/run/cilium/cgroupv2"),
            V2.replace("0:26 / ", "0:26 /kubepods "),
        ] {
            let mounts = format!("{odd}{V1}");
            let hierarchy = Hierarchy::choose(&mounts, CGROUPS, |_| Some(4)).expect("found");
            assert_eq!(hierarchy.name(), "memory", "{odd}");
        }
        let alone = V2.replace("/sys/fs/cgroup", "/host/cgroup");
        let hierarchy = Hierarchy::choose(&alone, CGROUPS, |_| None).expect("found");
        assert_eq!(hierarchy.mount, PathBuf::from("/host/cgroup"));
    }

    #[test]
    fn nothing_mounted_is_nothing_found() {
        assert_eq!(Hierarchy::choose("", CGROUPS, |_| Some(0)), None);
    }

    #[test]
    fn the_line_of_the_hierarchy_is_read() {
        let content =
            "9:name=systemd:/a\n5:memory:/kubepods/x\n3:cpu,cpuacct:/c:d\n0::/unified/path\n";
        let mut hierarchy = Hierarchy::choose(V2, CGROUPS, |_| None).expect("found");
        assert_eq!(hierarchy.path_in(content), Some("/unified/path"));
        hierarchy.controller = Some("cpu".to_owned());
        assert_eq!(hierarchy.path_in(content), Some("/c:d"));
        hierarchy.controller = Some("pids".to_owned());
        assert_eq!(hierarchy.path_in(content), None);
    }
}
