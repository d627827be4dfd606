//! History as a whole: written by the thread that writes it, read by streams, over restarts and failures.

use std::{
    fs,
    ops::ControlFlow,
    path::Path,
    sync::{Arc, OnceLock, atomic::Ordering},
    time::{Duration, SystemTime},
};

use proptest::prelude::*;
use tokio_stream::StreamExt as _;
use watchkeeper_ebpf::{loss, record::file_flag};

use super::{
    Limits, Store,
    detail::{self},
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
        model::{Container, Description, Pod},
        registry::Place,
        shape,
    },
    detect::alert::{Alert, Finding},
    event::{Ancestor, Cgroup, Detail, Event, Loss, LossReason, Target},
    policy::catalogue::Catalogue,
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
    container.describe(Description {
        name: format!("web-{number}"),
        image: "registry.example/shop/web:1".to_owned(),
        image_digest: "sha256:00ff".to_owned(),
        labels: [("tier".to_owned(), "front".to_owned())].into(),
        pod: Some(Pod {
            uid: format!("uid-{number}"),
            name: format!("shop-{number}"),
            namespace: "shop".to_owned(),
            labels: [("app".to_owned(), "shop".to_owned())].into(),
        }),
        ..Description::default()
    });
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
    let catalogue = Catalogue::load(None).expect("built in");
    let rule = catalogue.get("shell.injected").expect("built in");
    let finding = Finding {
        rule: "shell.injected",
        message: format!("finding {number} \u{1b}[2J"),
        ancestors: event.ancestors.clone(),
        injected_by: event.injected_by.clone(),
        facts: [("shell", "sh".to_owned())].into(),
        claimed: vec!["process.argv"],
    };
    Alert::new(finding, Arc::clone(rule), event, process, evidence)
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
                restored: Vec::new(),
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
            writer.stop();
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

#[test]
fn every_event_comes_back_as_it_was() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    let events = every_shape();
    for event in &events {
        history.push(event.clone());
    }
    history.flush();
    let mut reader = Reader::open(&history.store.parts()[0]).expect("opened");
    let read = all(&mut reader);
    assert_eq!(read.len(), events.len());
    let context = context("store");
    for (event, (number, read)) in events.iter().zip(&read) {
        assert_eq!(context.event(*number, read), context.event(*number, event));
    }
    // And without the caches that the first reading filled.
    assert_eq!(&*reader.boot_id, BOOT);
}

#[test]
fn parts_of_details_make_up_the_whole() {
    for event in every_shape() {
        let parts = detail::parts(&event);
        if let Some(fixed) = &parts.fixed {
            let text = detail::to_json(fixed).expect("written");
            assert_eq!(&detail::from_json(&text).expect("read"), fixed, "{text}");
        }
        if let Some(text) = detail::numbers_to_text(&parts.numbers) {
            assert_eq!(
                detail::numbers_from_text(&text).expect("read"),
                parts.numbers
            );
        }
    }
}

#[test]
fn what_comes_again_is_written_once_and_counted() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 10_000);
    for number in 0..500 {
        let mut again = event(number % 5, connection(EventKind::Connect, true));
        if let Detail::Message(_, detail) = &mut again.detail
            && let Message::Connection(connection) = &mut **detail
            && let Some(local) = &mut connection.local
        {
            local.port = 40_000 + number;
        }
        history.push(again);
        if number == 250 {
            history.flush();
        }
    }
    history.flush();
    let mut reader = Reader::open(&history.store.parts()[0]).expect("opened");
    let counted: Vec<(i64, i64)> = reader
        .connection()
        .prepare("SELECT count, last - first FROM detail")
        .and_then(|mut statement| {
            statement
                .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .expect("read");
    assert_eq!(counted.len(), 1);
    assert_eq!(counted[0].0, 500);
    assert!(counted[0].1 > 0);
    let ports: Vec<i64> = reader
        .connection()
        .prepare("SELECT local_port FROM connections ORDER BY number")
        .and_then(|mut statement| statement.query_map((), |row| row.get(0))?.collect())
        .expect("read");
    assert_eq!(ports, (40_000..40_500).collect::<Vec<_>>());
    assert_eq!(all(&mut reader).len(), 500);
    let programs: i64 = reader
        .connection()
        .query_row("SELECT count(*) FROM program", (), |row| row.get(0))
        .expect("read");
    assert!(programs <= 4, "{programs}");
}

#[test]
fn alerts_come_back_with_their_latest_count() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    let made = Arc::new(alert(3, 17));
    let number = history.alerts.push(Arc::clone(&made), 1);
    history.flush();
    made.repeat(SystemTime::now(), 18);
    let id = made.id[..20].to_owned();
    drop(history);

    let history = History::open(directory.path(), LIMITS, 1_000);
    let mut past = Past::new(Arc::clone(&history.store), Narrow::default());
    let (found, read) = past.alert(&id).expect("found");
    assert_eq!(found, number);
    let context = context("store");
    assert_eq!(context.alert(found, &read), context.alert(number, &made));
    assert_eq!(read.tally().count, 2);
    assert_eq!(past.read::<Alert>(0, u64::MAX, 10).items.len(), 1);
    assert!(past.alert("no such id").is_none());
}

#[test]
fn a_run_goes_on_where_the_one_before_ended() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    let first = exits(&history, 5);
    let cursor = context(history.store.name()).cursor(convert::EVENT_CURSOR, 3);
    drop(history);

    let history = History::open(directory.path(), LIMITS, 1_000);
    let second = exits(&history, 3);
    let told = history.told(Range {
        cursor,
        ..Range::default()
    });
    assert_eq!(told[..2], first[3..]);
    assert!(
        told[2].starts_with("lost 0: the agent did not run from "),
        "{told:?}"
    );
    assert_eq!(told[3..], second);
    assert_eq!(history.store.parts().len(), 1, "the same segment");
    drop(history);

    let history = History::of_boot(directory.path(), LIMITS, 1_000, "ffff");
    exits(&history, 1);
    history.flush();
    assert_eq!(
        history.store.parts().len(),
        2,
        "another boot, another segment"
    );
    assert_eq!(history.told(Range::default()).len(), 5 + 1 + 3 + 1 + 1);
}

#[test]
fn what_a_killed_agent_had_not_written_is_told() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let copy = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    exits(&history, 5);
    history.flush();
    // As a kill leaves it.
    for entry in fs::read_dir(directory.path()).expect("read") {
        let entry = entry.expect("read");
        fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
    }
    let history = History::open(copy.path(), LIMITS, 1_000);
    let number = exits(&history, 1);
    let told = history.told(Range::default());
    assert_eq!(told.len(), 7, "{told:?}");
    assert!(told[5].contains("the agent was killed after "), "{told:?}");
    assert_eq!(told[6], number[0]);
}

#[test]
fn the_last_and_the_first_are_found_on_disk() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 10);
    let mut numbers = Vec::new();
    for _ in 0..20 {
        numbers.extend(exits(&history, 10));
        history.flush();
    }
    let last = |last| Range {
        last,
        ..Range::default()
    };
    let first = |first| Range {
        first,
        ..Range::default()
    };
    for count in [1, 9, 10, 11, 150, 200] {
        assert_eq!(
            history.told(last(count)),
            numbers[200 - count..],
            "last {count}"
        );
        assert_eq!(
            history.told(first(count)),
            numbers[..count],
            "first {count}"
        );
    }
    assert_eq!(history.told(last(500)), numbers);
}

#[test]
fn a_clock_that_is_set_back_hides_nothing() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 4_000);
    let now = SystemTime::now();
    let mut expected = Vec::new();
    for number in 0..3_000 {
        // The second thousand is an hour earlier.
        let hour = if number / 1_000 == 1 { 3_600 } else { 0 };
        let time = now + Duration::from_millis(u64::from(number)) - Duration::from_secs(hour);
        let pushed = history.push(Event {
            time,
            ..event(number % 5, Detail::Exit { status: 0 })
        });
        if hour > 0 {
            expected.push(pushed);
        }
    }
    history.flush();
    let mut past = Past::new(Arc::clone(&history.store), Narrow::default());
    let since = now - Duration::from_secs(3_600);
    let until = now - Duration::from_secs(1_000);
    let after = past.before(since).expect("there are some");
    let end = past.up_to(until).expect("there are some");
    let found: Vec<u64> = past
        .read::<Event>(after, end, usize::MAX)
        .items
        .into_iter()
        .filter(|(_, event)| event.time >= since && event.time <= until)
        .map(|(number, _)| number)
        .collect();
    assert_eq!(found, expected);
    assert_eq!(past.before(now + Duration::from_secs(60)), None);
    assert_eq!(past.up_to(now - Duration::from_secs(7_200)), None);
}

#[test]
fn history_keeps_to_its_size_and_tells_what_it_let_go() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let limits = Limits {
        bytes: super::MIN_BYTES,
        ..LIMITS
    };
    let mut history = History::open(directory.path(), limits, 100_000);
    let mut last = 0;
    for round in 0..40 {
        for number in 0..1_000 {
            let path = format!("/srv/{round}/{number}/{}", "x".repeat(400));
            let opened = Message::FileOpen(v1::FileOpen {
                path,
                ..v1::FileOpen::default()
            });
            last = history.push(event(number % 5, message(EventKind::FileOpen, opened)));
        }
        history.flush();
    }
    history.writer.take().expect("it runs").stop();
    let parts = history.store.parts();
    assert!(parts.len() > 3 && parts[0].sequence > 1, "{parts:?}");
    let on_disk: u64 = parts.iter().map(|part| part.bytes()).sum();
    let wal: u64 = 8 << 20;
    assert!(on_disk < limits.bytes + wal, "{on_disk}");

    let mut past = Past::new(Arc::clone(&history.store), Narrow::default());
    let slice = past.read::<Event>(0, u64::MAX, 10);
    assert_eq!(slice.gaps.len(), 1);
    assert!(slice.gaps[0].reason.contains("does not reach back"));
    let mut after = past.beginning::<Event>().expect("there is one");
    let mut count = 0;
    while after < last {
        let slice = past.read::<Event>(after, last, 1_000);
        assert_eq!(slice.gaps, []);
        count += slice.items.len() as u64;
        after = slice.scanned;
    }
    assert_eq!(
        count,
        last - parts[0].first_event + 1,
        "all that is kept is there"
    );
}

#[test]
fn a_damaged_segment_is_set_aside_and_the_others_stay() {
    let directory = tempfile::tempdir().expect("temporary directory");
    for boot in ["a", "b", "c"] {
        let history = History::of_boot(directory.path(), LIMITS, 1_000, boot);
        exits(&history, 5);
    }
    let second = Segment::list(directory.path())
        .expect("listed")
        .swap_remove(1);
    let length = fs::metadata(&second.path).expect("there").len();
    let mut content = fs::read(&second.path).expect("read");
    content[8_192..usize::try_from(length).expect("small")].fill(0xa5);
    fs::write(&second.path, content).expect("written");

    let history = History::of_boot(directory.path(), LIMITS, 1_000, "c");
    let told = history.told(Range::default());
    let values = told
        .iter()
        .filter(|told| told.parse::<u64>().is_ok())
        .count();
    assert_eq!(values, 10, "{told:?}");
    assert!(told.iter().any(|told| told.contains("damaged")), "{told:?}");
    assert!(second.path.with_extension("damaged").exists());
    assert_eq!(history.store.parts().len(), 2);
}

#[test]
fn where_its_segment_was_set_aside_the_writer_begins_another() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    exits(&history, 5);
    history.flush();
    let first = history.store.parts()[0].clone();
    // As a reader does that finds it damaged.
    history
        .store
        .drop_damaged(&first, &anyhow::anyhow!("it is damaged"));
    let numbers = exits(&history, 5);
    history.flush();
    let parts = history.store.parts();
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].sequence, 2);
    let mut past = Past::new(Arc::clone(&history.store), Narrow::default());
    let read = past.read::<Event>(5, u64::MAX, 100).items;
    let read: Vec<String> = read.iter().map(|(number, _)| number.to_string()).collect();
    assert_eq!(read, numbers);
}

#[test]
fn numbers_are_not_given_again_where_the_file_with_them_is_lost() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    exits(&history, 5);
    drop(history);
    fs::remove_file(directory.path().join("numbers")).expect("removed");
    let history = History::open(directory.path(), LIMITS, 1_000);
    let numbers = exits(&history, 5);
    let told = history.told(Range::default());
    assert_eq!(told.len(), 11, "{told:?}");
    assert_eq!(told[6..], numbers);
}

#[test]
fn missing_alerts_are_told() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 4);
    for number in 0..2_000 {
        history.alerts.push(Arc::new(alert(number % 7, 1)), 1);
    }
    history.flush();
    let mut past = Past::new(Arc::clone(&history.store), Narrow::default());
    let mut after = 0;
    let (mut told, mut missing) = (0, 0);
    while after < 2_000 {
        let slice = past.read::<Alert>(after, 2_000, 100);
        told += slice.items.len() as u64;
        missing += slice.gaps.iter().map(|gap| gap.count).sum::<u64>();
        after = slice.scanned;
    }
    assert_eq!(told + missing, 2_000);
    assert!(missing > 0);
}

#[test]
fn another_agent_with_the_same_history_is_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let first = Store::open(directory.path(), LIMITS).expect("free");
    let error = Store::open(directory.path(), LIMITS).expect_err("taken");
    assert!(error.to_string().contains("another agent"), "{error:#}");
    drop(first);
    assert!(Store::open(directory.path(), LIMITS).is_ok());
}

#[test]
fn containers_narrow_what_is_read() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    exits(&history, 30);
    history.flush();
    let narrow = Narrow {
        containers: Some(Arc::new(|container: Option<&Container>| {
            container.is_some_and(|container| container.details().description.name == "web-2")
        })),
        kinds: vec![EventKind::Exit.into()],
    };
    let mut past = Past::new(Arc::clone(&history.store), narrow);
    let found = past.read::<Event>(0, u64::MAX, 1_000).items;
    assert_eq!(found.len(), 10);
    let none = Narrow {
        kinds: vec![EventKind::Exec.into()],
        ..Narrow::default()
    };
    let mut past = Past::new(Arc::clone(&history.store), none);
    assert!(past.read::<Event>(0, u64::MAX, 1_000).items.is_empty());
}

/// Readers go on while it is written, and see each event once.
#[test]
fn two_readers_and_a_writer_do_not_disturb_each_other() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let limits = Limits {
        bytes: super::MIN_BYTES,
        ..LIMITS
    };
    let history = History::open(directory.path(), limits, 5_000);
    let context = context(history.store.name());
    let total = 20_000;
    let readers: Vec<_> = (0..2)
        .map(|reader| {
            let range = Range {
                follow: true,
                first: total,
                ..Range::default()
            };
            let entered = history.runtime.enter();
            let mut stream = watch::stream(history.sequence(), &context, range, Everything);
            drop(entered);
            history.runtime.spawn(async move {
                let mut told = Vec::new();
                while let Some(message) = stream.next().await {
                    told.push(message.expect("no status"));
                    if reader == 1 && told.len() % 500 == 0 {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
                told
            })
        })
        .collect();
    let mut numbers = Vec::new();
    for _ in 0..20 {
        numbers.extend(exits(&history, 1_000));
        history.flush();
    }
    for reader in readers {
        let told = history
            .runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(60), reader).await })
            .expect("in time")
            .expect("no panic");
        assert_eq!(told, numbers);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    /// Wherever a client begins, whatever memory holds, and however fast it reads: it is told everything once and in order.
    #[test]
    fn history_and_live_make_up_the_sequence(
        past in 0..400u32,
        live in 1..400u32,
        in_memory in 20..500usize,
        begin in 0.0..1.0f64,
        pause in 0..40usize,
    ) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let history = History::open(directory.path(), LIMITS, in_memory);
        let mut numbers = Vec::new();
        let burst = u32::try_from(in_memory).expect("small").min(100);
        let mut push = |count: u32| {
            let mut left = count;
            while left > 0 {
                let now = left.min(burst);
                numbers.extend(exits(&history, now));
                // Memory never lets go of what is not written.
                history.flush();
                left -= now;
            }
        };
        push(past);
        let after = (f64::from(past) * begin) as u64;
        let context = context(history.store.name());
        let total = (u64::from(past + live) - after) as usize;
        let range = Range {
            after: Some(after),
            follow: true,
            first: total,
            ..Range::default()
        };
        let entered = history.runtime.enter();
        let mut stream = watch::stream(history.sequence(), &context, range, Everything);
        drop(entered);
        let reader = history.runtime.spawn(async move {
            let mut told = Vec::new();
            while let Some(message) = stream.next().await {
                told.push(message.expect("no status"));
                if pause > 0 && told.len() % pause == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            told
        });
        push(live);
        let told = history
            .runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(60), reader).await })
            .expect("in time")
            .expect("no panic");
        let from = usize::try_from(after).expect("small");
        prop_assert_eq!(&told[..], &numbers[from..]);
    }

    /// A client that follows while memory lets go of more than is written is told each event once and in order, or how many are
    /// missing.
    #[test]
    fn a_follower_is_told_everything_or_how_much_is_missing(
        bursts in prop::collection::vec((1..200u32, 0..30u64), 1..12),
        pause in 0..20u64,
    ) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let history = History::open(directory.path(), LIMITS, 50);
        let total: u64 = bursts.iter().map(|(burst, _)| u64::from(*burst)).sum();
        let context = context(history.store.name());
        let range = Range { after: Some(0), follow: true, ..Range::default() };
        let entered = history.runtime.enter();
        let mut stream = watch::stream(history.sequence(), &context, range, Everything);
        drop(entered);
        let reader = history.runtime.spawn(async move {
            let (mut counted, mut last) = (0, 0);
            while counted < total {
                let told = stream.next().await.expect("it goes on").expect("no status");
                if let Some(lost) = told.strip_prefix("lost ") {
                    let count = lost.split(':').next().and_then(|count| count.parse::<u64>().ok());
                    counted += count.expect("a count");
                } else {
                    let number: u64 = told.parse().expect("a number");
                    assert!(number > last, "{number} after {last}");
                    (counted, last) = (counted + 1, number);
                }
                if counted % 64 == 0 {
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            }
            counted
        });
        for (burst, wait) in bursts {
            exits(&history, burst);
            std::thread::sleep(Duration::from_millis(wait));
        }
        let counted = history
            .runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(30), reader).await })
            .expect("in time")
            .expect("no panic");
        prop_assert_eq!(counted, total);
    }

    /// Where memory lets go of more than is written, what is missing is counted.
    #[test]
    fn what_could_not_be_written_is_counted(bursts in prop::collection::vec(1..300u32, 1..6)) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let history = History::open(directory.path(), LIMITS, 50);
        for burst in &bursts {
            exits(&history, *burst);
            std::thread::sleep(Duration::from_millis(u64::from(*burst)));
        }
        history.flush();
        let total: u32 = bursts.iter().sum();
        let mut counted = 0;
        for told in history.told(Range { after: Some(0), ..Range::default() }) {
            counted += match told.strip_prefix("lost ") {
                Some(lost) => lost.split(':').next().and_then(|count| count.parse().ok()).expect("a count"),
                None => 1,
            };
        }
        prop_assert_eq!(counted, u64::from(total));
    }
}

fn ask(history: &History, sql: &str) -> anyhow::Result<Vec<Vec<rusqlite::types::Value>>> {
    let mut session = Session::open(
        &history.store.parts(),
        Duration::from_secs(2),
        &Arc::default(),
    )?;
    let mut rows = Vec::new();
    session.run(
        sql,
        |_| {},
        |row| {
            rows.push(row);
            ControlFlow::Continue(())
        },
    )?;
    Ok(rows)
}

fn number(history: &History, sql: &str) -> i64 {
    match ask(history, sql).expect(sql)[0][0] {
        rusqlite::types::Value::Integer(number) => number,
        ref other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn sql_sees_all_segments_as_one_and_what_was_carried_once() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let limits = Limits {
        bytes: super::MIN_BYTES,
        ..LIMITS
    };
    let history = History::open(directory.path(), limits, 100_000);
    let total = 12_000;
    for round in 0..total / 1_000 {
        for number in 0..1_000 {
            let path = format!("/srv/{round}/{number}/{}", "x".repeat(400));
            let opened = Message::FileOpen(v1::FileOpen {
                path,
                ..v1::FileOpen::default()
            });
            history.push(event(number % 20, message(EventKind::FileOpen, opened)));
        }
        history.flush();
    }
    assert!(history.store.parts().len() > 2);
    let count = |what: &str| number(&history, &format!("SELECT count(*) FROM {what}"));
    assert_eq!(count("events"), total);
    assert_eq!(count("files WHERE path LIKE '/srv/3/%'"), 1_000);
    // 20 processes, their 20 parents and the runtime.
    assert_eq!(count("processes"), 41);
    assert_eq!(count("containers"), 3);
    assert_eq!(count("pods"), 3);
    assert_eq!(
        count("(SELECT DISTINCT exec_id FROM executions)"),
        count("executions")
    );
    assert_eq!(
        count("executions WHERE pod = 'shop/shop-1'"),
        count("executions WHERE container = 'web-1'")
    );
}

#[test]
fn sql_can_not_write_open_other_files_or_run_for_ever() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    exits(&history, 5);
    history.alerts.push(Arc::new(alert(1, 1)), 1);
    history.flush();
    let part = history.store.parts()[0].clone();
    let other = directory.path().join("other.sqlite");
    for sql in [
        "DELETE FROM s1.event".to_owned(),
        "INSERT INTO s1.gap VALUES (1, 2, 3, 'x')".to_owned(),
        "UPDATE s1.alert SET count = 0".to_owned(),
        "DROP VIEW s1.events".to_owned(),
        "CREATE TABLE s1.x (y)".to_owned(),
        "CREATE TEMP TABLE x (y)".to_owned(),
        "DELETE FROM temp.copy".to_owned(),
        format!("ATTACH '{}' AS other", other.display()),
        format!("VACUUM INTO '{}'", other.display()),
        "DETACH s1".to_owned(),
        "PRAGMA query_only = 0".to_owned(),
        "PRAGMA s1.journal_mode = delete".to_owned(),
        "PRAGMA writable_schema = 1".to_owned(),
        "BEGIN IMMEDIATE".to_owned(),
        "SELECT load_extension('x')".to_owned(),
        "SELECT 1; DELETE FROM s1.event".to_owned(),
        "EXPLAIN DELETE FROM s1.event".to_owned(),
        "".to_owned(),
        "SELECT".to_owned(),
        "SELECT * FROM nothing".to_owned(),
        "SELECT randomblob(1000000000)".to_owned(),
        "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT count(*) FROM t".to_owned(),
        "SELECT count(*) FROM events a, events b, events c, events d, events e, events f, events g, events h, events i, \
         events j, events k".to_owned(),
    ] {
        let began = std::time::Instant::now();
        let error = ask(&history, &sql).expect_err(&sql);
        assert!(!error.to_string().is_empty(), "{sql}");
        assert!(began.elapsed() < Duration::from_secs(30), "{sql}");
    }
    assert!(!other.exists());
    let mut reader = Reader::open(&part).expect("opened");
    assert_eq!(all(&mut reader).len(), 5);
    assert_eq!(number(&history, "SELECT sum(count) FROM alerts"), 1);
    assert_eq!(number(&history, "SELECT count(*) FROM losses"), 0);
}

#[test]
fn an_export_is_a_history_of_its_own() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    for event in every_shape() {
        history.push(event);
    }
    history.alerts.push(Arc::new(alert(1, 1)), 1);
    history.alerts.push(Arc::new(alert(2, 1)), 1);
    history.flush();
    let mut past = Past::new(Arc::clone(&history.store), Narrow::default());
    let settled = *history.store.settled().borrow();
    let exported = export(
        &history.store,
        &mut past,
        (0, settled.events),
        &[("node", "node")],
        &|event| event.container().is_some(),
        &|alert| alert.message.contains("finding 2"),
        &|| false,
    )
    .expect("exported");
    let expected: Vec<_> = every_shape()
        .into_iter()
        .filter(|event| event.container().is_some())
        .collect();
    assert_eq!(
        (exported.events, exported.alerts),
        (expected.len() as u64, 1)
    );
    let segment = Segment {
        sequence: 0,
        first_event: 0,
        first_alert: 0,
        path: exported.path.clone(),
    };
    let mut reader = Reader::open(&segment).expect("opened");
    let context = context("store");
    let read = all(&mut reader);
    for ((number, read), (_, original)) in read.iter().zip(
        past.read::<Event>(0, settled.events, 1_000)
            .items
            .iter()
            .filter(|(_, event)| event.container().is_some()),
    ) {
        assert_eq!(
            context.event(*number, read),
            context.event(*number, original)
        );
    }
    assert_eq!(read.len(), expected.len());
    drop(exported);
    assert!(!segment.path.exists(), "it is the client's now");
    assert_eq!(Segment::list(directory.path()).expect("listed").len(), 1);
}

/// More than memory holds, faster than it can be written: what is committed stays, what is missing is counted.
#[test]
fn a_burst_of_long_arguments_is_kept_or_counted() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let limits = Limits {
        bytes: 64 << 20,
        ..LIMITS
    };
    let mut history = History::open(directory.path(), limits, 4_096);
    let total: u64 = 50_000;
    for number in 0..total {
        let mut executed = event(u32::try_from(number % 7).expect("small"), Detail::Exec);
        let mut process = process(
            ProcessKey {
                pid: 5_000,
                start_ticks: number,
            },
            None,
            "/usr/bin/thing",
        );
        let arguments = format!("thing\0{number}{}", "x".repeat(4_000));
        Arc::make_mut(&mut process.program).argv = Arguments::new(arguments.as_bytes());
        executed.process = Some(Arc::new(process));
        history.push(executed);
    }
    history.flush();
    history.writer.take().expect("it runs").stop();
    let figures = history.store.figures();
    let (written, missed) = (
        figures.events.load(Ordering::Relaxed),
        figures.missed.load(Ordering::Relaxed),
    );
    assert_eq!(written + missed, total);
    let bytes: u64 = history.store.parts().iter().map(|part| part.bytes()).sum();
    assert!(bytes < limits.bytes + (16 << 20), "{bytes}");
    let told = history.told(Range::default());
    let values = told
        .iter()
        .filter(|told| told.parse::<u64>().is_ok())
        .count() as u64;
    let oldest = history.store.parts()[0].first_event;
    let lost: u64 = told
        .iter()
        .filter_map(|told| {
            told.strip_prefix("lost ")?
                .split(':')
                .next()?
                .parse::<u64>()
                .ok()
        })
        .sum();
    assert_eq!(
        values + lost,
        total - (oldest - 1),
        "all since the oldest that is kept"
    );
}

#[test]
fn source_of_processes_is_kept() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    let mut forked = event(1, Detail::Exit { status: 0 });
    let mut child = (**forked.process.as_ref().expect("it has one")).clone();
    child.source = Source::Fork;
    child.key = key(9_999);
    child.inside = Some((1, 2));
    forked.process = Some(Arc::new(child));
    history.push(forked.clone());
    history.flush();
    let mut reader = Reader::open(&history.store.parts()[0]).expect("opened");
    let context = context("store");
    let read = all(&mut reader);
    assert_eq!(context.event(1, &read[0].1), context.event(1, &forked));
    let line = reader.last_line(key(9_999)).expect("read").expect("there");
    assert_eq!(line.process.source, Source::Fork);
    assert_eq!(line.ancestors.len(), 2);
    assert!(reader.last_line(key(1_234_567)).expect("read").is_none());
}
