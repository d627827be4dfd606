//! Watchkeeper's agent and command line: runtime security of the containers on one node.
//!
//! Data flows one way, and a module knows the ones before it in this line, never the ones after:
//! [`kernel`] → [`process`] → [`container`] → [`event`] → [`policy`] → [`detect`] → [`store`] → [`serve`]. [`engine`]
//! carries records along it, [`agent`] puts the parts together, [`cli`] is what people type. [`network`] reads what was
//! captured of messages and connections, [`redact`] cuts secrets out of arguments, and [`memory`] gives back what is free: they know
//! none of these.

pub mod agent;
pub mod cli;
pub mod container;
pub mod detect;
pub mod engine;
pub mod event;
pub mod interpret;
pub mod kernel;
pub mod memory;
pub mod network;
pub mod policy;
pub mod process;
pub mod proto;
pub mod redact;
pub mod serve;
pub mod store;
pub mod watch;
