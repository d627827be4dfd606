//! Carries records from the kernel's rings to the stores: each is put into its place among processes and
//! containers, becomes an event, and goes on to detection.
//!
//! Runs on one thread, which owns the process table and the registry of containers.

mod descent;
pub mod figures;
mod heartbeat;
mod housekeeping;
mod lifecycle;
mod network;
mod seed;
mod signals;
mod usage;

use std::{
    collections::HashMap,
    io,
    num::NonZeroUsize,
    sync::{Arc, PoisonError, atomic::Ordering, mpsc::Receiver},
    time::Duration,
};

use aya::maps::{Array, HashMap as KernelMap, MapData, PerCpuHashMap};
use lru::LruCache;
use watchkeeper_ebpf::{
    budget::{Bucket, BucketKey},
    cgroup::CgroupState,
    decode::{Record, decode},
    loss::LossKey,
    record::Header,
    tables::Connecting,
    watch::Watching,
};

use figures::Figures;
use network::Network;
use usage::Usage;

use crate::{
    container::{
        membership::{Membership, Origin},
        metadata::{Question, Questions},
        model::Container,
        podman,
        registry::{Announced, Place, Registry},
        runtime_sockets::RuntimeSockets,
        shape::Runtime,
    },
    detect::detector::Detector,
    event::{Ancestor, Cgroup, Detail, Event, Target},
    heartbeat::Heartbeats,
    kernel::{
        hierarchy::Hierarchy,
        loader::{HostNamespaces, Shared},
        rings::{Rings, Wake},
    },
    process::{
        clock,
        execution::{Process, ProcessKey},
        table::Table,
    },
    redact::Redactor,
    store::{past::Past, recent::Recent},
    watch::WatchList,
};

/// How often losses are read, and what is over is let go of.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Processes that are not in the table, but were seen to be moved.
const MOVED: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");

/// Most batches that are read from the rings between two looks at the clock.
const MOST_BATCHES: u32 = 16;

/// The kernel's maps that the engine reads and writes.
pub struct Maps {
    /// State by cgroup id.
    pub cgroups: KernelMap<MapData, u64, Shared<CgroupState>>,
    /// What each container may still cause.
    pub budgets: KernelMap<MapData, Shared<BucketKey>, Shared<Bucket>>,
    /// Lost records.
    pub losses: PerCpuHashMap<MapData, Shared<LossKey>, u64>,
    /// TCP connections under way.
    pub connecting: KernelMap<MapData, u64, Shared<Connecting>>,
    /// Hashes of watched names.
    pub watched_names: KernelMap<MapData, u64, u32>,
    /// What the programs look up beside them.
    pub watching: Array<MapData, Shared<Watching>>,
}

/// See the module.
pub struct Engine {
    maps: Maps,
    hierarchy: Hierarchy,
    host: HostNamespaces,
    processes: Table<Option<Membership>>,
    /// What processes that are not in the table were moved into.
    moved: LruCache<ProcessKey, Membership>,
    registry: Registry,
    questions: Questions,
    events: Arc<Recent<Event>>,
    detector: Detector,
    figures: Arc<Figures>,
    watch: WatchList,
    redactor: Redactor,
    new_lists: Receiver<WatchList>,
    /// Every system call that changes credentials is hooked.
    credentials_explained: bool,
    network: Network,
    usage: Usage,
    /// What the loss counters showed last.
    losses_seen: HashMap<LossKey, u64>,
    /// Processes to be looked for, because records of ends were lost.
    unverified: Vec<ProcessKey>,
    heartbeats: Arc<Heartbeats>,
    /// The process of the last heartbeat.
    beating: Option<ProcessKey>,
}

/// What an engine is made of.
pub struct Parts {
    /// The kernel's maps.
    pub maps: Maps,
    /// Where containers are recognised.
    pub hierarchy: Hierarchy,
    /// The host's namespaces.
    pub host: HostNamespaces,
    /// The containers.
    pub registry: Registry,
    /// To whoever asks the runtimes.
    pub questions: Questions,
    /// Where events go.
    pub events: Arc<Recent<Event>>,
    /// Where they go on to.
    pub detector: Detector,
    /// Numbers about it.
    pub figures: Arc<Figures>,
    /// Files whose use is reported.
    pub watch: WatchList,
    /// What is cut out of arguments.
    pub redactor: Redactor,
    /// Where lists to replace that one come from.
    pub new_lists: Receiver<WatchList>,
    /// Whether every system call that changes credentials is hooked.
    pub credentials_explained: bool,
    /// Sockets of container runtimes.
    pub runtime_sockets: RuntimeSockets,
    /// How often the containers' use of CPUs is reported.
    pub cpu_interval: Duration,
    /// What earlier runs saw, and the id of this boot.
    pub past: Option<(Past, String)>,
    /// How far heartbeats came.
    pub heartbeats: Arc<Heartbeats>,
}

impl Engine {
    /// Puts an engine together, and takes in the cgroups and processes that are there already.
    ///
    /// # Errors
    /// When the cgroup hierarchy or procfs can't be read.
    pub fn new(parts: Parts) -> io::Result<Self> {
        let usage = Usage::new(&parts.hierarchy.mount, parts.cpu_interval);
        let mut engine = Self {
            maps: parts.maps,
            hierarchy: parts.hierarchy,
            host: parts.host,
            processes: Table::default(),
            moved: LruCache::new(MOVED),
            registry: parts.registry,
            questions: parts.questions,
            events: parts.events,
            detector: parts.detector,
            figures: parts.figures,
            watch: parts.watch,
            redactor: parts.redactor,
            new_lists: parts.new_lists,
            credentials_explained: parts.credentials_explained,
            network: Network::new(parts.runtime_sockets),
            usage,
            losses_seen: HashMap::new(),
            unverified: Vec::new(),
            heartbeats: parts.heartbeats,
            beating: None,
        };
        let mount = engine.hierarchy.mount.clone();
        for announced in engine.registry.scan(&mount, clock::since_boot())? {
            engine.announce(announced);
        }
        engine.seed(parts.past)?;
        engine.watch_names()?;
        Ok(engine)
    }

    /// Hands the kernel side the names of the watched files, those of an earlier list replaced. Only then are credentials
    /// compared: those of the processes that were there before are known by now.
    fn watch_names(&mut self) -> io::Result<()> {
        let (names, mut watching) = self.watch.names();
        for (hash, bits) in &names {
            self.maps
                .watched_names
                .insert(hash, bits, 0)
                .map_err(io::Error::other)?;
        }
        watching.credentials_explained = u64::from(self.credentials_explained);
        self.maps
            .watching
            .set(0, Shared(watching), 0)
            .map_err(io::Error::other)?;
        let old: Vec<u64> = self
            .maps
            .watched_names
            .keys()
            .filter_map(Result::ok)
            .filter(|hash| !names.contains_key(hash))
            .collect();
        for hash in old {
            // It is gone either way.
            let _ = self.maps.watched_names.remove(&hash);
        }
        Ok(())
    }

    /// Takes over a new list of watched files, where there is one.
    fn take_new_list(&mut self) {
        let Some(list) = self.new_lists.try_iter().last() else {
            return;
        };
        let before = std::mem::replace(&mut self.watch, list);
        match self.watch_names() {
            Ok(()) => tracing::info!("the new list of watched files is in force"),
            Err(error) => {
                self.watch = before;
                self.report_trouble(format!(
                    "the kernel does not take the new list of watched files: {error}"
                ));
            }
        }
    }

    /// Processes records until it is told to stop.
    ///
    /// # Errors
    /// When waiting for the rings fails.
    pub fn run(mut self, mut rings: Rings) -> io::Result<()> {
        let mut last_housekeeping_ns = 0;
        loop {
            let wake = rings.wait(HOUSEKEEPING)?;
            let woken_ns = clock::since_boot();
            // A flood must not keep it from housekeeping, which reports the flood.
            for _ in 0..MOST_BATCHES {
                let more = rings.drain(woken_ns, |bytes| self.take(bytes));
                self.detector.pass_on();
                if !more {
                    break;
                }
            }
            if wake == Wake::Stop {
                return Ok(());
            }
            if self.detector.has_ended() {
                return Err(io::Error::other("the detection thread has ended"));
            }
            let now = clock::since_boot();
            if now.saturating_sub(last_housekeeping_ns) >= HOUSEKEEPING.as_nanos() as u64 {
                last_housekeeping_ns = now;
                self.keep_house(now);
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        match decode(bytes) {
            Ok((header, record)) => self.process(&header, &record),
            Err(error) => {
                let before = self.figures.malformed.fetch_add(1, Ordering::Relaxed);
                if before == 0 {
                    tracing::error!("a record of the kernel side can't be read: {error}");
                }
            }
        }
    }

    fn process(&mut self, header: &Header, record: &Record<'_>) {
        match record {
            Record::Fork(fork) => {
                self.fork(header, fork);
                self.beside_fork(header, fork);
            }
            Record::Exec(exec) => {
                let process = Process::from_record(header, exec, &self.redactor);
                if let Some(number) = Self::heartbeat_of(&process) {
                    self.heartbeat(header, number);
                    return;
                }
                self.exec(header, process);
                self.beside_exec(header, exec);
            }
            Record::Exit(exit) => {
                let key = ProcessKey::from(header);
                // Each of several last threads may find itself the last.
                let ended = self.processes.get(key).and_then(|entry| entry.exited_ns);
                if ended.is_some() {
                    return;
                }
                if self.beating == Some(key) {
                    self.processes.exit(key, header.time_ns);
                    return;
                }
                self.emit(
                    header,
                    key,
                    Detail::Exit {
                        status: exit.status,
                    },
                );
                if exit.thread_only == 0 {
                    self.processes.exit(key, header.time_ns);
                }
            }
            Record::CgroupMkdir(cgroup, path) => {
                let path = String::from_utf8_lossy(path).into_owned();
                let announced = self.registry.created(cgroup.id, &path);
                self.announce(announced);
                self.emit(
                    header,
                    ProcessKey::from(header),
                    Detail::CgroupCreated(Cgroup {
                        id: cgroup.id,
                        parent_id: cgroup.parent_id,
                        path,
                    }),
                );
            }
            Record::CgroupRmdir(cgroup, path) => {
                self.cgroup_removed(cgroup.id, header.time_ns);
                self.emit(
                    header,
                    ProcessKey::from(header),
                    Detail::CgroupRemoved(Cgroup {
                        id: cgroup.id,
                        parent_id: cgroup.parent_id,
                        path: String::from_utf8_lossy(path).into_owned(),
                    }),
                );
            }
            Record::CgroupAttach(attach) => self.attach(header, attach),
            Record::Call(call) => self.call(header, call),
            Record::Socket(socket, path) => self.socket(header, socket, path),
            Record::Packet(packet, data) => self.packet(header, packet, data),
            Record::Open(open) => self.open(header, open),
            Record::CredentialJump(jump) => self.credential_jump(header, jump),
            Record::Signal(signal) => self.signal(header, signal),
            Record::IoUring(used) => self.uring(header, used),
            Record::Module(module, name) => self.module(header, module, name),
            Record::Denial(denial) => self.denial(header, denial),
            Record::Rounding(rounding) => self.rounding(header, rounding),
        }
    }

    /// The process with this identity, and what it runs.
    fn process_at(&self, key: ProcessKey) -> Option<Arc<Process>> {
        Some(Arc::clone(&self.processes.get(key)?.process))
    }

    /// Where processes of a cgroup run; looks again where a cgroup has not been announced.
    fn place(&mut self, cgroup_id: u64, slot: u32) -> Place {
        let place = self.registry.place(cgroup_id, slot);
        if !matches!(place, Place::Unknown) {
            return place;
        }
        let mount = self.hierarchy.mount.clone();
        for announced in self.registry.rescan(&mount, clock::since_boot()) {
            self.announce(announced);
        }
        self.registry.place(cgroup_id, slot)
    }

    /// Makes an event of a process that should be in the table, and passes it on.
    fn emit(&mut self, header: &Header, key: ProcessKey, detail: Detail) {
        self.emit_at(header, key, detail, None);
    }

    /// The same, with the process that it was done to.
    fn emit_at(
        &mut self,
        header: &Header,
        key: ProcessKey,
        detail: Detail,
        target: Option<Target>,
    ) {
        let entry = self.processes.get(key);
        let membership = entry.and_then(|entry| entry.attachment.clone());
        let process = entry.map(|entry| Arc::clone(&entry.process));
        let place = self.place(header.cgroup_id, header.container_slot);
        self.emit_of(header, process, membership, place, detail, target);
    }

    /// Makes an event, and passes it on.
    fn emit_of(
        &mut self,
        header: &Header,
        process: Option<Arc<Process>>,
        membership: Option<Membership>,
        mut place: Place,
        detail: Detail,
        target: Option<Target>,
    ) {
        let ancestors = process.as_ref().map_or_else(Vec::new, |process| {
            self.processes
                .ancestors(process)
                .into_iter()
                .map(|entry| Ancestor {
                    process: Arc::clone(&entry.process),
                    membership: entry.attachment.clone(),
                })
                .collect()
        });
        // A process in a container's namespaces acts in the container, whatever its cgroup.
        if let (Some(membership), Place::Host(path)) = (&membership, &place) {
            place = Place::Container(Arc::clone(&membership.container), Arc::clone(path));
        }
        let init = membership
            .as_ref()
            .and_then(|membership| self.registry.init(&membership.container));
        let event = Arc::new(Event {
            time: clock::wall(header.time_ns),
            process,
            origin: membership.as_ref().map(|membership| membership.origin),
            injected_by: membership.and_then(|membership| match membership.origin {
                Origin::Injected | Origin::NamespaceEntry => membership.entered_by,
                Origin::Entrypoint | Origin::Descendant | Origin::Unknown => None,
            }),
            ancestors,
            place,
            target,
            detail,
        });
        self.figures.count(event.detail.kind());
        let number = self.events.push(Arc::clone(&event), event.size());
        self.detector
            .observe(&event, header.cgroup_id, number, init);
    }

    /// Hands a new cgroup's state to the kernel, and asks the runtime about a new container.
    fn announce(&mut self, announced: Announced) {
        if let Some((id, state)) = announced.state
            && let Err(error) = self.maps.cgroups.insert(id, Shared(state), 0)
        {
            let trouble = format!("the kernel's table of cgroups takes no more: {error}");
            self.report_trouble(trouble);
        }
        // Podman's containers are asked about when their monitor is known, with their first program.
        if let Some(container) = announced.container
            && container.shape_runtime != Runtime::Podman
        {
            self.ask(container, None);
        }
    }

    fn ask(&self, container: Arc<Container>, podman_storage: Option<podman::Storage>) {
        let question = Question {
            container,
            podman_storage,
        };
        if !self.questions.ask(question) {
            self.report_trouble(
                "too many containers at a time: some will have no names or pods".to_owned(),
            );
        }
    }

    fn report_trouble(&self, trouble: String) {
        let mut current = self
            .figures
            .trouble
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if current.as_ref() != Some(&trouble) {
            tracing::error!("{trouble}");
            *current = Some(trouble);
        }
    }
}
