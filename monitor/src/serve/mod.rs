//! The gRPC services, on a unix socket that only root can use. One file per service.

mod alerts;
mod containers;
pub mod convert;
mod events;
pub mod filter;
mod node;
pub mod server;
pub mod sources;
pub mod watch;
