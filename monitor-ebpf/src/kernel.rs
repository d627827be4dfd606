//! Reading kernel structures: one module per structure, every offset from the running kernel.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    EbpfContext as _, helpers::generated::bpf_probe_read_kernel, programs::BtfTracePointContext,
};
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
pub mod current;
pub mod environment;
pub mod file;
pub mod name;
pub mod path;
pub mod sock;
pub mod task;

/// Address of a kernel object; 0 is none.
pub type Address = u64;

/// Reads a field of the object at `base`; 0 where there is no object or no memory.
///
/// Without a branch: the helper fails on address 0 as on any that is not mapped, and zeroes its destination then
/// (`bpf_probe_read_kernel_common`, kernel/trace/bpf_trace.c). Each branch less halves what the verifier has
/// to go through.
#[inline(always)]
pub fn read<T>(base: Address, offset: u32) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper copies from any address or fails, and writes all of `value` either way; `T` is an integer
    // or an array of integers, of which every bit pattern is valid.
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            base.wrapping_add(u64::from(offset)) as *const c_void,
        );
        value.assume_init()
    }
}

/// Reads a field that some kernels don't have: `None` on those.
#[inline(always)]
pub fn read_if_present<T>(base: Address, offset: u32) -> Option<T> {
    if offset == ABSENT {
        return None;
    }
    Some(read(base, offset))
}

/// An argument of a tracepoint as a plain number. The verifier knows more of one that is read directly, and does not take that
/// for an argument of a global function.
#[inline(always)]
pub fn argument(ctx: &BtfTracePointContext, number: usize) -> Address {
    read(ctx.as_ptr() as Address, number as u32 * 8)
}

/// Follows a pointer field: 0 where it leads nowhere.
#[inline(always)]
pub fn follow(base: Address, offset: u32) -> Address {
    read(base, offset)
}
