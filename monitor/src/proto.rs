//! Generated from the protobuf definitions in `proto/`, and messages as JSON: the canonical mapping of protobuf
//! (<https://protobuf.dev/programming-guides/json/>). Fields with their default value are left out, as that mapping does.

use std::sync::OnceLock;

use anyhow::Context as _;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};

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
    fn kinds_have_the_names_of_the_contract() {
        assert_eq!(kind_name(v1::EventKind::FileOpen), "file-open");
        assert_eq!(kind_name(v1::EventKind::Exec), "exec");
    }
}
