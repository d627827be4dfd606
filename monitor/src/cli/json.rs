//! Messages as JSON: the canonical mapping of protobuf (<https://protobuf.dev/programming-guides/json/>), one
//! object a line. Fields with their default value are left out, as that mapping does.

use std::{
    io::{self, Write as _},
    sync::OnceLock,
};

use anyhow::Context as _;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use crate::proto::DESCRIPTORS;

/// Prints a message of the package `watchkeeper.v1` as one line.
pub(super) fn print(name: &str, message: &impl Message) -> anyhow::Result<()> {
    let mut line = line(name, message)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()?;
    Ok(())
}

fn line(name: &str, message: &impl Message) -> anyhow::Result<Vec<u8>> {
    let descriptor = pool()?
        .get_message_by_name(&format!("watchkeeper.v1.{name}"))
        .with_context(|| format!("writing JSON: the API has no message {name}"))?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .context("writing JSON")?;
    let mut serializer = serde_json::Serializer::new(Vec::new());
    dynamic
        .serialize_with_options(&mut serializer, &SerializeOptions::new())
        .context("writing JSON")?;
    Ok(serializer.into_inner())
}

fn pool() -> anyhow::Result<&'static DescriptorPool> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(DESCRIPTORS).ok())
        .as_ref()
        .context("writing JSON: the descriptors of the API can't be read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1;

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
        let line = String::from_utf8(line("Event", &event).expect("written")).expect("UTF-8");
        assert_eq!(
            line,
            r#"{"cursor":"c-1","time":"2026-01-31T12:00:00.005Z","kind":"EVENT_KIND_EXEC","process":{"execId":"e","argv":["a\u001b\n"],"file":{"inode":"18446744073709551615"}}}"#
        );
    }
}
