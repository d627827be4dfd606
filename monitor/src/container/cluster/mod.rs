//! What the API server of Kubernetes is asked, where the operator wants that: which workload a pod belongs to, and the labels of
//! its namespace. Only metadata is asked for, of the pods of this node and of all namespaces; specifications, and what is secret in
//! them, never come here.
//!
//! Nothing waits for it: who an event is about comes from the runtime, and what comes later amends it.

mod follow;
pub mod knowledge;
mod owner;

pub use follow::{Follower, Server};
