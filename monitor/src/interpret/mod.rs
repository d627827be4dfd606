//! What records of the kernel side mean: from arguments, flags and path components to the messages of the contract.
//!
//! Pure functions, which know nothing of processes and containers.

pub mod call;
pub mod constants;
pub mod errors;
pub mod exit;
pub mod file;
pub mod identity;
pub mod loader;
pub mod selinux;
pub mod socket;
