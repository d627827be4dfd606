//! The environment of a program that begins: only the variables that make the dynamic loader run other code. Values of
//! others, which may be secrets, never leave the process.

use aya_ebpf::helpers::generated::bpf_probe_read_user_str;

use super::path::TRUNCATED;
use crate::output::{self, CONTENT_MASK};

/// Most strings that are looked at; one longer than [`CHUNK`] counts more than once.
const MAX_STRINGS: u32 = 256;
/// Bytes that are read at a time, NUL included.
const CHUNK: u32 = 256;
/// Most bytes of variables that are reported.
const MAX_REPORTED: u32 = 2_048;

/// Appends those variables, each ended by NUL, at offset `start` of the content of scratch buffer `level`; returns where
/// they end, together with [`TRUNCATED`] where not all of the environment was looked at.
///
/// A global function, see [`append_path`](super::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn append_loader_variables(
    level: u32,
    start: u32,
    environment: u64,
    environment_end: u64,
) -> u32 {
    let mut end = start & CONTENT_MASK;
    let Some(content) = output::content(level) else {
        return end;
    };
    let limit = end + MAX_REPORTED;
    let mut from = environment;
    let mut continues = false;
    let mut outcome = TRUNCATED;
    for _ in 0..MAX_STRINGS {
        if from >= environment_end {
            outcome = 0;
            break;
        }
        if end > limit {
            break;
        }
        // SAFETY: the destination lies within the content: the offset is masked to its counted part, and slack of more than
        // a chunk follows that. The helper fails on a source that is not mapped.
        let (length, first) = unsafe {
            let destination = (content as *mut u8).add((end & CONTENT_MASK) as usize);
            let length = bpf_probe_read_user_str(
                destination.cast(),
                CHUNK,
                from as *const core::ffi::c_void,
            );
            (length, destination.cast::<u32>().read_unaligned())
        };
        if length <= 0 {
            break;
        }
        let length = length as u32;
        let is_whole = length < CHUNK;
        if !continues && length > 4 && is_of_the_loader(first) {
            end = (end + length) & CONTENT_MASK;
        }
        continues = !is_whole;
        // A chunk that is full ends with a NUL of the helper's own.
        from += u64::from(if is_whole { length } else { length - 1 });
    }
    end | outcome
}

/// Whether a variable begins like those of the dynamic loader (`LD_*`, `GLIBC_TUNABLES`: ld.so(8)).
#[inline(always)]
fn is_of_the_loader(first: u32) -> bool {
    let [a, b, c, d] = first.to_ne_bytes();
    (a == b'L' && b == b'D' && c == b'_') || (a == b'G' && b == b'L' && c == b'I' && d == b'B')
}
