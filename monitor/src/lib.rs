//! Watchkeeper's agent and command line: runtime security of the containers on one node.
//!
//! Data flows one way, and a module knows the ones before it in this line, never the ones after:
//! [`kernel`] → [`process`] → [`container`] → [`event`] → [`policy`] → [`detect`] → [`store`] → [`serve`]. [`engine`]
//! carries records along it, [`agent`] puts the parts together, [`configuration`] is what it is told, [`cli`] what people type. [`network`] reads what was
//! captured of messages and connections, [`redact`] cuts secrets out of arguments, [`memory`] gives back what is free, [`occupancy`] tells
//! how full something is, and [`problem`] is what is wrong in a file: they know none of these.

pub mod agent;
pub mod cli;
pub mod configuration;
pub mod container;
pub mod detect;
pub mod engine;
pub mod event;
pub mod heartbeat;
pub mod interpret;
pub mod kernel;
pub mod memory;
pub mod network;
pub mod occupancy;
pub mod policy;
pub mod problem;
pub mod process;
pub mod proto;
pub mod redact;
pub mod serve;
pub mod store;
pub mod watch;
