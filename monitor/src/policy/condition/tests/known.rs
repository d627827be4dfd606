//! What is known of a condition before there is an event.

use proptest::{collection::vec, prop_assert_eq, test_runner::TestRunner};

use super::*;

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

/// What is known of what arguments have in them only tells what need not be looked at: `all` does not use it.
#[test]
fn arguments_are_found_whatever_is_in_them() {
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
        r#"a.matches("(^|=)[bc]a?$")"#,
        r#"a.matches("b+c|/d")"#,
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
    // Long texts are searched in other ways than short ones.
    let arguments = (vec("[-a-dAé=/ ]{0,4}", 0..4), 0_usize..4, "x{0,80}");
    let outcome = TestRunner::default().run(&arguments, |(mut arguments, at, filler)| {
        arguments.insert(at.min(arguments.len()), filler);
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
