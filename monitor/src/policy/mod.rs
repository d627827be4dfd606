//! Policy: the built-in catalogue of rules, and what the operator changes of it.

pub mod catalogue;
pub mod condition;
pub mod file;
