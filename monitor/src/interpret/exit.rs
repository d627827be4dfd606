//! How a process ended.

use crate::proto::v1;

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
