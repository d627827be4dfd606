//! Reading kernel structures: one module per structure, every offset from the running kernel.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use watchkeeper_ebpf::offsets::ABSENT;

/// One field of a global: a constant to the verifier, and a load of its own instead of one of the whole.
macro_rules! global_field {
    ($global:ident, $type:ty, $field:ident) => {{
        let global = (&raw const $crate::maps::$global).cast::<$type>();
        // SAFETY: `Global` is a transparent wrapper of a value that is always initialised. The read is
        // volatile because the agent replaces the value that was compiled in.
        unsafe { core::ptr::read_volatile(&raw const (*global).$field) }
    }};
}

/// An offset of this kernel.
macro_rules! offset {
    ($field:ident) => {
        global_field!(OFFSETS, watchkeeper_ebpf::offsets::KernelOffsets, $field)
    };
}

/// A setting of this agent.
macro_rules! setting {
    ($field:ident) => {
        global_field!(SETTINGS, watchkeeper_ebpf::offsets::Settings, $field)
    };
}

pub mod cgroup;
pub mod cred;
pub mod file;
pub mod path;
pub mod task;

/// Address of a kernel object; 0 is none.
pub type Address = u64;

/// Reads a field of the object at `base`: `None` when there is no object, no such field, or no memory.
#[inline(always)]
pub fn read<T>(base: Address, offset: u32) -> Option<T> {
    if base == 0 || offset == ABSENT {
        return None;
    }
    // SAFETY: the helper copies from any address and fails on one that is not mapped; `T` is an integer or
    // an array of integers, of which every bit pattern is valid.
    unsafe { bpf_probe_read_kernel((base + offset as u64) as *const T) }.ok()
}

/// Like [`read`], with 0 for what can't be read.
#[inline(always)]
pub fn read_or_zero<T: Default>(base: Address, offset: u32) -> T {
    read(base, offset).unwrap_or_default()
}

/// Follows a pointer field: 0 where it leads nowhere.
#[inline(always)]
pub fn follow(base: Address, offset: u32) -> Address {
    read_or_zero(base, offset)
}
