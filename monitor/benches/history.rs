//! A day of a busy node in history: what an event takes to write and to keep, and how long questions take.
//!
//! Run by `cargo xtask bench --history`, which keeps the report. By itself: `cargo bench --bench history -- EVENTS`.

use std::{
    path::Path,
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use watchkeeper::{
    container::{
        membership::{Membership, Origin},
        model::{Container, Description, Pod},
        registry::Place,
        shape,
    },
    event::{Ancestor, Detail, Event},
    process::execution::{Arguments, Execution, Process, ProcessKey, Source},
    proto::v1::{self, EventKind, event::Detail as Message},
    store::{
        Limits, Store,
        past::{Narrow, Past},
        query::Session,
        recent::Recent,
        writer,
    },
};
use watchkeeper_ebpf::record::{Credentials, Descriptor, File, Namespaces};

/// Pods of the node.
const PODS: u32 = 250;
/// Events that are handed over at a time.
const AT_A_TIME: u64 = 16_384;
/// Times that each question is asked.
const TIMES: usize = 5;

fn main() -> ExitCode {
    let events = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(10_000_000);
    match run(events) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("history: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(total: u64) -> anyhow::Result<String> {
    let directory = tempfile::tempdir()?;
    let limits = Limits {
        bytes: 4 << 30,
        age: Duration::from_secs(86_400),
    };
    let began = Instant::now();
    let store = write(directory.path(), limits, total)?;
    let took = began.elapsed();
    let figures = store.figures();
    let written = figures.events.load(Ordering::Relaxed);
    let missed = figures.missed.load(Ordering::Relaxed);
    let busy = figures.busy_ns.load(Ordering::Relaxed);
    let parts = store.parts();
    let bytes: u64 = parts.iter().map(|part| part.bytes()).sum();
    let mut report = format!(
        "| what | value |\n| --- | --- |\n\
         | events written | {written} |\n\
         | events missing | {missed} |\n\
         | bytes for an event | {:.1} |\n\
         | time of the writing thread for an event, µs | {:.2} |\n\
         | events written a second | {:.0} |\n\
         | segments | {} |\n\n\
         | question, of one pod in {PODS} | answer | median, ms | slowest of {TIMES}, ms |\n| --- | --- | --- | --- |\n",
        bytes as f64 / written as f64,
        busy as f64 / written as f64 / 1e3,
        written as f64 / took.as_secs_f64(),
        parts.len(),
    );
    let mut row =
        |what: &str, ask: &mut dyn FnMut() -> anyhow::Result<u64>| -> anyhow::Result<()> {
            let mut times = Vec::new();
            let mut answer = 0;
            for _ in 0..TIMES {
                let began = Instant::now();
                answer = ask()?;
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
            times.sort_by(f64::total_cmp);
            report.push_str(&format!(
                "| {what} | {answer} | {:.0} | {:.0} |\n",
                times[TIMES / 2],
                times[TIMES - 1]
            ));
            Ok(())
        };
    row("the last 100 events of 24 h", &mut || {
        Ok(last_of_pod(&store, 100))
    })?;
    row("all events of 24 h", &mut || Ok(all_of_pod(&store, None)))?;
    row("all events of the last hour", &mut || {
        Ok(all_of_pod(&store, Some(Duration::from_secs(3_600))))
    })?;
    for sql in [
        "SELECT count(*) FROM events WHERE pod = 'shop/web-7'",
        "SELECT kind, count(*) FROM events WHERE pod = 'shop/web-7' GROUP BY kind",
        "SELECT DISTINCT remote_address, remote_port FROM connections WHERE pod = 'shop/web-7'",
        "SELECT exe, argv, time FROM executions WHERE pod = 'shop/web-7' ORDER BY time_ns DESC LIMIT 20",
    ] {
        row(&format!("`{sql}`"), &mut || rows(&store, sql))?;
    }
    Ok(report)
}

/// Writes a day of events, as the agent does.
fn write(directory: &Path, limits: Limits, total: u64) -> anyhow::Result<Arc<Store>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let opened = Store::open(directory, limits)?;
    let store = Arc::new(opened.store);
    let events = Arc::new(Recent::starting_after(
        opened.last_event,
        2 * AT_A_TIME as usize,
        usize::MAX,
    ));
    let alerts = Arc::new(Recent::starting_after(opened.last_alert, 16, usize::MAX));
    let running = writer::start(
        writer::Parts {
            store: Arc::clone(&store),
            numbers: opened.numbers,
            events: Arc::clone(&events),
            alerts,
            node: "node".to_owned(),
            boot_id: "0123456789abcdef0123456789abcdef".to_owned(),
            attached: SystemTime::now(),
            restored: Vec::new(),
            heartbeats: Arc::default(),
        },
        runtime.handle().clone(),
    )?;
    let mut node = Node::new(total);
    let mut pushed = 0;
    while pushed < total {
        for _ in 0..AT_A_TIME.min(total - pushed) {
            events.push(Arc::new(node.next()), 1);
        }
        pushed += AT_A_TIME;
        runtime.block_on(store.flush(events.last(), 0));
        if pushed % (AT_A_TIME * 64) == 0 {
            eprintln!("{} of {total} events", pushed.min(total));
        }
    }
    running.stop(SystemTime::now());
    Ok(store)
}

fn of_pod() -> Narrow {
    Narrow {
        containers: Some(Arc::new(|container: Option<&Container>| {
            container.is_some_and(|container| {
                let details = container.details();
                let pod = details.description.pod.as_ref();
                pod.is_some_and(|pod| pod.namespace == "shop" && pod.name == "web-7")
            })
        })),
        kinds: Vec::new(),
    }
}

fn last_of_pod(store: &Arc<Store>, count: usize) -> u64 {
    let mut past = Past::new(Arc::clone(store), of_pod());
    let after = past
        .last::<Event>((0, u64::MAX >> 1), count, &|_, _| true)
        .unwrap_or(0);
    read(&mut past, after)
}

fn all_of_pod(store: &Arc<Store>, ago: Option<Duration>) -> u64 {
    let mut past = Past::new(Arc::clone(store), of_pod());
    let after = match ago {
        Some(ago) => past.before(SystemTime::now() - ago),
        None => past.beginning::<Event>(),
    };
    read(&mut past, after.unwrap_or(0))
}

fn read(past: &mut Past, mut after: u64) -> u64 {
    let mut count = 0;
    while after < u64::MAX >> 1 {
        let slice = past.read::<Event>(after, u64::MAX >> 1, 1_024);
        count += slice.items.len() as u64;
        after = slice.scanned;
    }
    count
}

fn rows(store: &Store, sql: &str) -> anyhow::Result<u64> {
    let mut session = Session::open(&store.parts(), Duration::from_secs(600), &Arc::default())?;
    let mut count = 0;
    session.run(
        sql,
        |_| {},
        |_| {
            count += 1;
            std::ops::ControlFlow::Continue(())
        },
    )?;
    Ok(count)
}

/// What happens on the node: probes that run a program, requests from pod to pod, names that are looked up.
struct Node {
    containers: Vec<Arc<Container>>,
    first: Vec<Arc<Process>>,
    /// The process that runs, and how far it is.
    running: Option<(Arc<Process>, u32)>,
    time: SystemTime,
    step: Duration,
    number: u64,
}

impl Node {
    fn new(total: u64) -> Self {
        let day = Duration::from_secs(86_400);
        let containers: Vec<Arc<Container>> = (0..PODS).map(container).collect();
        Self {
            first: (0..PODS)
                .map(|pod| process(100 + pod, 1, "/usr/sbin/server", "serve\0--quiet\0"))
                .collect(),
            containers,
            running: None,
            time: SystemTime::now() - day,
            step: day / u32::try_from(total).unwrap_or(u32::MAX),
            number: 0,
        }
    }

    fn next(&mut self) -> Event {
        self.number += 1;
        self.time += self.step;
        let number = self.number;
        let pod = u32::try_from(number / 10 % u64::from(PODS)).unwrap_or(0);
        let server = Arc::clone(&self.first[pod as usize]);
        // Of ten events six are those of two probes.
        let phase = number % 10;
        let detail = match phase {
            0 | 3 => {
                let child = process(
                    u32::try_from(1_000 + number % 4_000_000).unwrap_or(1_000),
                    server.key.pid,
                    "/usr/bin/probe",
                    "probe\0--port\08080\0",
                );
                let key = child.key;
                self.running = Some((child, pod));
                return self.event(
                    pod,
                    &server,
                    &[],
                    Detail::Fork {
                        child: key,
                        started: self.time,
                    },
                );
            }
            1 | 4 => Detail::Exec,
            2 | 5 => Detail::Exit { status: 0 },
            6 => connection(EventKind::Connect, pod, number),
            7 => connection(EventKind::Close, pod, number),
            8 => message(
                EventKind::Dns,
                Message::Dns(v1::Dns {
                    id: u32::try_from(number % 65_536).unwrap_or(0),
                    name: format!("service-{}.shop.svc.cluster.local", number % 40),
                    r#type: "A".to_owned(),
                    ..v1::Dns::default()
                }),
            ),
            _ => connection(EventKind::Accept, pod, number),
        };
        match &self.running {
            Some((child, at)) if phase < 6 && *at == pod => {
                let child = Arc::clone(child);
                self.event(pod, &child, &[server], detail)
            }
            _ => self.event(pod, &server, &[], detail),
        }
    }

    fn event(
        &self,
        pod: u32,
        process: &Arc<Process>,
        above: &[Arc<Process>],
        detail: Detail,
    ) -> Event {
        let container = &self.containers[pod as usize];
        Event {
            time: self.time,
            process: Some(Arc::clone(process)),
            origin: Some(Origin::Descendant),
            injected_by: None,
            ancestors: above
                .iter()
                .map(|process| Ancestor {
                    process: Arc::clone(process),
                    membership: Some(Membership {
                        container: Arc::clone(container),
                        origin: Origin::Entrypoint,
                        entered_by: None,
                    }),
                })
                .collect(),
            place: Place::Container(Arc::clone(container), container.cgroup_path.as_str().into()),
            target: None,
            detail,
        }
    }
}

fn message(kind: EventKind, message: Message) -> Detail {
    Detail::Message(kind, Box::new(message))
}

/// A connection to one of twenty services, from a port of its own.
fn connection(kind: EventKind, pod: u32, number: u64) -> Detail {
    let port = u32::try_from(32_768 + number % 28_000).unwrap_or(0);
    let service = format!("10.96.0.{}", (u64::from(pod) + number) % 20);
    let own = format!("10.244.{}.{}", pod / 200, pod % 200);
    let (local, remote) = if kind == EventKind::Accept {
        ((own, 8_080), (service, port))
    } else {
        ((own, port), (service, 443))
    };
    let endpoint = |(address, port)| Some(v1::Endpoint { address, port });
    message(
        kind,
        Message::Connection(v1::Connection {
            protocol: v1::Protocol::Tcp.into(),
            local: endpoint(local),
            remote: endpoint(remote),
            outcome: v1::Outcome::Established.into(),
            outbound: kind != EventKind::Accept,
            bytes_sent: number % 10_000,
            bytes_received: number % 100_000,
            duration_ns: number % 10_000_000,
            ..v1::Connection::default()
        }),
    )
}

fn container(number: u32) -> Arc<Container> {
    let path =
        format!("/kubepods/burstable/pod{number:08x}-0000-0000-0000-000000000000/{number:064x}");
    let shape = shape::recognise(&path).expect("the path is a container's");
    let container = Container::new(shape, path, u64::from(number) + 1, number + 1);
    let description = Description {
        name: "web".to_owned(),
        image: "registry.example/shop/web:1.2.3".to_owned(),
        pod: Some(Pod {
            uid: format!("{number:08x}-0000-0000-0000-000000000000"),
            name: format!("web-{number}"),
            namespace: "shop".to_owned(),
            ..Pod::default()
        }),
        ..Description::default()
    };
    container.describe(description, |_| {});
    Arc::new(container)
}

fn process(pid: u32, parent: u32, exe: &str, argv: &str) -> Arc<Process> {
    let key = |pid: u32| ProcessKey {
        pid,
        start_ticks: u64::from(pid),
    };
    Arc::new(Process {
        key: key(pid),
        parent: Some(key(parent)),
        started: SystemTime::now(),
        inside: Some((4_026_532_000, pid % 30_000)),
        program: Arc::new(Execution {
            exec_ns: u64::from(pid) * 1_000,
            executed: Some(SystemTime::now()),
            exe: exe.to_owned(),
            argv: Arguments::new(argv.as_bytes()),
            redacted: 0,
            cwd: "/".to_owned(),
            filename: exe.to_owned(),
            flags: 0,
            credentials: Credentials::default(),
            namespaces: Namespaces::default(),
            host_namespaces: 0,
            file: File::default(),
            seccomp: 2,
            stdio: [Descriptor {
                inode: u64::from(pid),
                kind: 2,
                device: 0,
            }; 3],
            tty: String::new(),
            recognised: std::sync::OnceLock::new(),
        }),
        source: Source::Kernel,
    })
}
