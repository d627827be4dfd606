//! What conditions say of events; in modules of its own, what is known of them beforehand and what is wrong with them.

mod known;
mod mistakes;

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use super::{
    Condition, Environment, Message, Mistake, View,
    environment::{Definition, Words},
    subject::Memory,
};
use crate::{
    container::{
        membership::{Membership, Origin},
        model::{Container, Description, Labels, NamespaceLabels, Pod, Workload},
        registry::Place,
        shape,
    },
    event::{Ancestor, Detail, Event},
    process::execution::{Arguments, Process, ProcessKey, tests::process},
    proto::v1::{self, EventKind},
};

const KEY: ProcessKey = ProcessKey {
    pid: 9,
    start_ticks: 1,
};
const SERVER: ProcessKey = ProcessKey {
    pid: 3,
    start_ticks: 1,
};

fn container() -> Arc<Container> {
    let path = format!("/docker/{:064x}", 1);
    let shape = shape::recognise(&path).expect("a container's");
    let container = Container::new(shape, path, 5, 1);
    let description = Description {
        name: "web".to_owned(),
        image: "quay.example/shop/web:1.2".to_owned(),
        labels: Labels::from([("tier".to_owned(), "front".to_owned())]),
        pod: Some(Pod {
            uid: "11".to_owned(),
            name: "web-0".to_owned(),
            namespace: "shop".to_owned(),
            labels: Labels::from([("app.kubernetes.io/name".to_owned(), "web".to_owned())]),
            workload: Workload::parse("Deployment/web"),
            namespace_labels: NamespaceLabels::Known(Labels::from([(
                "team".to_owned(),
                "red".to_owned(),
            )])),
        }),
        ..Description::default()
    };
    container.describe(description, |_| {});
    Arc::new(container)
}

/// `/bin/cat /etc/shadow`, started by a server of the container.
fn actor() -> Process {
    let mut process = process(KEY, Some(SERVER), "/bin/cat");
    let program = Arc::make_mut(&mut process.program);
    program.argv = Arguments::new(b"cat\0/etc/shadow\0");
    program.credentials.cap_effective = 1 << 21;
    process
}

fn event(detail: Detail) -> Event {
    let container = container();
    Event {
        time: SystemTime::UNIX_EPOCH,
        process: Some(Arc::new(actor())),
        origin: Some(Origin::Descendant),
        injected_by: None,
        ancestors: vec![Ancestor {
            process: Arc::new(process(SERVER, None, "/usr/sbin/server")),
            membership: Some(Membership {
                container: Arc::clone(&container),
                origin: Origin::Entrypoint,
                entered_by: None,
            }),
        }],
        place: Place::Container(container, "/docker/x".into()),
        target: None,
        detail,
    }
}

fn open() -> Event {
    event(Detail::Message(
        EventKind::FileOpen,
        Box::new(v1::event::Detail::FileOpen(v1::FileOpen {
            path: "/etc/shadow".to_owned(),
            access: vec!["read".to_owned()],
            reasons: vec!["shadow".to_owned()],
            file: Some(v1::File {
                inode: 77,
                ..v1::File::default()
            }),
            ..v1::FileOpen::default()
        })),
    ))
}

fn connection() -> Event {
    event(Detail::Message(
        EventKind::Connect,
        Box::new(v1::event::Detail::Connection(v1::Connection {
            protocol: v1::Protocol::Tcp.into(),
            outcome: v1::Outcome::Failed.into(),
            error: "ECONNREFUSED".to_owned(),
            remote: Some(v1::Endpoint {
                address: "10.1.2.3".to_owned(),
                port: 3_333,
            }),
            remote_name: "eu.pool.example".to_owned(),
            ..v1::Connection::default()
        })),
    ))
}

struct Listens;

impl Memory for Listens {
    fn listening_port(&self, process: &Process, _: u32) -> Option<u16> {
        (process.key == SERVER).then_some(8_080)
    }
}

fn environment(events: &[&str]) -> Environment {
    Environment {
        lists: HashMap::from([(
            "pools".to_owned(),
            Arc::new(Words::new(vec!["pool.example".to_owned()])),
        )]),
        numbers: HashMap::from([("ports".to_owned(), Arc::from([3_333, 5_555]))]),
        definitions: [
            ("reads", "\"read\" in file_open.access"),
            ("reads_shadow", "reads && \"shadow\" in file_open.reasons"),
            ("endless", "endless"),
            ("broken", "process.exe == 1"),
        ]
        .into_iter()
        .enumerate()
        .map(|(number, (name, text))| {
            let text = Arc::from(text);
            (name.to_owned(), Definition { text, number })
        })
        .collect(),
        events: events.iter().map(|&event| event.to_owned()).collect(),
    }
}

fn holds(source: &str, event: &Event) -> bool {
    let condition = Condition::compile(source, &environment(&[]))
        .unwrap_or_else(|mistakes| panic!("{source}: {mistakes:?}"));
    condition.holds(&View::new(event, &Listens))
}

fn mistakes(source: &str, events: &[&str]) -> Vec<Mistake> {
    Condition::compile(source, &environment(events))
        .err()
        .unwrap_or_else(|| panic!("{source} is taken"))
}

#[test]
fn conditions_say_what_is_so() {
    let open = open();
    let connection = connection();
    for (source, event, expected) in [
        (r#"kind == "file-open""#, &open, true),
        (r#"kind == "connect""#, &open, false),
        (r#""read" in file_open.access"#, &open, true),
        (r#"!("write" in file_open.access)"#, &open, true),
        (
            r#"file_open.path.startsWith("/etc/") && file_open.file.inode == 77"#,
            &open,
            true,
        ),
        (
            r#"file_open.path.endsWith([".conf", "shadow"])"#,
            &open,
            true,
        ),
        (
            r#"file_open.path.matches("^/etc/(passwd|shadow)$")"#,
            &open,
            true,
        ),
        (r#"file_open.path.matches("(?i)SHADOW")"#, &open, true),
        (r#"file_open.path.matchesPath("**/shadow")"#, &open, true),
        (
            r#"file_open.path.matchesPath(["/x", "/var/**"])"#,
            &open,
            false,
        ),
        (r#"file_open.path.baseName() == "shadow""#, &open, true),
        (
            r#"file_open.path in ["/etc/passwd", "/etc/shadow"]"#,
            &open,
            true,
        ),
        (
            r#"process.argv[1] == "/etc/shadow" && size(process.argv) == 2"#,
            &open,
            true,
        ),
        (
            r#"process.argv.exists(a, a.contains("shadow"))"#,
            &open,
            true,
        ),
        (r#"process.argv.all(a, a.contains("shadow"))"#, &open, false),
        (
            r#"process.ancestors.exists(a, a.name == "server" && a.listening_port == 8080)"#,
            &open,
            true,
        ),
        (
            r#"process.ancestors.exists(a, process.argv.exists(b, b == a.name))"#,
            &open,
            false,
        ),
        (
            r#"process.parent.exe == "/usr/sbin/server" && process.parent.origin == "entrypoint""#,
            &open,
            true,
        ),
        (
            r#""CAP_SYS_ADMIN" in process.credentials.cap_effective"#,
            &open,
            true,
        ),
        (
            r#""CAP_NET_RAW" in process.credentials.cap_effective"#,
            &open,
            false,
        ),
        (
            r#"container.pod.namespace == "shop" && container.image_repository == "quay.example/shop/web""#,
            &open,
            true,
        ),
        (
            r#"container.pod.workload.kind == "Deployment" && container.pod.workload.name == "web""#,
            &open,
            true,
        ),
        (
            r#"container.pod.namespace_labels["team"] == "red" && !("tier" in container.pod.namespace_labels)"#,
            &open,
            true,
        ),
        (
            r#"container.pod.labels["app.kubernetes.io/name"] == "web" && "tier" in container.labels"#,
            &open,
            true,
        ),
        (
            r#"container.labels["missing"] == "" && !has(process.injected_by)"#,
            &open,
            true,
        ),
        (
            r#"has(file_open.linked_path) || has(process.parent)"#,
            &open,
            true,
        ),
        (
            r#"connection.remote.port in ports && connection.remote_name.withinDomain(pools)"#,
            &connection,
            true,
        ),
        (
            r#"connection.remote.address.inNetwork(["192.0.2.0/24", "10.0.0.0/8"])"#,
            &connection,
            true,
        ),
        (
            r#"connection.outcome == "failed" && outcome == "attempt""#,
            &connection,
            true,
        ),
        (
            r#"connection.remote.port >= 3000 + 333 && connection.remote.port < 2 * 2000"#,
            &connection,
            true,
        ),
        (
            r#"connection.outcome == "failed" ? connection.remote.port > 1 : false"#,
            &connection,
            true,
        ),
        // What an event does not have is empty.
        (r#"connection.remote_name == """#, &open, true),
        ("connection.remote.port == 0", &open, true),
        ("reads_shadow", &open, true),
        ("reads_shadow", &connection, false),
        ("cpu_usage.limit_cpus < 1", &open, true),
    ] {
        assert_eq!(holds(source, event), expected, "{source}");
    }
}

#[test]
fn a_message_has_the_values_of_its_fields() {
    let events = vec!["file-open".to_owned()];
    let message = Message::parse(
        "{process.name} ({process.argv}) read {file_open.path}{file_open.linked_path}[, linked at {file_open.linked_path}] \
         of [[{container.pod.namespace}]][ (pod namespace {container.pod.namespace})]",
        &events,
    )
    .expect("valid");
    let event = open();
    let (sentence, facts) = message.say(&View::new(&event, &Listens));
    assert_eq!(
        sentence,
        "cat (cat /etc/shadow) read /etc/shadow- of [shop] (pod namespace shop)"
    );
    assert!(
        !facts
            .iter()
            .any(|(name, _)| name == "file_open.linked_path")
    );
    assert!(facts.contains(&("file_open.path".to_owned(), "/etc/shadow".to_owned())));
    for (text, expected) in [
        ("{process.ex}", "did you mean"),
        ("{process", "without its"),
        ("{process.parent}", "name one of its fields"),
        ("{connection.path}", "only in events"),
        ("[{process.exe}", "`[` without its `]`"),
        ("{process.exe}]", "`]` without its `[`"),
        ("[team] {process.exe}", "no field in these brackets"),
        ("[{process.exe} [{process.name}]]", "within brackets"),
    ] {
        let mistake = Message::parse(text, &events).expect_err(text);
        assert!(mistake.message.contains(expected), "{text}: {mistake:?}");
    }
}
