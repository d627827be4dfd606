//! Which file names are looked at closely: the kernel side's part of the list of watched paths.
//!
//! The kernel side knows single names of path components, as hashes: the last one of a watched file, that of a
//! watched directory. It reports a file when a name near the end of its path is one of them; the agent, which
//! knows the whole paths, decides. Most files fail at the first look: no watched name is as long as theirs.

/// Most names that are watched.
pub const MAX_NAMES: u32 = 1_024;
/// Longest watched name, in bytes.
pub const MAX_NAME: usize = 63;
/// Directories above a file whose names are looked at.
pub const LEVELS: u32 = 4;

/// Opening for reading matters.
pub const READ: u32 = 1 << 0;
/// Opening for writing matters, and new names, modes and owners do.
pub const WRITE: u32 = 1 << 1;
/// Truncation, renames and removal matter.
pub const CHANGE: u32 = 1 << 2;

/// Bytes of a record's strings and paths that are searched for watched names; a record with more is reported.
pub const MAX_SCAN: u32 = 512;

/// The hash of no name.
pub const EMPTY: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash of a name with one more byte (FNV-1a, 64 bits).
#[must_use]
#[inline(always)]
pub const fn hash_byte(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3)
}

/// The hash of a name.
#[must_use]
pub fn hash(name: &[u8]) -> u64 {
    name.iter().fold(EMPTY, |hash, byte| hash_byte(hash, *byte))
}

/// What the programs look up beside the names: the value of the map `WATCHING`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watching {
    /// Bit n: a watched name has n bytes.
    pub lengths: u64,
    /// Not 0 where every system call that changes credentials is hooked, so that a change without one is news.
    pub credentials_explained: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_fnv_1a() {
        // Test vectors of the algorithm's authors.
        assert_eq!(hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
