//! The containers of the node, recognised by their cgroups, and what decides how a process came into one.
//!
//! Filled once from the hierarchy's directory tree, then kept by the kernel side's records.

use std::{
    collections::{HashMap, VecDeque},
    io,
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use watchkeeper_ebpf::cgroup::{CgroupState, HOST, IGNORED};

use super::{
    cgroups::{self, Cgroups},
    listing::Listing,
    membership::{Membership, Origin},
    model::Container,
    shape,
};
use crate::process::execution::{Process, ProcessKey};

/// Most containers that have ended and are still listed.
const MAX_ENDED: usize = 1_024;
/// Least time between two scans for an unknown cgroup, in nanoseconds.
const RESCAN_NS: u64 = 1_000_000_000;

/// A container, and what is kept of it for deciding on origins.
#[derive(Debug)]
struct Known {
    container: Arc<Container>,
    /// Its first process, once that has run its program.
    init: Option<FirstProgram>,
}

/// What is told of the process that runs the first program of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstProgram {
    /// The process.
    pub key: ProcessKey,
    /// Its mount namespace, where that is not the host's.
    pub mnt_ns: Option<u32>,
    /// It is the first process of a pid namespace of its own.
    pub first_in_pid_ns: bool,
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
    cgroups: Cgroups,
    containers: HashMap<u32, Known>,
    /// Slots of the living, by the path and by the id of their own cgroup.
    by_path: HashMap<String, u32>,
    by_cgroup: HashMap<u64, u32>,
    by_mnt_ns: HashMap<u32, u32>,
    /// Slots of those that have ended, the earliest first.
    ended: VecDeque<u32>,
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
            cgroups: Cgroups::default(),
            containers: HashMap::new(),
            by_path: HashMap::new(),
            by_cgroup: HashMap::new(),
            by_mnt_ns: HashMap::new(),
            ended: VecDeque::new(),
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
    /// When the root can't be read.
    pub fn scan(&mut self, mount: &Path, now_ns: u64) -> io::Result<Vec<Announced>> {
        self.last_scan_ns = now_ns;
        let found = cgroups::walk(mount)?;
        Ok(found
            .iter()
            .map(|(id, path)| self.created(*id, path))
            .collect())
    }

    /// Looks for a cgroup that no record announced; does nothing when the last scan was just now.
    pub fn rescan(&mut self, mount: &Path, now_ns: u64) -> Vec<Announced> {
        if now_ns.saturating_sub(self.last_scan_ns) < RESCAN_NS {
            return Vec::new();
        }
        self.scan(mount, now_ns).unwrap_or_default()
    }

    /// Notes a cgroup; does nothing for one that is known.
    pub fn created(&mut self, id: u64, path: &str) -> Announced {
        let mut announced = Announced::default();
        if self
            .cgroups
            .get(id)
            .is_some_and(|known| &*known.path == path)
        {
            return announced;
        }
        let container = shape::recognise(path).map(|shape| {
            let own = &path[..shape.length];
            let living = self
                .by_path
                .get(own)
                .and_then(|slot| self.containers.get(slot));
            if let Some(known) = living {
                return Arc::clone(&known.container);
            }
            let container = Arc::new(Container::new(shape, own.to_owned(), id, self.next_slot));
            self.next_slot += 1;
            self.add(&container);
            announced.container = Some(Arc::clone(&container));
            container
        });
        let state = match &container {
            Some(container) => Some(CgroupState {
                container_slot: container.slot,
                flags: 0,
            }),
            None => Some(CgroupState {
                container_slot: 0,
                flags: if self.is_ignored(path) { IGNORED } else { HOST },
            }),
        };
        announced.state = state.map(|state| (id, state));
        self.cgroups.insert(id, path, container);
        announced
    }

    fn add(&mut self, container: &Arc<Container>) {
        let slot = container.slot;
        self.by_path.insert(container.cgroup_path.clone(), slot);
        self.by_cgroup.insert(container.cgroup_id, slot);
        self.listing.add(container);
        self.containers.insert(
            slot,
            Known {
                container: Arc::clone(container),
                init: None,
            },
        );
    }

    fn is_ignored(&self, path: &str) -> bool {
        self.ignored.iter().any(|ignored| {
            path.strip_prefix(ignored.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Notes that a cgroup is gone; returns the container that ended with it.
    pub fn removed(&mut self, id: u64, now_ns: u64) -> Option<Arc<Container>> {
        self.cgroups.removed(id, now_ns);
        let slot = self.by_cgroup.remove(&id)?;
        let known = self.containers.get(&slot)?;
        let container = Arc::clone(&known.container);
        self.by_path.remove(&container.cgroup_path);
        if let Some(mnt_ns) = known.init.and_then(|init| init.mnt_ns)
            && self.by_mnt_ns.get(&mnt_ns) == Some(&slot)
        {
            self.by_mnt_ns.remove(&mnt_ns);
        }
        container.learn(|details| details.ended = Some(SystemTime::now()));
        self.ended.push_back(slot);
        if self.ended.len() > MAX_ENDED
            && let Some(earliest) = self.ended.pop_front()
        {
            self.containers.remove(&earliest);
            self.listing.remove(earliest);
        }
        Some(container)
    }

    /// Lets go of cgroups that were removed some time ago.
    pub fn sweep(&mut self, now_ns: u64) {
        self.cgroups.sweep(now_ns);
    }

    /// How many cgroups it knows.
    #[must_use]
    pub fn cgroups(&self) -> usize {
        self.cgroups.count()
    }

    /// Where a process of this cgroup runs. The slot is what the kernel's map had for it, and serves where the
    /// record that announced the cgroup was lost.
    #[must_use]
    pub fn place(&self, cgroup_id: u64, slot: u32) -> Place {
        if let Some(cgroup) = self.cgroups.get(cgroup_id) {
            let path = Arc::clone(&cgroup.path);
            return match &cgroup.container {
                Some(container) => Place::Container(Arc::clone(container), path),
                None => Place::Host(path),
            };
        }
        match self.containers.get(&slot) {
            Some(Known { container, .. }) => {
                Place::Container(Arc::clone(container), container.cgroup_path.as_str().into())
            }
            None => Place::Unknown,
        }
    }

    /// The containers that have not ended.
    #[must_use]
    pub fn living(&self) -> Vec<Arc<Container>> {
        self.by_cgroup
            .values()
            .filter_map(|slot| Some(Arc::clone(&self.containers.get(slot)?.container)))
            .collect()
    }

    /// Every known cgroup's path, and the container that processes there are in.
    pub fn paths(&self) -> impl Iterator<Item = (Arc<str>, Option<Arc<Container>>)> + '_ {
        self.cgroups
            .iter()
            .map(|cgroup| (Arc::clone(&cgroup.path), cgroup.container.clone()))
    }

    /// The cgroups of which it is not known that they were removed: ids and paths.
    pub fn present(&self) -> impl Iterator<Item = (u64, &str)> + '_ {
        self.cgroups.present()
    }

    /// Path of a cgroup; `None` when it is not known.
    #[must_use]
    pub fn path(&self, cgroup_id: u64) -> Option<Arc<str>> {
        Some(Arc::clone(&self.cgroups.get(cgroup_id)?.path))
    }

    /// The living container that a mount namespace is the own one of.
    #[must_use]
    pub fn of_mount_namespace(&self, mnt_ns: u32) -> Option<Arc<Container>> {
        let slot = self.by_mnt_ns.get(&mnt_ns)?;
        Some(Arc::clone(&self.containers.get(slot)?.container))
    }

    /// A process enters a container: what it is from then on. Until the container's first program runs, whoever enters
    /// is the runtime setting it up; after that it is `later`: injected, or unknown where nothing tells that it comes
    /// from outside. `by` is who put it there.
    pub fn enter(
        &self,
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

    /// A member of a container runs a program in a mount namespace that is neither the host's nor that of the runtime:
    /// the first one to do so in the container's own tree is the entry point. (A runtime that is setting the container
    /// up may run itself again in its cgroup; runc does, from a sealed copy.) A hook of the runtime may have run
    /// before: the first process of a pid namespace takes the place of one that is not and has ended, which
    /// `is_alive` tells.
    pub fn ran(
        &mut self,
        membership: Membership,
        program: FirstProgram,
        is_alive: impl Fn(ProcessKey) -> bool,
    ) -> Membership {
        if membership.origin != Origin::Descendant || program.mnt_ns.is_none() {
            return membership;
        }
        let before = self
            .containers
            .get(&membership.container.slot)
            .map(|known| known.init);
        let is_first = match before {
            None => false,
            Some(None) => true,
            Some(Some(before)) => {
                program.first_in_pid_ns && !before.first_in_pid_ns && !is_alive(before.key)
            }
        };
        if !is_first {
            return membership;
        }
        self.begins_with(&membership.container, program);
        Membership {
            origin: Origin::Entrypoint,
            ..membership
        }
    }

    /// Notes the first program of a container.
    pub fn begins_with(&mut self, container: &Container, program: FirstProgram) {
        let Some(known) = self.containers.get_mut(&container.slot) else {
            return;
        };
        known.init = Some(program);
        if let Some(mnt_ns) = program.mnt_ns {
            self.by_mnt_ns.insert(mnt_ns, container.slot);
        }
        container.learn(|details| details.init_pid = program.key.pid);
    }

    /// The first process of a container.
    #[must_use]
    pub fn init(&self, container: &Container) -> Option<ProcessKey> {
        Some(self.containers.get(&container.slot)?.init?.key)
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

    /// Process `pid`, in the container's mount namespace.
    fn program(pid: u32, first_in_pid_ns: bool) -> FirstProgram {
        FirstProgram {
            key: key(pid),
            mnt_ns: Some(4_026),
            first_in_pid_ns,
        }
    }

    fn all_live(_: ProcessKey) -> bool {
        true
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
                    flags: 0
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
    fn a_removed_container_is_listed_as_ended() {
        let mut registry = Registry::new(Vec::new());
        registry.created(10, &path());
        let ended = registry.removed(10, 5).expect("it ended");
        assert!(ended.details().ended.is_some());
        assert!(registry.removed(10, 6).is_none(), "once");
        registry.sweep(u64::MAX);
        assert!(matches!(registry.place(10, 0), Place::Unknown));
        assert_eq!(registry.listing().all().len(), 1);
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
        assert_eq!(registry.containers.len(), MAX_ENDED);
        assert_eq!(registry.paths().count(), 0);
        assert!(registry.by_path.is_empty() && registry.by_cgroup.is_empty());
    }

    #[test]
    fn the_first_to_run_is_the_entry_point_and_who_enters_later_is_injected() {
        let mut registry = Registry::new(Vec::new());
        let container = registry.created(10, &path()).container.expect("new");
        // The runtime enters, runs itself again, and its child runs the first program.
        let runtime = registry.enter(&container, Origin::Injected, None);
        let again = registry.ran(
            runtime.clone(),
            FirstProgram {
                mnt_ns: None,
                ..program(6, false)
            },
            all_live,
        );
        assert_eq!(again.origin, Origin::Descendant, "still the runtime");
        let second = registry.enter(&container, Origin::Injected, None);
        assert_eq!(
            second.origin,
            Origin::Descendant,
            "nothing runs in there yet"
        );
        let init = registry.ran(runtime.of_child(), program(7, true), all_live);
        assert_eq!(init.origin, Origin::Entrypoint);
        assert_eq!(registry.init(&container), Some(key(7)));
        let child = registry.ran(init.of_child(), program(8, false), all_live);
        assert_eq!(child.origin, Origin::Descendant);
        let exec = registry.enter(&container, Origin::Injected, None);
        assert_eq!(
            registry
                .ran(exec.of_child(), program(9, false), all_live)
                .origin,
            Origin::Injected
        );
        assert_eq!(
            registry.of_mount_namespace(4_026).map(|found| found.slot),
            Some(container.slot)
        );
    }

    #[test]
    fn a_hook_that_ran_before_gives_way_to_the_entry_point() {
        let mut registry = Registry::new(Vec::new());
        let container = registry.created(10, &path()).container.expect("new");
        let runtime = registry.enter(&container, Origin::Injected, None);
        registry.ran(runtime.of_child(), program(7, false), all_live);
        let init = registry.ran(runtime.of_child(), program(8, true), |_| false);
        assert_eq!(init.origin, Origin::Entrypoint);
        assert_eq!(registry.init(&container), Some(key(8)));
    }

    /// A container that shares the pod's pid namespace, in which something makes a pid namespace of its own.
    #[test]
    fn a_living_entry_point_keeps_its_place() {
        let mut registry = Registry::new(Vec::new());
        let container = registry.created(10, &path()).container.expect("new");
        let runtime = registry.enter(&container, Origin::Injected, None);
        registry.ran(runtime.of_child(), program(7, false), all_live);
        let sandbox = registry.ran(runtime.of_child(), program(8, true), all_live);
        assert_eq!(sandbox.origin, Origin::Descendant);
        assert_eq!(registry.init(&container), Some(key(7)));
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
        assert_eq!(flags(registry.created(3, "/system.slice/backup2")), HOST);
        let inside = format!("/system.slice/backup/docker-{ID}.scope");
        assert_eq!(flags(registry.created(4, &inside)), 0);
        assert!(matches!(registry.place(4, 0), Place::Container(..)));
    }
}
