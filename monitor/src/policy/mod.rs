//! Policy: rules over events, which workloads they are about, and what is excepted from them. Written as files, checked when they
//! are loaded.

pub mod attack;
pub mod case;
pub mod condition;
pub mod file;
pub mod live;
mod loader;
pub mod recorded;
pub mod rule;
pub mod select;
pub mod selection;
pub mod set;
pub mod source;
