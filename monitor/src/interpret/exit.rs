//! How a process ended.

use crate::proto::v1;

/// A status as waitpid(2) gives it.
#[must_use]
pub fn status(exit: &v1::Exit) -> u32 {
    match exit.signal {
        Some(signal) => signal & 0x7f,
        None => (exit.code.unwrap_or(0) & 0xff) << 8,
    }
}

/// From a status as waitpid(2) gives it.
#[must_use]
pub fn exit(status: u32) -> v1::Exit {
    /// What seccomp kills with; nothing keeps others from sending it.
    const SIGSYS: u32 = 31;
    match status & 0x7f {
        0 => v1::Exit {
            killed_by_seccomp: false,
            code: Some((status >> 8) & 0xff),
            signal: None,
        },
        signal => v1::Exit {
            killed_by_seccomp: signal == SIGSYS,
            code: None,
            signal: Some(signal),
        },
    }
}
