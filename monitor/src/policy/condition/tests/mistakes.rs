//! What is wrong with conditions is told where it is.

use super::*;

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
            "`process` is the name of fields",
        ),
        (
            "process.ancestors.exists(kind, kind.exe == \"x\")",
            24,
            "`kind` is the name of fields",
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
