//! What crosses the network, read from bytes captured in the kernel: DNS messages, and the first bytes of a connection.
//!
//! Everything here comes from a peer that may be hostile and is perhaps cut: reading never panics, takes a bounded time,
//! and gives what is readable. [`dns`] and [`payload`] stand alone, so that they can be fuzzed without the rest.

pub mod dns;
pub mod names;
pub mod payload;
