//! The gRPC services, on a unix socket that only root can use.

pub mod convert;
pub mod filter;
pub mod server;
pub mod services;
pub mod watch;
