//! Generated from the protobuf definitions in `proto/`, and messages as JSON: the canonical mapping of protobuf
//! (<https://protobuf.dev/programming-guides/json/>). Fields with their default value are left out, as that mapping does.

mod lost;

use std::sync::OnceLock;

use anyhow::Context as _;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, SerializeOptions};

/// The API of the agent.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("watchkeeper.v1");
}

/// The part of the Kubernetes Container Runtime Interface that is used.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes,
    reason = "generated code"
)]
pub mod cri {
    tonic::include_proto!("runtime.v1");
}

/// Descriptors of all of them, for reflection and for JSON.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// A message of the package `watchkeeper.v1` as JSON, in one line.
///
/// # Errors
/// When the API has no message of this name.
pub fn json(name: &str, message: &impl Message) -> anyhow::Result<String> {
    let dynamic = DynamicMessage::decode(descriptor(name)?, message.encode_to_vec().as_slice())
        .context("writing JSON")?;
    let mut serializer = serde_json::Serializer::new(Vec::new());
    dynamic
        .serialize_with_options(&mut serializer, &SerializeOptions::new())
        .context("writing JSON")?;
    String::from_utf8(serializer.into_inner()).context("writing JSON")
}

/// A message of the package `watchkeeper.v1` from JSON.
///
/// # Errors
/// When the text is not that message.
pub fn from_json<M: Message + Default>(name: &str, text: &str) -> anyhow::Result<M> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let dynamic = DynamicMessage::deserialize(descriptor(name)?, &mut deserializer)
        .with_context(|| format!("reading a message {name} from JSON"))?;
    dynamic
        .transcode_to()
        .with_context(|| format!("reading a message {name} from JSON"))
}

/// The same from JSON that people wrote: names of the values of enumerations may be short, `file-open` for
/// `EVENT_KIND_FILE_OPEN`.
///
/// # Errors
/// When it is not that message.
pub fn from_written_json<M: Message + Default>(
    name: &str,
    mut value: serde_json::Value,
) -> anyhow::Result<M> {
    lengthen(&descriptor(name)?, &mut value);
    from_json(name, &value.to_string())
}

/// Replaces short names of the values of enumerations by whole ones.
fn lengthen(message: &MessageDescriptor, value: &mut serde_json::Value) {
    let Some(fields) = value.as_object_mut() else {
        return;
    };
    for (name, value) in fields {
        let field = message
            .get_field_by_json_name(name)
            .or_else(|| message.get_field_by_name(name));
        match field.map(|field| field.kind()) {
            Some(Kind::Message(inner)) => match value {
                serde_json::Value::Array(values) => {
                    for value in values {
                        lengthen(&inner, value);
                    }
                }
                value => lengthen(&inner, value),
            },
            Some(Kind::Enum(values)) => {
                let Some(short) = value.as_str() else {
                    continue;
                };
                let wanted = format!("_{}", short.to_ascii_uppercase().replace('-', "_"));
                // The value's whole name is the enumeration's and its own.
                let mut whole = values.values().map(|value| value.name().to_owned());
                let prefix = values
                    .values()
                    .next()
                    .map(|first| first.name().trim_end_matches("_UNSPECIFIED").to_owned());
                let found = whole.find(|whole| {
                    prefix
                        .as_ref()
                        .and_then(|prefix| whole.strip_prefix(prefix.as_str()))
                        == Some(wanted.as_str())
                });
                if let Some(found) = found {
                    *value = found.into();
                }
            }
            _ => {}
        }
    }
}

fn descriptor(name: &str) -> anyhow::Result<MessageDescriptor> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(DESCRIPTORS).ok())
        .as_ref()
        .context("the descriptors of the API can't be read")?
        .get_message_by_name(&format!("watchkeeper.v1.{name}"))
        .with_context(|| format!("the API has no message {name}"))
}

/// Name of a kind of event as people write it: `file-open`.
#[must_use]
pub fn kind_name(kind: v1::EventKind) -> &'static str {
    kind_names()
        .get(kind as usize)
        .map_or("unspecified", String::as_str)
}

/// Names of all kinds of events, by number.
#[must_use]
pub fn kind_names() -> &'static [String] {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    NAMES.get_or_init(|| {
        (0..)
            .map_while(|number| v1::EventKind::try_from(number).ok())
            .map(|kind| {
                let name = kind.as_str_name();
                name.strip_prefix("EVENT_KIND_")
                    .unwrap_or(name)
                    .to_ascii_lowercase()
                    .replace('_', "-")
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_json_may_have_short_names() {
        let event: v1::Event = from_written_json(
            "Event",
            serde_json::json!({
                "kind": "file-open",
                "process": {"origin": "injected", "file": {"layer": "memfd"}, "stdio": [{"kind": "tty"}]},
                "fileOpen": {"path": "/x"},
            }),
        )
        .expect("valid");
        assert_eq!(event.kind(), v1::EventKind::FileOpen);
        let process = event.process.expect("there");
        assert_eq!(process.origin(), v1::ExecOrigin::Injected);
        assert_eq!(process.file.expect("there").layer(), v1::Layer::Memfd);
        assert_eq!(process.stdio[0].kind(), v1::DescriptorKind::Tty);
        let wrong = serde_json::json!({"kind": "file-opn"});
        assert!(from_written_json::<v1::Event>("Event", wrong).is_err());
    }

    #[test]
    fn kinds_have_the_names_of_the_contract() {
        assert_eq!(kind_name(v1::EventKind::FileOpen), "file-open");
        assert_eq!(kind_name(v1::EventKind::Exec), "exec");
    }
}
