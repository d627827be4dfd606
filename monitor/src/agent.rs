//! The agent: puts the parts together, runs until it is told to stop, and leaves nothing behind.

mod ceilings;
mod health;
mod history;
mod policies;
mod privileges;
mod state_directory;

use std::{
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, bail};
use aya::Ebpf;
use history::History;
use rustix::{
    event::{EventfdFlags, eventfd},
    fd::OwnedFd,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use state_directory::StateDirectory;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Semaphore, oneshot, watch},
};
use watchkeeper_ebpf::{budget::Rate, loss::Class, offsets::Sensor};

use crate::{
    container::{
        cluster::{Follower, Server, knowledge::Cluster},
        cri,
        figures::Figures,
        metadata::{Questions, Resolver},
        model::Container,
        registry::Registry,
        runtime_sockets::RuntimeSockets,
    },
    detect::{
        alert::Alert,
        detector::{Detector, RulesChanger},
    },
    engine::{Engine, Maps, Parts},
    kernel::{
        attach::SensorState,
        cgroup_namespace,
        loader::{Kernel, Options},
        ring_fill::RingFill,
        rings::{Rings, RingsFill},
        sensors,
    },
    memory,
    process::procfs,
    redact::Redactor,
    serve::{
        self,
        convert::Context,
        health::Health,
        metrics,
        port::Port,
        server::Socket,
        sources::{QUESTIONS, Room, Sources},
        watch::Sequence,
    },
    store::{
        Limits, Store, numbers,
        past::{Narrow, Past},
        recent::Recent,
        writer,
    },
    watch::WatchList,
};

/// Name of the socket in the state directory.
pub const SOCKET: &str = "watchkeeper.sock";

/// How long ago alerts of an earlier run may be that are repeated and not made anew.
const FOLDED: Duration = Duration::from_secs(3_600);

/// How long the end may take what still runs.
const PATIENCE: Duration = Duration::from_secs(1);

/// Recent events that are kept, and about how many bytes of them.
const EVENTS: (usize, usize) = (32_768, 16 << 20);
/// Recent alerts likewise.
const ALERTS: (usize, usize) = (4_096, 8 << 20);

/// How the agent is to run.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Everything it writes is in here.
    pub state_dir: PathBuf,
    /// The container runtime.
    pub cri_socket: cri::Socket,
    /// The way to the API server, where it is to be asked.
    pub kubernetes: Option<Server>,
    /// The operator's policies.
    pub policy_dir: Option<PathBuf>,
    /// The operator's list of watched files.
    pub watch_list: Option<PathBuf>,
    /// The operator's list of secrets.
    pub redact_list: Option<PathBuf>,
    /// Bytes of the ring for telemetry.
    pub telemetry_bytes: u32,
    /// Bytes of the ring for what must arrive.
    pub critical_bytes: u32,
    /// Cgroups whose subtree is left out.
    pub ignored_cgroups: Vec<String>,
    /// Sensors that are not wanted.
    pub disabled_sensors: Vec<Sensor>,
    /// Classes of events that are wanted of the host's own processes.
    pub host_classes: Vec<Class>,
    /// Budgets other than the usual ones.
    pub budgets: Vec<(Class, Rate)>,
    /// How often the containers' use of CPUs is reported.
    pub cpu_interval: Duration,
    /// How long is learnt what a workload usually does on the network.
    pub learning: Duration,
    /// Where history is kept, and how much of it; nowhere when `None`.
    pub history: Option<(PathBuf, Limits)>,
    /// Bytes of memory that the agent may take as a whole.
    pub memory_limit: u64,
    /// Name of this node; the host's name when empty.
    pub node_name: Option<String>,
    /// Where metrics can be asked for.
    pub metrics_listen: Option<SocketAddr>,
    /// Where health can be asked for over TCP.
    pub health_listen: Option<SocketAddr>,
}

/// Runs the agent until SIGTERM or SIGINT. `on_ready` is called when everything is attached, with what the services
/// answer from.
///
/// # Errors
/// When it can't start, or a part of it fails.
pub fn run(
    configuration: Configuration,
    on_ready: impl FnOnce(&Sources) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "starting the agent: it must run as root, to load eBPF programs and to read every process; use sudo"
        );
    }
    memory::share();
    cgroup_namespace::enter()?;
    let policies = policies::load(configuration.policy_dir.clone())?;
    let files = WatchList::load(configuration.watch_list.as_deref())?;
    let redactor = Redactor::load(configuration.redact_list.as_deref())?;
    let state = StateDirectory::open(&configuration.state_dir)?;
    let socket = Socket::listen(&state.path.join(SOCKET))?;
    let port = |address: Option<SocketAddr>, purpose| {
        let port = address.map(|address| Port::at(address, purpose));
        port.transpose()
    };
    let metrics = port(configuration.metrics_listen, "requests of metrics")?;
    let health_checks = port(configuration.health_listen, "health checks")?;
    // Signals are taken from here on, so that whatever is attached below is detached again.
    let (mut terminate, mut interrupt) = end_signals()?;

    let kernel = load(&configuration)?;
    let attached = SystemTime::now();
    // Capabilities are those of a thread: from here on there may be others.
    privileges::give_up(|| kernel.watching.get(&0, 0).is_ok())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("serve")
        .enable_all()
        .build()
        .context("starting the asynchronous runtime")?;
    let entered = runtime.enter();
    let rings = fill(&kernel, &configuration).context("mapping the rings of the kernel side")?;
    let registry = Registry::new(configuration.ignored_cgroups);
    let History {
        store,
        numbers,
        last_event,
        last_alert,
        trouble: store_trouble,
    } = History::open(configuration.history);
    let events = Arc::new(Recent::starting_after(last_event, EVENTS.0, EVENTS.1));
    let alerts = Arc::new(Recent::starting_after(last_alert, ALERTS.0, ALERTS.1));
    let (found_health, health) = watch::channel(Health::default());
    let sources = Sources {
        context: context(configuration.node_name, store.as_deref())?,
        events: Sequence {
            recent: Arc::clone(&events),
            store: store.clone(),
            subscribers: Arc::default(),
        },
        alerts: Sequence {
            recent: Arc::clone(&alerts),
            store: store.clone(),
            subscribers: Arc::default(),
        },
        store: store.clone(),
        store_trouble,
        questions: Arc::new(Semaphore::new(QUESTIONS)),
        containers: registry.listing(),
        policies: Arc::clone(&policies),
        connection: Arc::default(),
        figures: Arc::default(),
        heartbeats: Arc::default(),
        health,
        detection: Arc::default(),
        enrichment: Arc::new(Figures::new(configuration.cri_socket != cri::Socket::None)),
        cluster: Arc::new(Cluster::new(configuration.kubernetes.is_some())),
        rings: Arc::new(rings),
        room: Arc::new(Room::new(configuration.memory_limit)),
        sensors: kernel.sensors.clone(),
        programs: kernel.loaded.clone().into(),
        hierarchy: kernel.hierarchy.name().to_owned(),
        started: attached,
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
    };
    let mut past = store
        .as_ref()
        .map(|store| Past::new(Arc::clone(store), Narrow::default()));
    // The same may be found again: of a process that still runs, or by a rule that folds for some time.
    let runs = |alert: &Alert| {
        let key = alert.process.key;
        let since = alert.tally().last_seen.elapsed().unwrap_or_default();
        since <= FOLDED || procfs::start_ticks(key.pid) == Some(key.start_ticks)
    };
    let mut restored = past.as_mut().map_or_else(Vec::new, |past| {
        past.alerts(&sources.context.boot_id, &runs)
    });
    // The newest are remembered longest.
    restored.reverse();
    let writer = match (store, numbers) {
        (Some(store), Some(numbers)) => Some(
            writer::start(
                writer::Parts {
                    store,
                    numbers,
                    events,
                    alerts,
                    node: sources.context.node.clone(),
                    boot_id: sources.context.boot_id.clone(),
                    attached,
                    restored: restored.clone(),
                    heartbeats: Arc::clone(&sources.heartbeats),
                },
                runtime.handle().clone(),
            )
            .context("starting the thread that writes history")?,
        ),
        _ => None,
    };
    let (questions, asked) = Questions::new(Arc::clone(&sources.enrichment));
    let (new_list, new_lists) = std::sync::mpsc::channel();
    runtime.spawn(reload_on_hangup(configuration.watch_list, new_list)?);
    let watched = Watched {
        files,
        redactor,
        new_lists,
        runtime_sockets: RuntimeSockets::new(configuration.cri_socket.path()),
        cpu_interval: configuration.cpu_interval,
        learning: configuration.learning,
        past: past.map(|past| (past, sources.context.boot_id.clone())),
        alerts: restored.into_iter().map(|(_, alert, _)| alert).collect(),
    };
    runtime.spawn(resolver(configuration.cri_socket, &sources).run(asked));
    if let Some(server) = configuration.kubernetes {
        runtime.spawn(follower(server, &sources).run());
    }
    let mut engine = RunningEngine::start(kernel, registry, questions, watched, &sources)?;
    if let Some(changer) = engine.rules_changer.take() {
        runtime.spawn(policies::renew(policies, changer));
    }

    memory::release();
    on_ready(&sources)?;
    if let Some(port) = metrics {
        runtime.spawn(metrics::serve(port, sources.clone()));
    }
    if let Some(port) = health_checks {
        runtime.spawn(serve::health::serve(port, sources.health.clone()));
    }
    runtime.spawn(ceilings::watch(sources.clone()));
    runtime.spawn(health::watch(
        sources.clone(),
        state.path.join(SOCKET),
        found_health,
    ));
    let (stop_server, server_stopped) = oneshot::channel::<()>();
    let mut server = runtime.spawn(socket.serve(sources, async {
        let _ = server_stopped.await;
    }));
    let stopped_by = runtime.block_on(async {
        tokio::select! {
            _ = terminate.recv() => Ok("SIGTERM"),
            _ = interrupt.recv() => Ok("SIGINT"),
            _ = &mut engine.ended => Err(anyhow::anyhow!("the engine stopped by itself")),
            result = &mut server => Err(match result {
                Ok(Ok(())) => anyhow::anyhow!("the server stopped by itself"),
                Ok(Err(error)) => error.into(),
                Err(error) => error.into(),
            }),
        }
    });
    tracing::info!(
        "stopping: {}",
        stopped_by.as_ref().map_or("a part failed", |signal| signal)
    );
    // Who asks twice does not want to wait.
    runtime.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(1);
    });
    // Detaching takes a while, in which less and less is seen.
    let detached = SystemTime::now();
    let engine_result = engine.stop();
    if let Some(writer) = writer {
        writer.stop(detached);
    }
    let _ = stop_server.send(());
    if !server.is_finished() {
        // The socket is removed with the server.
        let _ = runtime.block_on(server);
    }
    drop(entered);
    // Something may still wait for a full pipe or a slow filesystem.
    runtime.shutdown_timeout(PATIENCE);
    engine_result?;
    stopped_by.map(|_| ())
}

/// The signals that end the agent. Those that come before the asynchronous runtime is there are kept for it.
fn end_signals() -> anyhow::Result<(Signal, Signal)> {
    // Handlers are installed for the whole process, and this one starts no thread.
    let early = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the asynchronous runtime")?;
    let _entered = early.enter();
    let terminate = signal(SignalKind::terminate()).context("handling SIGTERM")?;
    let interrupt = signal(SignalKind::interrupt()).context("handling SIGINT")?;
    Ok((terminate, interrupt))
}

/// Reads the list of watched files again at each SIGHUP. A list that can't be read leaves the old one in force.
fn reload_on_hangup(
    file: Option<PathBuf>,
    new_list: Sender<WatchList>,
) -> anyhow::Result<impl Future<Output = ()> + use<>> {
    let mut hangup = signal(SignalKind::hangup()).context("handling SIGHUP")?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            match WatchList::load(file.as_deref()) {
                // The engine is gone when the agent stops anyway.
                Ok(list) => drop(new_list.send(list)),
                Err(error) => tracing::error!("{error}; the list before it stays in force"),
            }
        }
    })
}

/// Loads and attaches the programs.
fn load(configuration: &Configuration) -> anyhow::Result<Kernel> {
    // Before 5.11 maps count against this limit; where it can't be raised, loading says what is wrong.
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    let _ = setrlimit(Resource::Memlock, unlimited);
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    let _ = setrlimit(Resource::Nofile, files);
    let kernel = Kernel::load(&Options {
        telemetry_bytes: configuration.telemetry_bytes,
        critical_bytes: configuration.critical_bytes,
        disabled: configuration.disabled_sensors.clone(),
        host_classes: configuration.host_classes.clone(),
        budgets: configuration.budgets.clone(),
    })?;
    for status in &kernel.sensors {
        if status.state == SensorState::Failed {
            tracing::warn!(
                "sensor {} is not active: {}: {}",
                sensors::name(status.sensor),
                status.reason,
                sensors::consequence(status.sensor)
            );
        }
    }
    Ok(kernel)
}

/// Where it shows how full both rings are.
fn fill(kernel: &Kernel, configuration: &Configuration) -> io::Result<RingsFill> {
    Ok(RingsFill {
        telemetry: RingFill::of(&kernel.telemetry, configuration.telemetry_bytes)?,
        critical: RingFill::of(&kernel.critical, configuration.critical_bytes)?,
    })
}

/// Who asks the runtimes, and tells those who follow a stream of what it learnt.
fn resolver(socket: cri::Socket, sources: &Sources) -> Resolver {
    Resolver::new(
        socket,
        Arc::clone(&sources.connection),
        Arc::clone(&sources.enrichment),
        Arc::clone(&sources.cluster),
        amends(sources),
    )
}

/// Who asks the API server, and tells likewise.
fn follower(server: Server, sources: &Sources) -> Follower {
    Follower::new(
        server,
        sources.context.node.clone(),
        Arc::clone(&sources.cluster),
        Arc::clone(&sources.containers),
        amends(sources),
    )
}

/// Tells those who follow a stream, and history, that more is known of a container.
fn amends(sources: &Sources) -> impl Fn(&Arc<Container>) + Send + Sync + use<> {
    let events = Arc::clone(&sources.events.recent);
    let alerts = Arc::clone(&sources.alerts.recent);
    move |container| {
        events.amend(Arc::clone(container));
        alerts.amend(Arc::clone(container));
    }
}

/// What the engine looks for beside what every process does.
struct Watched {
    files: WatchList,
    redactor: Redactor,
    new_lists: Receiver<WatchList>,
    runtime_sockets: RuntimeSockets,
    cpu_interval: Duration,
    learning: Duration,
    /// What earlier runs saw, and the id of this boot.
    past: Option<(Past, String)>,
    /// Alerts of earlier runs about processes that still run.
    alerts: Vec<Arc<Alert>>,
}

/// The engine on its thread.
struct RunningEngine {
    /// Everything is detached when this is dropped.
    programs: Ebpf,
    stop: OwnedFd,
    thread: JoinHandle<io::Result<()>>,
    /// Replaces the rules.
    rules_changer: Option<RulesChanger>,
    /// Completes when the thread ends.
    ended: oneshot::Receiver<()>,
}

impl RunningEngine {
    fn start(
        kernel: Kernel,
        registry: Registry,
        questions: Questions,
        watched: Watched,
        sources: &Sources,
    ) -> anyhow::Result<Self> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC)
            .context("making the descriptor that stops the engine")?;
        let stopped = stop
            .try_clone()
            .context("making the descriptor that stops the engine")?;
        let rings = Rings::new(
            kernel.telemetry,
            kernel.critical,
            Arc::clone(&sources.rings),
            stopped,
        );
        let detector = Detector::start(
            sources.policies.set(),
            Arc::clone(&sources.alerts.recent),
            &watched.alerts,
            watched.learning,
            Arc::clone(&sources.heartbeats),
            Arc::clone(&sources.detection),
        )
        .context("starting the detection thread")?;
        let rules_changer = detector.rules_changer();
        let engine = Engine::new(Parts {
            maps: Maps {
                cgroups: kernel.cgroups,
                budgets: kernel.budgets,
                losses: kernel.losses,
                connecting: kernel.connecting,
                watched_names: kernel.watched_names,
                watching: kernel.watching,
            },
            hierarchy: kernel.hierarchy,
            host: kernel.host,
            registry,
            questions,
            events: Arc::clone(&sources.events.recent),
            detector,
            figures: Arc::clone(&sources.figures),
            watch: watched.files,
            redactor: watched.redactor,
            new_lists: watched.new_lists,
            credentials_explained: kernel.credentials_explained,
            runtime_sockets: watched.runtime_sockets,
            cpu_interval: watched.cpu_interval,
            past: watched.past,
            heartbeats: Arc::clone(&sources.heartbeats),
        })
        .context("taking in the processes and cgroups that are there already")?;
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                let result = engine.run(rings);
                // The other side is gone when the agent stops anyway.
                let _ = end.send(());
                result
            })
            .context("starting the engine thread")?;
        Ok(Self {
            programs: kernel.programs,
            rules_changer,
            stop,
            thread,
            ended,
        })
    }

    /// Detaches the programs, lets the engine process what is in the rings, and ends it.
    fn stop(self) -> anyhow::Result<()> {
        drop(self.programs);
        rustix::io::write(&self.stop, &1u64.to_ne_bytes()).context("stopping the engine")?;
        match self.thread.join() {
            Ok(result) => result.context("reading the rings of the kernel side"),
            Err(_) => bail!("the engine thread panicked"),
        }
    }
}

/// What is common to all messages.
fn context(node_name: Option<String>, store: Option<&Store>) -> anyhow::Result<Context> {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .context("reading the boot id from /proc/sys/kernel/random/boot_id")?
        .trim()
        .replace('-', "");
    let node = node_name.unwrap_or_else(|| {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    });
    Ok(Context {
        node,
        // Without a history cursors are of this run.
        store: store.map_or_else(numbers::new_name, |store| store.name().to_owned()),
        boot_id,
    })
}
