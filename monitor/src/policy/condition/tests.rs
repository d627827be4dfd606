//! What conditions say of events, and what is wrong with those that are.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use proptest::{collection::vec, prop_assert_eq, test_runner::TestRunner};

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
fn mistakes_are_named_where_they_are() {
    let mut wrong = Vec::new();
    for (source, at, expected) in [
        (
            "file_open.pth == \"x\"",
            0,
            "did you mean `file_open.path`?",
        ),
        (
            "true && file_open == \"x\"",
            8,
            "not a field by itself; in it are access,",
        ),
        (
            "process.credentials.euid == \"0\"",
            25,
            "an int can't be compared with a string",
        ),
        (
            "process.exe == 1",
            12,
            "a string can't be compared with an int",
        ),
        ("process.exe", 0, "a condition is true or false"),
        ("process.argv == \"x\"", 13, "ask with `in` or `exists`"),
        ("kind == \"file-opn\"", 8, "did you mean `file-open`?"),
        (
            "process.file.layer in [\"image\", \"uper\"]",
            22,
            "did you mean `upper`?",
        ),
        (
            "kind == \"exec\" && kind == \"exit\"",
            23,
            "`kind` would have to be \"exec\" and \"exit\" at once",
        ),
        ("1 == 2", 0, "it can never hold"),
        (
            "process.exe.startWith(\"x\")",
            21,
            "did you mean `startsWith`?",
        ),
        (
            "process.exe.matches(\"(\")",
            20,
            "not a regular expression: error: unclosed group",
        ),
        ("process.exe.matchesPath(\"etc\")", 24, "a path begins with"),
        (
            "process.cwd.inNetwork(\"10/8\")",
            22,
            "neither an address nor a network",
        ),
        (
            "process.argv.exists(a, a.exe == \"x\")",
            23,
            "`a` is a string and has no field `exe`",
        ),
        (
            "process.ancestors.exists(a, a.ex == \"x\")",
            28,
            "did you mean `exe`?",
        ),
        (
            "process.argv.map(a, a)",
            0,
            "only `has`, `exists` and `all`",
        ),
        ("process.exe == \"a\" &&", 21, "not well-formed"),
        ("process.exe == null", 15, "there is no null"),
        ("endless", 0, "defined by itself"),
        (
            "broken",
            0,
            "in `broken`: a string can't be compared with an int",
        ),
        ("poools.exists(a, true)", 0, "did you mean `pools`?"),
        (
            "process.argv.exists(process, process == \"x\")",
            19,
            "`process` is of the fields",
        ),
        (
            "process.ancestors.exists(kind, kind.exe == \"x\")",
            24,
            "`kind` is of the fields",
        ),
        ("é == 1", 0, "not well-formed"),
        (
            "process.exe == \"é\" && proces.exe == \"x\"",
            23,
            "did you mean `process.exe`?",
        ),
    ] {
        let found = mistakes(source, &[]);
        let as_expected =
            |mistake: &Mistake| mistake.at == at && mistake.message.contains(expected);
        let in_one_line = found.iter().all(|mistake| !mistake.message.contains('\n'));
        if !found.iter().any(as_expected) || !in_one_line {
            wrong.push(format!("{source}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_mistake_of_a_condition_is_named_at_once() {
    let found = mistakes(
        "process.exee == \"a\" || (kind == \"no\" && file_open.pat == \"x\")",
        &[],
    );
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn a_field_of_other_events_is_a_mistake() {
    let found = mistakes("file_open.path == \"x\"", &["exec", "connect"]);
    assert!(
        found[0].message.contains("only in events file-open"),
        "{found:?}"
    );
    let found = mistakes("reads", &["exec"]);
    assert!(found[0].message.contains("in `reads`: "), "{found:?}");
    assert!(
        Condition::compile(
            "file_open.path == \"x\"",
            &environment(&["exec", "file-open"])
        )
        .is_ok()
    );
}

#[test]
fn a_condition_says_what_a_file_has_to_be_watched_for() {
    let (open, change) = (EventKind::FileOpen, EventKind::FileChange);
    for (source, kind, expected) in [
        (r#""a" in file_open.reasons"#, open, Some("a")),
        (r#""a" in file_open.reasons"#, change, None),
        (r#"!("a" in file_open.reasons)"#, open, None),
        ("reads_shadow", open, Some("shadow")),
        ("!reads_shadow", open, None),
        (
            r#""a" in file_open.reasons || "b" in file_open.reasons"#,
            open,
            Some("a b"),
        ),
        (
            r#""a" in file_open.reasons || "b" in file_change.reasons"#,
            open,
            Some("a"),
        ),
        (
            r#""a" in file_open.reasons || "b" in file_change.reasons"#,
            change,
            Some("b"),
        ),
        (r#""a" in file_open.reasons || process.drifted"#, open, None),
        // A file can be watched for both.
        (
            r#"("a" in file_open.reasons || "b" in file_open.reasons) && "c" in file_open.reasons"#,
            open,
            Some("c"),
        ),
        (
            r#"process.drifted && (process.exe == "x" || "a" in file_open.reasons)"#,
            open,
            None,
        ),
        (
            r#"kind == "mount" && mount.root == "/" || "a" in file_open.reasons"#,
            open,
            Some("a"),
        ),
        (
            r#"mount.call.name in ["mount"] || "a" in file_open.reasons"#,
            open,
            Some("a"),
        ),
        (
            r#"mount.call.name != "mount" || "a" in file_open.reasons"#,
            open,
            None,
        ),
        (
            r#"file_open.reasons.exists(r, r in ["a", "b"] && process.drifted)"#,
            open,
            Some("a b"),
        ),
        (r#"file_open.reasons.exists(r, r == "a")"#, open, Some("a")),
        (r#"file_open.reasons.exists(r, r != "a")"#, open, None),
        (r#"file_open.reasons.all(r, r == "a")"#, open, None),
        (
            r#"process.argv.exists(r, r == "a") || file_open.reasons.exists(r, process.exe == "a")"#,
            open,
            None,
        ),
    ] {
        let events = ["file-open", "file-change", "mount"];
        let condition = Condition::by_kind(source, &environment(&events))
            .unwrap_or_else(|mistakes| panic!("{source}: {mistakes:?}"));
        let found = condition.form(kind).and_then(|form| form.reasons());
        let found = found.map(|all| all.iter().cloned().collect::<Vec<_>>().join(" "));
        assert_eq!(found.as_deref(), expected, "{source}");
    }
}

#[test]
fn a_condition_is_only_about_kinds_that_it_can_hold_for() {
    let (open, exec) = (EventKind::FileOpen, EventKind::Exec);
    for (source, expected) in [
        (r#"file_open.path == "/x""#, [true, false]),
        (r#"file_open.path != "/x""#, [true, true]),
        (r#"has(file_open.path)"#, [true, false]),
        (r#""x" in file_open.access"#, [true, false]),
        (r#"process.exe in file_open.access"#, [true, true]),
        (
            r#"file_open.access.exists(a, a == process.exe)"#,
            [true, false],
        ),
        (r#"file_open.access.all(a, a == process.exe)"#, [true, true]),
        (r#"size(file_open.access) > 1"#, [true, false]),
        (r#"file_open.access[0] == "read""#, [true, false]),
        (r#"file_open.path.matchesPath("/etc/**")"#, [true, false]),
        (r#"file_open.path.baseName() == "x""#, [true, false]),
        (r#"file_open.path.startsWith("")"#, [true, true]),
        (r#"reads_shadow"#, [true, false]),
        (r#"reads || process.drifted"#, [true, true]),
        (r#"kind == "exec" && process.drifted"#, [false, true]),
        (r#"kind.startsWith("ex")"#, [false, true]),
        (
            r#"kind in ["exec"] ? process.drifted : reads"#,
            [true, true],
        ),
    ] {
        let condition = Condition::by_kind(source, &environment(&["file-open", "exec"]))
            .unwrap_or_else(|mistakes| panic!("{source}: {mistakes:?}"));
        assert_eq!(
            [open, exec].map(|kind| condition.form(kind).is_some()),
            expected,
            "{source}"
        );
    }
    let never = Condition::by_kind(r#"kind == "mount""#, &environment(&["exec"]));
    assert!(never.is_err_and(|mistakes| mistakes[0].message.contains("never hold")));
}

/// What is known of how arguments begin and end only tells what need not be looked at: `all` does not use it.
#[test]
fn arguments_are_found_whatever_they_begin_and_end_with() {
    let bodies = [
        r#"a == "--a""#,
        r#"a == """#,
        r#"a == "--""#,
        r#"a != "-a""#,
        r#"a in ["-b", "c"]"#,
        r#"a in ["-", "d"]"#,
        r#"a.startsWith(["-a=", "b/"])"#,
        r#"a.startsWith("-")"#,
        r#"a.endsWith(["/a", "é"])"#,
        r#"a.endsWith("")"#,
        r#"a.contains("=")"#,
        r#"a.contains(["a=", "b"])"#,
        r#"a.matches("^-?-?(a|bc)")"#,
        r#"a.matches("^(a=|b/)?c")"#,
        r#"a.matches(["^(?i)A", "^/d"])"#,
        r#"a.matches(["^a", "d$"])"#,
        r#"a.matches("^$")"#,
        r#"a.startsWith("a") || a.endsWith("b")"#,
        r#"a.startsWith("a") || a.contains("=")"#,
        r#"a.startsWith("-") && a.endsWith("b")"#,
        r#"a == "b" || !(a == "c")"#,
        r#"process.name == "cat" && a == "-c""#,
        r#"process.name == "dog" || a == "-c""#,
        r#"a == "a" ? a.endsWith("a") : a == "b""#,
        r#"process.argv.exists(b, b == "d" && a == "c")"#,
        r#"process.argv.exists(b, a == "c")"#,
    ];
    let compile = |source: String| {
        Condition::compile(&source, &environment(&["exec"]))
            .unwrap_or_else(|mistakes| panic!("{source}: {mistakes:?}"))
    };
    let pairs = bodies.map(|body| {
        let found = compile(format!("process.argv.exists(a, {body})"));
        let plain = compile(format!("!process.argv.all(a, !({body}))"));
        (body, found, plain)
    });
    let outcome = TestRunner::default().run(&vec("[-a-dAé=/ ]{0,4}", 0..4), |arguments| {
        let mut process = actor();
        Arc::make_mut(&mut process.program).argv = Arguments::new(arguments.join("\0").as_bytes());
        let event = Event {
            process: Some(Arc::new(process)),
            ..event(Detail::Exec)
        };
        for (body, found, plain) in &pairs {
            let [found, plain] = [found, plain].map(|one| one.holds(&View::new(&event, &Listens)));
            prop_assert_eq!(found, plain, "{}", body);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn hostile_conditions_end() {
    for (open, count) in [
        ("(", 64),
        ("(", 10_000),
        ("[", 10_000),
        ("!", 10_000),
        ("-", 10_000),
        ("true ? ", 4_000),
    ] {
        assert!(mistakes(&open.repeat(count), &[]).len() < 100);
    }
    assert!(
        mistakes(&"x".repeat(1 << 20), &[])[0]
            .message
            .contains("bytes")
    );
    for part in [
        "process.exe == \"x\" || ",
        "process.exe == \"x\" && ",
        "true == ",
        "1 + ",
    ] {
        let _ = Condition::compile(&(part.repeat(600) + "true"), &environment(&[]));
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
