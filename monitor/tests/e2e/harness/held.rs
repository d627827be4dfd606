//! What a process holds of the kernel's: BPF objects with their entries, descriptors, threads and memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::maps::{MapInfo, MapType};

/// BPF objects that a process holds, by the numbers the kernel gave them.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) programs: BTreeSet<u32>,
    pub(crate) links: BTreeSet<u32>,
    pub(crate) maps: BTreeSet<u32>,
}

impl Held {
    /// See proc_pid_fdinfo(5).
    pub(crate) fn by(pid: u32) -> Self {
        let mut held = Self::default();
        let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("it runs");
        for entry in entries.flatten() {
            // A descriptor may have been closed since.
            let info = fs::read_to_string(entry.path()).unwrap_or_default();
            let number = |key: &str| {
                let line = info.lines().find_map(|line| line.strip_prefix(key))?;
                line.trim().parse::<u32>().ok()
            };
            held.programs.extend(number("prog_id:"));
            held.links.extend(number("link_id:"));
            held.maps.extend(number("map_id:"));
        }
        held
    }

    /// Those that the kernel still has.
    pub(crate) fn left(&self) -> Self {
        let programs = aya::programs::loaded_programs()
            .flatten()
            .map(|one| one.id());
        let links = aya::programs::loaded_links().flatten().map(|one| one.id());
        let maps = aya::maps::loaded_maps().flatten().map(|one| one.id());
        Self {
            programs: programs.filter(|id| self.programs.contains(id)).collect(),
            links: links.filter(|id| self.links.contains(id)).collect(),
            maps: maps.filter(|id| self.maps.contains(id)).collect(),
        }
    }

    /// The maps that have keys which come and go, by name.
    pub(crate) fn tables(&self) -> BTreeMap<String, Table> {
        let tables = self.maps.iter().filter_map(|id| {
            let info = MapInfo::from_id(*id).expect("the agent holds it");
            let has_keys = matches!(
                info.map_type(),
                Ok(MapType::Hash | MapType::LruHash | MapType::PerCpuHash)
            );
            let name = info.name_as_str().expect("maps have names").to_owned();
            has_keys.then_some((name, Table(info)))
        });
        tables.collect()
    }
}

/// A map of the kernel with keys that come and go.
pub(crate) struct Table(MapInfo);

impl Table {
    /// Most keys it takes.
    pub(crate) fn ceiling(&self) -> usize {
        usize::try_from(self.0.max_entries()).expect("a small number")
    }

    /// The first eight bytes of each of its keys, which are a number. One that comes or goes meanwhile may be among them or not.
    pub(crate) fn numbers(&self) -> BTreeSet<u64> {
        self.keys()
            .iter()
            .map(|key| u64::from_ne_bytes(key[..8].try_into().expect("eight bytes")))
            .collect()
    }

    /// Its keys. One that comes or goes meanwhile may be among them or not.
    pub(crate) fn keys(&self) -> BTreeSet<Vec<u8>> {
        let map = self.0.fd().expect("the agent holds it");
        let size = usize::try_from(self.0.key_size()).expect("a small number");
        let mut keys = BTreeSet::new();
        let mut key: Option<Vec<u8>> = None;
        // Where the last key has gone meanwhile the kernel begins anew: it ends all the same.
        for _ in 0..4 * self.ceiling() {
            let mut next = vec![0; size];
            let found = next_key(map.as_fd().as_raw_fd(), key.as_deref(), &mut next);
            if !found {
                break;
            }
            keys.insert(next.clone());
            key = Some(next);
        }
        keys
    }
}

/// The key after another, or the first; `false` where there is none. See `BPF_MAP_GET_NEXT_KEY` in bpf(2).
fn next_key(map: i32, key: Option<&[u8]>, next: &mut [u8]) -> bool {
    /// linux/bpf.h, `enum bpf_cmd`.
    const GET_NEXT_KEY: libc::c_long = 4;
    /// linux/bpf.h, the members of `union bpf_attr` for commands on elements.
    #[repr(C)]
    struct Attributes {
        map: u64,
        key: u64,
        next: u64,
        flags: u64,
    }
    let attributes = Attributes {
        map: u64::try_from(map).expect("a descriptor"),
        key: key.map_or(0, |key| key.as_ptr() as u64),
        next: next.as_mut_ptr() as u64,
        flags: 0,
    };
    // SAFETY: the attributes have the layout of the command. Both keys are as long as those of the map, and live until the call
    // returns.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            GET_NEXT_KEY,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    outcome == 0
}

/// Figures of a process, which are not to grow without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    /// KiB of memory that it holds, without what it shares with files.
    pub(crate) resident: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

impl Figures {
    /// See proc_pid_status(5).
    pub(crate) fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .and_then(|value| value.split_whitespace().next()?.parse().ok());
        let count = |what| {
            fs::read_dir(format!("/proc/{pid}/{what}"))
                .expect("it runs")
                .count()
        };
        Self {
            resident: resident.expect("it has memory"),
            descriptors: count("fd"),
            threads: count("task"),
        }
    }
}
