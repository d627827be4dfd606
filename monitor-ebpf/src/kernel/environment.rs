//! The environment of a program that begins: only the variables that make the dynamic loader run other code. Values of
//! others, which may be secrets, never leave the process.

use aya_ebpf::helpers::generated::bpf_probe_read_user_str;

use super::path::TRUNCATED;
use crate::output::{self, CONTENT_MASK};

/// Most strings that are looked at; one longer than [`CHUNK`] counts more than once.
const MAX_STRINGS: u32 = 96;
/// Bytes that are read at a time, NUL included: a power of two.
const CHUNK: u32 = 256;
/// Most bytes of variables that are reported.
const MAX_REPORTED: u32 = 2_048;

/// How variables of the dynamic loader begin (`LD_*`, `GLIBC_TUNABLES`: ld.so(8)), with what is compared of that.
const LD: (u32, u32) = (
    u32::from_ne_bytes(*b"LD_\0"),
    u32::from_ne_bytes(*b"\xff\xff\xff\0"),
);
const GLIBC: u32 = u32::from_ne_bytes(*b"GLIB");

/// Appends those variables, each ended by NUL, at offset `start` of the content of scratch buffer `level`; returns where
/// they end, together with [`TRUNCATED`] where not all of the environment was looked at. The middle of a long variable is
/// taken for the beginning of another: whoever looks at the names sorts that out.
///
/// A global function, see [`append_path`](super::path::append_path). As few branches as can be: the verifier goes
/// through the loop once for each way through it.
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
        return end | TRUNCATED;
    };
    let limit = end + MAX_REPORTED;
    let mut from = environment;
    for _ in 0..MAX_STRINGS {
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
        if first & LD.1 == LD.0 || first == GLIBC {
            end = (end + length) & CONTENT_MASK;
            if end > limit {
                break;
            }
        }
        // A chunk that is full ends with a NUL of the helper's own, which is not there.
        from += u64::from(length - length / CHUNK);
        if from >= environment_end {
            return end;
        }
    }
    end | TRUNCATED
}
