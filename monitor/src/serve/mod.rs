//! The gRPC services, on a unix socket that only root can use, one file per service; and on ports, the metrics over HTTP and
//! health alone over gRPC.

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
pub mod port;
mod processes;
pub mod server;
pub mod sources;
pub mod subscribers;
mod tree;
pub mod watch;
