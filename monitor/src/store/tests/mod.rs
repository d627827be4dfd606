//! History as a whole: written by the thread that writes it, read by streams, over restarts and failures.

mod ceilings;
mod questions;
mod reading;
mod rows;
mod runs;
mod seams;

use std::{
    fs,
    ops::ControlFlow,
    path::Path,
    sync::{Arc, LazyLock, OnceLock, atomic::Ordering},
    time::{Duration, SystemTime},
};

use proptest::prelude::*;
use tokio_stream::StreamExt as _;
use watchkeeper_ebpf::{loss, record::file_flag};

use super::{
    Limits, MIN_BYTES, Store, detail,
    export::export,
    past::{Narrow, Past},
    query::Session,
    read::{Numbered, Reader, Selection},
    recent::Recent,
    segment::Segment,
    writer,
};
use crate::{
    container::{
        membership::{Membership, Origin},
        model::{Container, Description, NamespaceLabels, Pod, Workload},
        registry::Place,
        shape,
    },
    detect::alert::{Alert, Finding},
    event::{Ancestor, Cgroup, Detail, Event, Loss, LossReason, Target},
    policy::set::RuleSet,
    process::execution::{Arguments, Process, ProcessKey, Source, tests::process},
    proto::v1::{self, EventKind, event::Detail as Message},
    serve::{
        convert::{self, Context},
        watch::{self, Messages, Range, Sequence, Told},
    },
};

const LIMITS: Limits = Limits {
    bytes: 256 << 20,
    age: Duration::from_secs(86_400),
};

fn key(pid: u32) -> ProcessKey {
    ProcessKey {
        pid,
        start_ticks: 1_000 + u64::from(pid),
    }
}

/// The containers that events are of: the same each time.
fn container(number: u32) -> Arc<Container> {
    static CONTAINERS: OnceLock<Vec<Arc<Container>>> = OnceLock::new();
    let containers = CONTAINERS.get_or_init(|| (0..4).map(new_container).collect());
    Arc::clone(&containers[number as usize])
}

fn new_container(number: u32) -> Arc<Container> {
    let path = format!("/docker/{number:064x}");
    let shape = shape::recognise(&path).expect("a container's");
    let container = Container::new(shape, path, u64::from(number), number);
    let description = Description {
        name: format!("web-{number}"),
        image: "registry.example/shop/web:1".to_owned(),
        image_digest: "sha256:00ff".to_owned(),
        labels: [("tier".to_owned(), "front".to_owned())].into(),
        pod: Some(Pod {
            uid: format!("uid-{number}"),
            name: format!("shop-{number}"),
            namespace: "shop".to_owned(),
            labels: [("app".to_owned(), "shop".to_owned())].into(),
            workload: Workload::parse("Deployment/shop"),
            namespace_labels: NamespaceLabels::Known(
                [("team".to_owned(), "red".to_owned())].into(),
            ),
        }),
        ..Description::default()
    };
    container.describe(description, |_| {});
    Arc::new(container)
}

/// A process with every field set to something.
fn full_process(pid: u32, parent: Option<u32>, exe: &str) -> Arc<Process> {
    let mut made = process(key(pid), parent.map(key), exe);
    made.inside = Some((4_026_531_999, pid % 100 + 1));
    let program = Arc::make_mut(&mut made.program);
    program.exec_ns = u64::from(pid) * 1_000;
    program.executed = Some(SystemTime::now());
    program.argv = Arguments::new(format!("{exe}\0-c\0\0é\"'\\\0").as_bytes());
    program.redacted = 2;
    program.cwd = "/srv".to_owned();
    program.filename = "./run".to_owned();
    program.flags = 64;
    program.credentials.cap_effective = u64::MAX;
    program.credentials.loginuid = u32::MAX;
    program.credentials.sessionid = 7;
    program.credentials.euid = 65_534;
    program.namespaces.mnt = 4_026_532_000;
    program.namespaces.pid_inside = 9;
    program.file.inode = u64::MAX - 5;
    program.file.flags = file_flag::UPPER_LAYER;
    program.stdio[1].kind = 2;
    program.stdio[1].inode = 123_456;
    program.tty = "pts0".to_owned();
    Arc::new(made)
}

fn event(number: u32, detail: Detail) -> Event {
    let home = container(number % 3 + 1);
    let path = Arc::from(format!("{}/inner", home.cgroup_path));
    let parent = full_process(number % 50 + 2, Some(1), "/usr/bin/parent");
    let runtime = full_process(1, None, "/usr/bin/runtime");
    Event {
        time: SystemTime::now(),
        process: Some(full_process(
            1_000 + number,
            Some(number % 50 + 2),
            "/usr/bin/thing",
        )),
        origin: Some(Origin::Injected),
        injected_by: Some(Arc::clone(&runtime)),
        ancestors: vec![
            Ancestor {
                process: parent,
                membership: Some(Membership {
                    container: Arc::clone(&home),
                    origin: Origin::Injected,
                    entered_by: Some(Arc::clone(&runtime)),
                }),
            },
            Ancestor {
                process: runtime,
                membership: None,
            },
        ],
        place: Place::Container(home, path),
        target: None,
        detail,
    }
}

fn message(kind: EventKind, message: Message) -> Detail {
    Detail::Message(kind, Box::new(message))
}

fn endpoint(port: u32) -> Option<v1::Endpoint> {
    Some(v1::Endpoint {
        address: "192.0.2.7".to_owned(),
        port,
    })
}

fn connection(kind: EventKind, outbound: bool) -> Detail {
    message(
        kind,
        Message::Connection(v1::Connection {
            protocol: v1::Protocol::Tcp.into(),
            local: endpoint(40_123),
            remote: endpoint(443),
            outcome: v1::Outcome::Established.into(),
            remote_name: "example.com".to_owned(),
            bytes_sent: 77,
            bytes_received: u64::MAX,
            duration_ns: 5,
            outbound,
            ..v1::Connection::default()
        }),
    )
}

/// One event of each shape that there is.
fn every_shape() -> Vec<Event> {
    let call = || {
        Some(v1::Call {
            name: "mount".to_owned(),
            result: -1,
            error: "EPERM".to_owned(),
            maybe_refused_by_seccomp: true,
            ..v1::Call::default()
        })
    };
    let cgroup = || Cgroup {
        id: 7,
        parent_id: 1,
        path: "/kubepods/x".to_owned(),
    };
    let details = vec![
        Detail::Exec,
        Detail::Fork {
            child: key(77),
            started: SystemTime::now() - Duration::from_nanos(12_345),
        },
        Detail::Exit { status: 0 },
        Detail::Exit { status: 0x8b },
        Detail::CgroupCreated(cgroup()),
        Detail::CgroupRemoved(cgroup()),
        Detail::CgroupAttach {
            moved: key(5),
            process: Some(full_process(5, None, "/usr/bin/moved")),
            cgroup_id: 9,
            path: Some("/docker/x".into()),
        },
        Detail::CgroupAttach {
            moved: key(6),
            process: None,
            cgroup_id: 9,
            path: None,
        },
        connection(EventKind::Connect, true),
        connection(EventKind::Accept, false),
        connection(EventKind::Close, true),
        connection(EventKind::Close, false),
        message(
            EventKind::Connect,
            Message::Connection(v1::Connection {
                protocol: v1::Protocol::Unix.into(),
                path: "/run/containerd/containerd.sock".to_owned(),
                ..v1::Connection::default()
            }),
        ),
        message(
            EventKind::Dns,
            Message::Dns(v1::Dns {
                answer: true,
                id: 4_711,
                name: "example.com".to_owned(),
                answers: vec!["192.0.2.1".to_owned(), "a\"b".to_owned()],
                ..v1::Dns::default()
            }),
        ),
        message(EventKind::Dns, Message::Dns(v1::Dns::default())),
        message(
            EventKind::FileOpen,
            Message::FileOpen(v1::FileOpen {
                path: "/etc/shadow".to_owned(),
                access: vec!["read".to_owned()],
                file: Some(v1::File {
                    inode: u64::MAX,
                    change_time: Some(prost_types::Timestamp {
                        seconds: 1_769_860_800,
                        nanos: 1,
                    }),
                    ..v1::File::default()
                }),
                ..v1::FileOpen::default()
            }),
        ),
        message(
            EventKind::FileChange,
            Message::FileChange(v1::FileChange {
                call: call(),
                path: "/a\u{1b}[2J".to_owned(),
                uid: Some(0),
                ..v1::FileChange::default()
            }),
        ),
        message(
            EventKind::Mount,
            Message::Mount(v1::Mount {
                call: call(),
                flags: vec!["MS_BIND".to_owned()],
                ..v1::Mount::default()
            }),
        ),
        message(
            EventKind::CpuUsage,
            Message::CpuUsage(v1::CpuUsage {
                used_ns: 5,
                interval_ns: 6,
                limit_cpus: 0.5,
            }),
        ),
        message(
            EventKind::KernelCall,
            Message::KernelCall(v1::KernelCall::default()),
        ),
    ];
    let mut events: Vec<Event> = (0..)
        .zip(details)
        .map(|(number, detail)| event(number, detail))
        .collect();
    events.push(Event {
        target: Some(Target {
            key: key(908),
            process: Some(full_process(908, None, "/usr/bin/target")),
            place: Place::Host("/system.slice".into()),
        }),
        ..event(
            99,
            message(
                EventKind::ProcessAccess,
                Message::ProcessAccess(v1::ProcessAccess {
                    call: call(),
                    claimed_pid: 8,
                    ..v1::ProcessAccess::default()
                }),
            ),
        )
    });
    events.push(Event {
        process: None,
        origin: None,
        injected_by: None,
        ancestors: Vec::new(),
        place: Place::Unknown,
        ..event(
            100,
            Detail::Loss(Loss {
                cgroup_id: u64::MAX,
                class: loss::Class::Dns,
                reason: LossReason::DetectionOverloaded,
                count: 12,
            }),
        )
    });
    events.push(Event {
        place: Place::Host("/system.slice/x.service".into()),
        origin: None,
        injected_by: None,
        ancestors: Vec::new(),
        ..event(101, Detail::Exec)
    });
    events
}

fn alert(number: u32, evidence: u64) -> Alert {
    let event = Arc::new(event(number, Detail::Exec));
    let process = Arc::clone(event.process.as_ref().expect("it has one"));
    static SET: LazyLock<RuleSet> = LazyLock::new(|| RuleSet::of(&[]).expect("built in").set);
    let rule = Arc::clone(&SET.get("shell.injected").expect("built in").rule);
    let finding = Finding {
        severity: rule.severity,
        rule,
        message: format!("finding {number} \u{1b}[2J"),
        ancestors: event.ancestors.clone(),
        injected_by: event.injected_by.clone(),
        facts: [("shell".into(), "sh".to_owned())].into(),
        claimed: vec!["process.argv".into()],
        evidence: Vec::new(),
    };
    Alert::new(finding, event, process, evidence)
}

fn context(store: &str) -> Context {
    Context {
        node: "node".to_owned(),
        boot_id: BOOT.to_owned(),
        store: store.to_owned(),
    }
}

const BOOT: &str = "0123456789abcdef0123456789abcdef";

/// A store with its writer.
struct History {
    store: Arc<Store>,
    events: Arc<Recent<Event>>,
    alerts: Arc<Recent<Alert>>,
    writer: Option<writer::Running>,
    runtime: tokio::runtime::Runtime,
}

impl History {
    fn open(directory: &Path, limits: Limits, in_memory: usize) -> Self {
        Self::of_boot(directory, limits, in_memory, BOOT)
    }

    fn of_boot(directory: &Path, limits: Limits, in_memory: usize, boot: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("runtime");
        let opened = Store::open(directory, limits).expect("opened");
        let store = Arc::new(opened.store);
        let events = Arc::new(Recent::starting_after(
            opened.last_event,
            in_memory,
            usize::MAX,
        ));
        let alerts = Arc::new(Recent::starting_after(
            opened.last_alert,
            in_memory,
            usize::MAX,
        ));
        let writer = writer::start(
            writer::Parts {
                store: Arc::clone(&store),
                numbers: opened.numbers,
                events: Arc::clone(&events),
                alerts: Arc::clone(&alerts),
                node: "node".to_owned(),
                boot_id: boot.to_owned(),
                attached: SystemTime::now(),
                restored: Vec::new(),
                heartbeats: Arc::default(),
            },
            runtime.handle().clone(),
        )
        .expect("started");
        Self {
            store,
            events,
            alerts,
            writer: Some(writer),
            runtime,
        }
    }

    fn push(&self, event: Event) -> u64 {
        self.events.push(Arc::new(event), 1)
    }

    fn flush(&self) {
        self.runtime
            .block_on(self.store.flush(self.events.last(), self.alerts.last()));
    }

    fn sequence(&self) -> Sequence<Event> {
        Sequence {
            recent: Arc::clone(&self.events),
            store: Some(Arc::clone(&self.store)),
            subscribers: Arc::default(),
        }
    }

    /// What a stream without following tells.
    fn told(&self, range: Range) -> Vec<String> {
        let context = context(self.store.name());
        self.runtime.block_on(async {
            watch::stream(self.sequence(), &context, range, Everything)
                .map(|message| message.expect("no status"))
                .collect()
                .await
        })
    }
}

impl Drop for History {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.stop(SystemTime::now());
        }
    }
}

/// Numbers of events, and what is lost.
struct Everything;

impl Messages for Everything {
    type Value = Event;
    type Message = String;
    const CURSOR: char = convert::EVENT_CURSOR;

    fn wants(&self, _: u64, _: &Event) -> bool {
        true
    }
    fn is_undecided(&self, _: &Event) -> bool {
        false
    }
    fn is_past_end(&self, _: &Event) -> bool {
        false
    }
    fn narrow(&self) -> Narrow {
        Narrow::default()
    }
    fn message(&self, told: Told<'_, Event>) -> String {
        match told {
            Told::Value(number, _, _) => number.to_string(),
            Told::Lost(lost) => format!("lost {}: {}", lost.count, lost.reason),
            Told::Amended(_) => "amended".to_owned(),
            Told::Heartbeat(_) => "heartbeat".to_owned(),
        }
    }
}

fn exits(history: &History, count: u32) -> Vec<String> {
    (0..count)
        .map(|number| {
            history
                .push(event(number, Detail::Exit { status: 0 }))
                .to_string()
        })
        .collect()
}

fn all(reader: &mut Reader) -> Numbered<Event> {
    reader
        .events(&Selection {
            until: u64::MAX,
            count: usize::MAX,
            ..Selection::default()
        })
        .expect("read")
}
