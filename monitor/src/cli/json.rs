//! Messages as JSON: the canonical mapping of protobuf (<https://protobuf.dev/programming-guides/json/>), one
//! object a line. Fields with their default value are left out, as that mapping does.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use prost::Message;
use schemars::JsonSchema;

use super::terminal::is_unsafe;
use crate::{problem::Problem, proto};

/// The JSON Schema of what people write in files.
pub(super) fn schema<T: JsonSchema>() -> String {
    let schema = serde_json::to_string_pretty(&schemars::schema_for!(T));
    schema.expect("a schema is JSON") + "\n"
}

/// Something that is wrong in such a file.
pub(super) fn problem(problem: &Problem) -> serde_json::Value {
    serde_json::json!({"file": problem.file, "line": problem.line, "column": problem.column, "message": problem.message})
}

/// Prints a message of the package `watchkeeper.v1` as one line.
pub(super) fn print(name: &str, message: &impl Message) -> anyhow::Result<()> {
    let mut line = line(name, message)?;
    line.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// A message of the package `watchkeeper.v1` as one line.
pub(super) fn line(name: &str, message: &impl Message) -> anyhow::Result<String> {
    Ok(escaped(&proto::json(name, message)?))
}

/// The same as a value.
pub(super) fn value(name: &str, message: &impl Message) -> anyhow::Result<serde_json::Value> {
    Ok(serde_json::from_str(&proto::json(name, message)?)?)
}

/// JSON only has to escape the first 32 characters; a terminal acts on others as well. They occur in strings alone, so
/// they can be written as escapes without changing what is said.
pub(super) fn escaped(line: &str) -> String {
    if !line.chars().any(is_unsafe) {
        return line.to_owned();
    }
    let mut escaped = String::with_capacity(line.len() + 16);
    for character in line.chars() {
        if is_unsafe(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1;

    #[test]
    fn nothing_a_terminal_acts_on_is_left_and_nothing_is_changed() {
        let text = "a\u{9b}2J\u{7f}\u{202e}\u{e0001}\u{1b}é";
        let process = v1::Process {
            exe: text.to_owned(),
            ..v1::Process::default()
        };
        let line = line("Process", &process).expect("written");
        assert!(!line.chars().any(is_unsafe), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).expect("valid");
        assert_eq!(read["exe"], text);
    }

    #[test]
    fn the_mapping_is_the_canonical_one() {
        let event = v1::Event {
            cursor: "c-1".to_owned(),
            time: Some(prost_types::Timestamp {
                seconds: 1_769_860_800,
                nanos: 5_000_000,
            }),
            kind: v1::EventKind::Exec.into(),
            process: Some(v1::Process {
                exec_id: "e".to_owned(),
                argv: vec!["a\u{1b}\n".to_owned()],
                file: Some(v1::File {
                    inode: u64::MAX,
                    ..v1::File::default()
                }),
                ..v1::Process::default()
            }),
            ..v1::Event::default()
        };
        let line = line("Event", &event).expect("written");
        assert_eq!(
            line,
            r#"{"cursor":"c-1","time":"2026-01-31T12:00:00.005Z","kind":"EVENT_KIND_EXEC","process":{"execId":"e","argv":["a\u001b\n"],"file":{"inode":"18446744073709551615"}}}"#
        );
    }
}
