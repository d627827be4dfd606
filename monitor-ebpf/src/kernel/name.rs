//! Whether names of path components are among those that are watched.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use watchkeeper_ebpf::{
    offsets::ABSENT,
    watch::{EMPTY, LEVELS, MAX_NAME, MAX_SCAN, hash_byte},
};

use super::{Address, follow, read};
use crate::{
    maps::{WATCHED_NAMES, WATCHING},
    output::{self, CONTENT_MASK},
};

/// Room for a name, a power of two.
const ROOM: usize = MAX_NAME + 1;
/// Names of a hard-linked file that are looked at.
const MAX_ALIASES: u32 = 8;

/// Bits of [`watch`](watchkeeper_ebpf::watch) of the names with this hash.
#[inline(always)]
fn bits(hash: u64) -> u32 {
    // SAFETY: the entry is copied at once.
    match unsafe { WATCHED_NAMES.get(&hash) } {
        Some(bits) => *bits,
        None => 0,
    }
}

/// The lengths of watched names, as a set of bits.
#[inline(always)]
fn lengths() -> u64 {
    match WATCHING.get(0) {
        Some(watching) => watching.lengths,
        None => 0,
    }
}

/// Bits of the name of a directory entry. Most entries only have their length compared.
///
/// A global function, see [`append_path`](super::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn watched_name(dentry: Address) -> u32 {
    let length: u32 = read(dentry, offset!(dentry_name_length));
    if length as usize > MAX_NAME || lengths() >> (length & 63) & 1 == 0 {
        return 0;
    }
    let name = follow(dentry, offset!(dentry_name));
    let mut bytes = [0u8; ROOM];
    // SAFETY: the destination is as long as what is read, and the helper fails on a source that is not mapped. A name
    // may end before the read does: what follows it is not used.
    unsafe {
        bpf_probe_read_kernel(
            bytes.as_mut_ptr().cast(),
            length & (ROOM as u32 - 1),
            name as *const core::ffi::c_void,
        )
    };
    let mut hash = EMPTY;
    for index in 0..MAX_NAME {
        if index as u32 >= length {
            break;
        }
        hash = hash_byte(hash, bytes[index & (ROOM - 1)]);
    }
    bits(hash)
}

/// What a look at a directory entry takes: the entry above it, and the length of its name.
#[inline(always)]
fn glance(dentry: Address) -> (Address, u32) {
    // One read where the three fields follow each other (struct dentry, include/linux/dcache.h), as they do in most kernels.
    if offset!(dentry_name_length) == offset!(dentry_parent) + 12 {
        let [parent, hash_and_length]: [u64; 2] = read(dentry, offset!(dentry_parent));
        return (parent, (hash_and_length >> 32) as u32);
    }
    (
        follow(dentry, offset!(dentry_parent)),
        read(dentry, offset!(dentry_name_length)),
    )
}

/// Bits of the names of a directory entry and of the directories above it.
///
/// A global function, see [`append_path`](super::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn watched_near(dentry: Address) -> u32 {
    let lengths = lengths();
    let mut found = 0;
    let mut level = dentry;
    for _ in 0..=LEVELS {
        let (parent, length) = glance(level);
        if length as usize <= MAX_NAME && lengths >> (length & 63) & 1 != 0 {
            found |= watched_name(level);
        }
        if parent == level {
            break;
        }
        level = parent;
    }
    found
}

/// Another name of a file than `dentry` that has one of the bits `wanted`; 0 for none. Only names that are in use are known:
/// one that was just linked is.
///
/// A global function, see [`append_path`](super::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn watched_alias(inode: Address, dentry: Address, wanted: u32) -> Address {
    if offset!(inode_aliases) == ABSENT || offset!(dentry_alias) == ABSENT {
        return 0;
    }
    let mut alias = follow(inode, offset!(inode_aliases));
    for _ in 0..MAX_ALIASES {
        if alias == 0 {
            break;
        }
        let other = alias.wrapping_sub(u64::from(offset!(dentry_alias)));
        if other != dentry && watched_name(other) & wanted != 0 {
            return other;
        }
        alias = follow(alias, 0);
    }
    0
}

/// Bits of all names in the content of scratch buffer `level` between two offsets, where names end with `/` or NUL; every
/// bit where there are more than [`MAX_SCAN`] bytes, so that nobody hides a name behind a long way to it.
///
/// A global function, see [`append_path`](super::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn watched_in(level: u32, start: u32, end: u32) -> u32 {
    let Some(content) = output::content(level) else {
        return 0;
    };
    if end.wrapping_sub(start) > MAX_SCAN {
        return u32::MAX;
    }
    let mut found = 0;
    let mut hash = EMPTY;
    for step in 0..MAX_SCAN {
        let at = start.wrapping_add(step);
        if at >= end {
            break;
        }
        // SAFETY: the masked offset lies within the content.
        let byte = unsafe { *(content as *const u8).add((at & CONTENT_MASK) as usize) };
        if byte == b'/' || byte == 0 {
            found |= bits(hash);
            hash = EMPTY;
        } else {
            hash = hash_byte(hash, byte);
        }
    }
    found | bits(hash)
}
