//! The cgroups of the watched hierarchy and the containers they belong to, with what decides how a process
//! came into one.
//!
//! Filled once from the hierarchy's directory tree, then kept by the kernel side's records.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use watchkeeper_ebpf::cgroup::{CONTAINER, CgroupState, IGNORED};

use super::{
    membership::{Membership, Origin},
    model::Container,
    shape,
};
use crate::process::execution::{Process, ProcessKey};

/// Most cgroups that are kept; more are found again through their container's slot.
const MAX_CGROUPS: usize = 65_536;
/// Most containers that have ended and are still listed.
const MAX_ENDED: usize = 1_024;
/// How long a removed cgroup stays known, in nanoseconds: records of its last processes are on the way.
const TOMBSTONE_NS: u64 = 60_000_000_000;
/// Least time between two scans for an unknown cgroup, in nanoseconds.
const RESCAN_NS: u64 = 1_000_000_000;
/// Deepest directory that a scan enters.
const MAX_DEPTH: usize = 32;

/// The containers, for whoever lists them.
#[derive(Debug, Default)]
pub struct Listing(RwLock<BTreeMap<u32, Arc<Container>>>);

impl Listing {
    /// All of them, the first seen first.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Container>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    fn add(&self, container: &Arc<Container>) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(container.slot, Arc::clone(container));
    }

    fn remove(&self, slot: u32) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&slot);
    }
}

/// What is kept of a cgroup.
#[derive(Clone, Debug)]
struct Known {
    path: Arc<str>,
    container: Option<Arc<Container>>,
    /// When it was removed.
    removed_ns: Option<u64>,
}

/// What is kept of a container for deciding on origins.
#[derive(Debug)]
struct Progress {
    container: Arc<Container>,
    /// Its first process, once it has run its program.
    init: Option<ProcessKey>,
    /// That one is the first process of its pid namespace.
    certain: bool,
    /// Mount namespace of its first process, where it is not the host's.
    mnt_ns: Option<u32>,
}

/// Where a process runs.
#[derive(Clone, Debug)]
pub enum Place {
    /// In the cgroup of a container.
    Container(Arc<Container>, Arc<str>),
    /// In a known cgroup that is no container's.
    Host(Arc<str>),
    /// In a cgroup nothing is known of.
    Unknown,
}

/// A state to be put into the kernel's map.
pub type StateChange = (u64, CgroupState);

/// See the module.
#[derive(Debug)]
pub struct Registry {
    cgroups: HashMap<u64, Known>,
    progress: HashMap<u32, Progress>,
    by_mnt_ns: HashMap<u32, u32>,
    ended: VecDeque<u32>,
    removed: VecDeque<(u64, u64)>,
    next_slot: u32,
    /// Cgroups whose subtree the operator wants left out, by path.
    ignored: Vec<String>,
    last_scan_ns: u64,
    listing: Arc<Listing>,
}

/// What became of a cgroup that was announced.
#[derive(Debug, Default)]
pub struct Announced {
    /// The container it is the own cgroup of, when it is a new one.
    pub container: Option<Arc<Container>>,
    /// What the kernel's map has to hold for it.
    pub state: Option<StateChange>,
}

impl Registry {
    /// An empty registry. Subtrees at `ignored`, paths from the hierarchy's root, are left out by the kernel side.
    #[must_use]
    pub fn new(ignored: Vec<String>) -> Self {
        Self {
            cgroups: HashMap::new(),
            progress: HashMap::new(),
            by_mnt_ns: HashMap::new(),
            ended: VecDeque::new(),
            removed: VecDeque::new(),
            next_slot: 1,
            ignored,
            last_scan_ns: 0,
            listing: Arc::default(),
        }
    }

    /// The containers, for whoever lists them.
    #[must_use]
    pub fn listing(&self) -> Arc<Listing> {
        Arc::clone(&self.listing)
    }

    /// Reads the directory tree of the hierarchy; returns what is new.
    ///
    /// # Errors
    /// When the root can't be read. A directory that disappears meanwhile is left out.
    pub fn scan(&mut self, mount: &Path, now_ns: u64) -> io::Result<Vec<Announced>> {
        self.last_scan_ns = now_ns;
        let mut announced = Vec::new();
        let root = fs::metadata(mount)?.ino();
        announced.push(self.created(root, "/"));
        self.scan_below(mount, "", 0, &mut announced);
        Ok(announced)
    }

    /// Looks for a cgroup that no record announced; does nothing when the last scan was just now.
    pub fn rescan(&mut self, mount: &Path, now_ns: u64) -> Vec<Announced> {
        if now_ns.saturating_sub(self.last_scan_ns) < RESCAN_NS {
            return Vec::new();
        }
        self.scan(mount, now_ns).unwrap_or_default()
    }

    fn scan_below(
        &mut self,
        directory: &Path,
        path: &str,
        depth: usize,
        announced: &mut Vec<Announced>,
    ) {
        if depth >= MAX_DEPTH {
            return;
        }
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if !metadata.is_dir() {
                continue;
            }
            let path = format!("{path}/{}", entry.file_name().to_string_lossy());
            announced.push(self.created(metadata.ino(), &path));
            self.scan_below(&entry.path(), &path, depth + 1, announced);
        }
    }

    /// Notes a cgroup; does nothing for one that is known.
    pub fn created(&mut self, id: u64, path: &str) -> Announced {
        if let Some(known) = self.cgroups.get(&id)
            && &*known.path == path
        {
            return Announced::default();
        }
        let mut announced = Announced::default();
        let container = shape::recognise(path).map(|shape| {
            let own = &path[..shape.length];
            if let Some(container) = self.container_at(own) {
                return container;
            }
            let container = Arc::new(Container::new(shape, own.to_owned(), id, self.next_slot));
            self.next_slot += 1;
            self.progress.insert(
                container.slot,
                Progress {
                    container: Arc::clone(&container),
                    init: None,
                    certain: false,
                    mnt_ns: None,
                },
            );
            self.listing.add(&container);
            announced.container = Some(Arc::clone(&container));
            container
        });
        let flags = match &container {
            Some(_) => CONTAINER,
            None if self.is_ignored(path) => IGNORED,
            None => 0,
        };
        if flags != 0 {
            announced.state = Some((
                id,
                CgroupState {
                    container_slot: container.as_ref().map_or(0, |container| container.slot),
                    flags,
                },
            ));
        }
        while self.cgroups.len() >= MAX_CGROUPS
            && let Some((_, gone)) = self.removed.pop_front()
        {
            self.cgroups.remove(&gone);
        }
        if self.cgroups.len() < MAX_CGROUPS {
            self.cgroups.insert(
                id,
                Known {
                    path: path.into(),
                    container,
                    removed_ns: None,
                },
            );
        }
        announced
    }

    fn is_ignored(&self, path: &str) -> bool {
        self.ignored.iter().any(|ignored| {
            path.strip_prefix(ignored.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// The living container whose own cgroup is at a path.
    fn container_at(&self, path: &str) -> Option<Arc<Container>> {
        self.progress
            .values()
            .map(|progress| &progress.container)
            .find(|container| container.cgroup_path == path && container.details().ended.is_none())
            .cloned()
    }

    /// Notes that a cgroup is gone; returns the container that ended with it.
    pub fn removed(&mut self, id: u64, now_ns: u64) -> Option<Arc<Container>> {
        let container = match self.cgroups.get_mut(&id) {
            Some(known) => {
                known.removed_ns = Some(now_ns);
                self.removed.push_back((now_ns, id));
                known.container.clone()?
            }
            // There was no room for the cgroup; the container is known all the same.
            None => {
                let mut containers = self.progress.values().map(|progress| &progress.container);
                containers.find(|found| found.cgroup_id == id)?.clone()
            }
        };
        if container.cgroup_id != id || container.details().ended.is_some() {
            return None;
        }
        container.learn(|details| details.ended = Some(SystemTime::now()));
        self.ended.push_back(container.slot);
        if self.ended.len() > MAX_ENDED
            && let Some(slot) = self.ended.pop_front()
        {
            self.forget(slot);
        }
        Some(container)
    }

    fn forget(&mut self, slot: u32) {
        self.listing.remove(slot);
        if let Some(progress) = self.progress.remove(&slot)
            && let Some(mnt_ns) = progress.mnt_ns
            && self.by_mnt_ns.get(&mnt_ns) == Some(&slot)
        {
            self.by_mnt_ns.remove(&mnt_ns);
        }
    }

    /// Lets go of cgroups that were removed some time ago.
    pub fn sweep(&mut self, now_ns: u64) {
        while let Some((removed, id)) = self.removed.front().copied() {
            if removed.saturating_add(TOMBSTONE_NS) > now_ns {
                break;
            }
            self.removed.pop_front();
            if self
                .cgroups
                .get(&id)
                .is_some_and(|known| known.removed_ns == Some(removed))
            {
                self.cgroups.remove(&id);
            }
        }
    }

    /// Where a process of this cgroup runs. The slot is what the kernel's map had for it, and serves where the
    /// record that announced the cgroup was lost.
    #[must_use]
    pub fn place(&self, cgroup_id: u64, slot: u32) -> Place {
        if let Some(known) = self.cgroups.get(&cgroup_id) {
            return match &known.container {
                Some(container) => Place::Container(Arc::clone(container), Arc::clone(&known.path)),
                None => Place::Host(Arc::clone(&known.path)),
            };
        }
        match self.progress.get(&slot) {
            Some(progress) => Place::Container(
                Arc::clone(&progress.container),
                progress.container.cgroup_path.as_str().into(),
            ),
            None => Place::Unknown,
        }
    }

    /// Every known cgroup's path, and where its processes run.
    pub fn places(&self) -> impl Iterator<Item = (Arc<str>, Place)> + '_ {
        self.cgroups
            .iter()
            .map(|(id, known)| (Arc::clone(&known.path), self.place(*id, 0)))
    }

    /// Path of a cgroup; `None` when it is not known.
    #[must_use]
    pub fn path(&self, cgroup_id: u64) -> Option<Arc<str>> {
        self.cgroups
            .get(&cgroup_id)
            .map(|known| Arc::clone(&known.path))
    }

    /// The container that a mount namespace is the own one of.
    #[must_use]
    pub fn of_mount_namespace(&self, mnt_ns: u32) -> Option<Arc<Container>> {
        let slot = self.by_mnt_ns.get(&mnt_ns)?;
        let container = &self.progress.get(slot)?.container;
        container
            .details()
            .ended
            .is_none()
            .then(|| Arc::clone(container))
    }

    /// A process enters a container: what it is from then on. Until the container's first program runs, whoever enters
    /// is the runtime setting it up; after that it is `later`: injected, or unknown where nothing tells that it comes
    /// from outside. `by` is who put it there.
    pub fn enter(
        &mut self,
        container: &Arc<Container>,
        later: Origin,
        by: Option<Arc<Process>>,
    ) -> Membership {
        let before_init = self.init(container).is_none();
        Membership {
            container: Arc::clone(container),
            origin: if before_init {
                Origin::Descendant
            } else {
                later
            },
            entered_by: by,
        }
    }

    /// A member of a container runs a program: the first one to do so in the container's own tree and in a mount
    /// namespace of its own is the entry point. A runtime that is setting the container up may run itself again in
    /// its cgroup (runc does, from a sealed copy), but then still in the host's mount namespace. `mnt_ns` is the
    /// mount namespace, 0 when that is the host's or the runtime's. A hook of the runtime may run before the entry
    /// point does, so a process that is the first of its pid namespace takes the place of one that is not.
    pub fn ran(
        &mut self,
        membership: Membership,
        key: ProcessKey,
        mnt_ns: u32,
        first_in_pid_ns: bool,
    ) -> Membership {
        if membership.origin != Origin::Descendant || mnt_ns == 0 {
            return membership;
        }
        let Some(progress) = self.progress.get_mut(&membership.container.slot) else {
            return membership;
        };
        if progress.init.is_some() && (progress.certain || !first_in_pid_ns) {
            return membership;
        }
        progress.certain = first_in_pid_ns;
        self.becomes_init(&membership.container, key, mnt_ns);
        Membership {
            origin: Origin::Entrypoint,
            ..membership
        }
    }

    /// Notes the first process of a container.
    pub fn becomes_init(&mut self, container: &Arc<Container>, key: ProcessKey, mnt_ns: u32) {
        let Some(progress) = self.progress.get_mut(&container.slot) else {
            return;
        };
        progress.init = Some(key);
        if mnt_ns != 0 {
            progress.mnt_ns = Some(mnt_ns);
            self.by_mnt_ns.insert(mnt_ns, container.slot);
        }
        container.learn(|details| details.init_pid = key.pid);
    }

    /// The first process of a container.
    #[must_use]
    pub fn init(&self, container: &Container) -> Option<ProcessKey> {
        self.progress.get(&container.slot)?.init
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "6b83e4665ae8bd6de8ffe203d16658a69e4735c210bf36c45816dbe502416c10";

    fn path() -> String {
        format!("/kubepods/pod11111111-2222/{ID}")
    }

    fn key(pid: u32) -> ProcessKey {
        ProcessKey {
            pid,
            start_ticks: 1,
        }
    }

    #[test]
    fn a_container_is_announced_once_with_the_state_for_the_kernel() {
        let mut registry = Registry::new(Vec::new());
        let first = registry.created(10, &path());
        let container = first.container.expect("new");
        assert_eq!(container.id, ID);
        assert_eq!(
            first.state,
            Some((
                10,
                CgroupState {
                    container_slot: container.slot,
                    flags: CONTAINER
                }
            ))
        );
        assert!(registry.created(10, &path()).container.is_none());
        let nested = registry.created(11, &format!("{}/init.scope", path()));
        assert!(nested.container.is_none(), "part of the same container");
        assert_eq!(
            nested.state.map(|(_, state)| state.container_slot),
            Some(container.slot)
        );
        assert_eq!(registry.listing().all().len(), 1);
    }

    #[test]
    fn host_and_unknown_are_told_apart() {
        let mut registry = Registry::new(Vec::new());
        registry.created(2, "/system.slice/sshd.service");
        assert!(
            matches!(registry.place(2, 0), Place::Host(path) if &*path == "/system.slice/sshd.service")
        );
        assert!(matches!(registry.place(3, 0), Place::Unknown));
    }

    #[test]
    fn an_unannounced_nested_cgroup_is_found_by_the_slot_it_inherited() {
        let mut registry = Registry::new(Vec::new());
        let container = registry.created(10, &path()).container.expect("new");
        assert!(matches!(
            registry.place(99, container.slot),
            Place::Container(found, _) if found.id == ID
        ));
    }

    #[test]
    fn a_removed_container_is_known_for_its_last_records() {
        let mut registry = Registry::new(Vec::new());
        registry.created(10, &path());
        assert!(registry.removed(10, 5).is_some());
        registry.sweep(5 + TOMBSTONE_NS / 2);
        assert!(matches!(registry.place(10, 0), Place::Container(..)));
        registry.sweep(6 + TOMBSTONE_NS);
        assert!(matches!(registry.place(10, 0), Place::Unknown));
        assert_eq!(registry.listing().all().len(), 1, "still listed, as ended");
    }

    #[test]
    fn a_container_that_starts_again_under_its_id_is_another() {
        let mut registry = Registry::new(Vec::new());
        let first = registry.created(10, &path()).container.expect("new");
        registry.removed(10, 5);
        let second = registry.created(11, &path()).container.expect("new");
        assert_ne!(first.slot, second.slot);
    }

    #[test]
    fn ended_containers_are_bounded() {
        let mut registry = Registry::new(Vec::new());
        for number in 0..MAX_ENDED as u64 + 50 {
            let path = format!("/docker/{number:064x}");
            registry.created(number, &path);
            registry.removed(number, number);
        }
        registry.sweep(u64::MAX);
        assert_eq!(registry.listing().all().len(), MAX_ENDED);
        assert_eq!(registry.progress.len(), MAX_ENDED);
        assert!(registry.cgroups.is_empty());
    }

    #[test]
    fn the_first_to_run_is_the_entry_point_and_who_enters_later_is_injected() {
        let mut registry = Registry::new(Vec::new());
        let container = registry.created(10, &path()).container.expect("new");
        // The runtime enters, runs itself again, and its child runs the first program.
        let runtime = registry.enter(&container, Origin::Injected, None);
        let again = registry.ran(runtime.clone(), key(6), 0, false);
        assert_eq!(again.origin, Origin::Descendant, "still the runtime");
        let second = registry.enter(&container, Origin::Injected, None);
        assert_eq!(
            second.origin,
            Origin::Descendant,
            "nothing runs in there yet"
        );
        let init = registry.ran(runtime.of_child(), key(7), 4_026, true);
        assert_eq!(init.origin, Origin::Entrypoint);
        assert_eq!(registry.init(&container), Some(key(7)));
        let child = registry.ran(init.of_child(), key(8), 4_026, false);
        assert_eq!(child.origin, Origin::Descendant);
        let exec = registry.enter(&container, Origin::Injected, None);
        assert_eq!(
            registry.ran(exec.of_child(), key(9), 4_026, false).origin,
            Origin::Injected
        );
        assert_eq!(
            registry.of_mount_namespace(4_026).map(|found| found.slot),
            Some(container.slot)
        );
    }

    #[test]
    fn a_hook_that_runs_before_the_entry_point_gives_way_to_it() {
        let mut registry = Registry::new(Vec::new());
        let container = registry.created(10, &path()).container.expect("new");
        let runtime = registry.enter(&container, Origin::Injected, None);
        registry.ran(runtime.of_child(), key(7), 4_026, false);
        let init = registry.ran(runtime.of_child(), key(8), 4_026, true);
        assert_eq!(init.origin, Origin::Entrypoint);
        assert_eq!(registry.init(&container), Some(key(8)));
    }

    #[test]
    fn removed_cgroups_make_room_for_new_ones() {
        let mut registry = Registry::new(Vec::new());
        for id in 0..MAX_CGROUPS as u64 {
            registry.created(id, &format!("/user.slice/{id}"));
            registry.removed(id, id);
        }
        let id = MAX_CGROUPS as u64;
        registry.created(id, &path());
        assert!(matches!(registry.place(id, 0), Place::Container(..)));
    }

    #[test]
    fn only_the_named_subtree_is_ignored_and_never_a_container() {
        let mut registry = Registry::new(vec!["/system.slice/backup".to_owned()]);
        let flags = |announced: Announced| announced.state.map_or(0, |(_, state)| state.flags);
        assert_eq!(flags(registry.created(1, "/system.slice/backup")), IGNORED);
        assert_eq!(
            flags(registry.created(2, "/system.slice/backup/x")),
            IGNORED
        );
        assert_eq!(flags(registry.created(3, "/system.slice/backup2")), 0);
        let inside = format!("/system.slice/backup/docker-{ID}.scope");
        assert_eq!(flags(registry.created(4, &inside)), CONTAINER);
    }
}
