//! Generated from the protobuf definitions in `proto/`.

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

/// Name of a kind of event as people write it: `file-open`.
#[must_use]
pub fn kind_name(kind: v1::EventKind) -> String {
    let name = kind.as_str_name();
    name.strip_prefix("EVENT_KIND_")
        .unwrap_or(name)
        .to_ascii_lowercase()
        .replace('_', "-")
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
