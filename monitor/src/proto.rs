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
