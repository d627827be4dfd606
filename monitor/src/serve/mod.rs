//! The gRPC services, on a unix socket that only root can use, one file per service; and the metrics, over HTTP.

mod alerts;
mod containers;
pub mod convert;
mod events;
pub mod filter;
pub mod health;
mod history;
pub mod metrics;
mod node;
pub mod particulars;
pub mod policies;
mod processes;
pub mod server;
pub mod sources;
pub mod subscribers;
mod tree;
pub mod watch;
