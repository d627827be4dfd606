//! From a program to a ring buffer: scratch space, and submission.
//!
//! A record is put together in a scratch buffer, and only its used bytes are copied to the ring. Several
//! buffers per CPU, because a program can be interrupted by another on the same CPU.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str},
    maps::RingBuf,
};
use watchkeeper_ebpf::{
    loss::{Lane, Reason},
    record::{ABI, Call, Exec, Header, Kind},
};

use crate::{
    kernel::Address,
    maps,
    subject::{Place, Subject, count_loss},
};

/// Programs that can be under way on one CPU at a time: a task's, a soft interrupt's, an interrupt's.
pub const SCRATCH_PER_CPU: u32 = 3;

/// Bytes of a record after its header: a power of two, so that an offset can be masked.
pub const CONTENT_SIZE: usize = 16_384;
/// Mask of an offset into the content.
pub const CONTENT_MASK: u32 = CONTENT_SIZE as u32 - 1;
/// The longest single append, so that one that begins at the last offset still ends in the buffer.
pub const SLACK: usize = 8_192;

/// The bytes of a record under construction after its header: its body, then its variable bytes.
pub type Content = [u8; CONTENT_SIZE + SLACK];

/// A record under construction.
#[repr(C)]
pub struct Scratch {
    /// Not 0 while a program has it.
    busy: u64,
    /// The header.
    header: Header,
    /// Body and variable bytes.
    content: Content,
}

/// The content of scratch buffer `level` of this CPU.
#[inline(always)]
pub fn content(level: u32) -> Option<*mut Content> {
    let scratch = maps::SCRATCH.get_ptr_mut(level)?;
    // SAFETY: the map's entry of this CPU is valid as long as the program runs.
    Some(unsafe { &raw mut (*scratch).content })
}

/// A claimed scratch buffer. It must be given back by [`submit`](Self::submit) or [`discard`](Self::discard).
pub struct Draft {
    scratch: *mut Scratch,
    /// Which of the CPU's buffers it is.
    pub level: u32,
    class: u32,
}

impl Draft {
    /// Claims a scratch buffer of this CPU for a record that is within its budget; counts the loss and returns `None`
    /// when it is not, or all buffers are taken.
    #[inline(always)]
    pub fn admitted(place: &Place, class: u32) -> Option<Self> {
        if !place.admits(class) {
            return None;
        }
        Self::claim(place, class)
    }

    /// Claims a scratch buffer of this CPU, for a record of which it is not known yet whether it is wanted.
    ///
    /// The claim is a test and a set, not atomic: whatever interrupts between the two gives its buffer
    /// back before this goes on.
    #[inline(always)]
    pub fn claim(place: &Place, class: u32) -> Option<Self> {
        for level in 0..SCRATCH_PER_CPU {
            if let Some(scratch) = maps::SCRATCH.get_ptr_mut(level) {
                // SAFETY: the map's entry of this CPU is valid as long as the program runs.
                unsafe {
                    if (*scratch).busy == 0 {
                        (*scratch).busy = 1;
                        return Some(Self {
                            scratch,
                            level,
                            class,
                        });
                    }
                }
            }
        }
        count_loss(place.cgroup_id, class, Reason::NoScratch, Lane::None);
        None
    }

    /// The scratch buffer that a caller of this function has claimed.
    #[inline(always)]
    pub fn claimed(level: u32, class: u32) -> Option<Self> {
        let scratch = maps::SCRATCH.get_ptr_mut(level)?;
        Some(Self {
            scratch,
            level,
            class,
        })
    }

    /// The body of the record.
    #[inline(always)]
    pub fn body<T>(&self) -> *mut T {
        const {
            assert!(size_of::<T>() <= size_of::<Exec>() || size_of::<T>() <= size_of::<Call>());
            assert!(align_of::<T>() <= 8);
        };
        // SAFETY: the scratch buffer is valid while it is claimed.
        unsafe { (&raw mut (*self.scratch).content).cast() }
    }

    /// Where the variable bytes begin after a body of type `T`: an offset into the content.
    #[inline(always)]
    pub const fn start<T>() -> u32 {
        size_of::<T>() as u32
    }

    /// The place at an offset into the content.
    #[inline(always)]
    pub fn at(&self, offset: u32) -> *mut c_void {
        // SAFETY: the masked offset lies within the content of a claimed buffer.
        unsafe {
            (&raw mut (*self.scratch).content)
                .cast::<u8>()
                .add((offset & CONTENT_MASK) as usize)
                .cast()
        }
    }

    /// Appends a string of the kernel, at most `N` bytes with its NUL; returns where it ends, without the NUL.
    #[inline(always)]
    pub fn append_string<const N: usize>(&self, start: u32, string: Address) -> u32 {
        const { assert!(N <= SLACK) };
        // SAFETY: `at` gives a place with at least the slack after it; the helper fails on a source that is not mapped.
        let length =
            unsafe { bpf_probe_read_kernel_str(self.at(start), N as u32, string as *const c_void) };
        end_of(start, length)
    }

    /// Gives the scratch buffer back.
    #[inline(always)]
    pub fn discard(self) {
        // SAFETY: the scratch buffer is claimed.
        unsafe { (*self.scratch).busy = 0 };
    }

    /// Fills in the header, copies the used bytes to the ring, and gives the scratch buffer back.
    /// `end` is where the content ends: the body `T` and the variable bytes.
    #[inline(always)]
    pub fn submit(self, ring: &RingBuf, kind: Kind, subject: &Subject, flags: u32, end: u32) {
        let length = size_of::<Header>() as u32 + (end & CONTENT_MASK);
        // SAFETY: the scratch buffer is claimed; `length` is at most the header and the counted part of the content,
        // which lie one after the other in it.
        let result = unsafe {
            (*self.scratch).header = Header {
                abi: ABI,
                kind: kind as u16,
                length,
                time_ns: bpf_ktime_get_boot_ns(),
                cgroup_id: subject.place.cgroup_id,
                start_ns: subject.process.start_ns,
                pid: subject.process.pid,
                tid: subject.tid,
                uid: subject.uid,
                flags,
                container_slot: subject.place.state.container_slot,
                reserved: 0,
            };
            let record = core::slice::from_raw_parts(
                (&raw const (*self.scratch).header).cast::<u8>(),
                length as usize,
            );
            let result = ring.output::<[u8]>(record, 0);
            (*self.scratch).busy = 0;
            result
        };
        if result.is_err() {
            let lane = if core::ptr::eq(ring, &maps::CRITICAL) {
                Lane::Critical
            } else {
                Lane::Telemetry
            };
            count_loss(subject.place.cgroup_id, self.class, Reason::RingFull, lane);
        }
    }
}

/// Where a string ends, from what the helper that copied it returned: its length with the NUL, or an error.
#[inline(always)]
fn end_of(start: u32, length: i64) -> u32 {
    if length <= 1 {
        return start;
    }
    start + (length as u32 - 1)
}
