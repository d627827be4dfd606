//! The beginnings of execve(2) and execveat(2): the last moment at which the credentials of a program can be compared, before
//! the next one begins with its own.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};

use crate::{credentials::check_credentials, kernel::task};

/// A program is about to be run.
#[tracepoint]
pub fn credential_check(_ctx: TracePointContext) -> u32 {
    check_credentials(task::current());
    0
}
