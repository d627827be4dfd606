//! From a program to a ring buffer: scratch space, submission, and the count of what did not fit.
//!
//! A record is put together in a scratch buffer, and only its used bytes are copied to the ring. Several
//! buffers per CPU, because a program can be interrupted by another on the same CPU.

use aya_ebpf::{helpers::generated::bpf_ktime_get_boot_ns, maps::RingBuf};
use watchkeeper_ebpf::{
    cgroup::{CgroupState, IGNORED},
    loss::{Class, LossKey, Reason},
    record::{ABI, Exec, Header, Kind},
};

use crate::{
    kernel::{Address, cgroup, cred, task},
    maps,
};

/// Programs that can be under way on one CPU at a time: a task's, a soft interrupt's, an interrupt's.
pub const SCRATCH_PER_CPU: u32 = 3;

/// Bytes of variable data that a record can have: a power of two, so that an offset can be masked.
pub const PAYLOAD_SIZE: usize = 16_384;
/// Mask of an offset into the variable data.
pub const PAYLOAD_MASK: u32 = PAYLOAD_SIZE as u32 - 1;
/// The longest single append, so that one that begins at the last offset still ends in the buffer.
pub const PAYLOAD_SLACK: usize = 8_192;

/// The variable bytes of a record under construction.
pub type Payload = [u8; PAYLOAD_SIZE + PAYLOAD_SLACK];

/// A record under construction: its header, its body and its variable bytes, one after the other.
#[repr(C)]
pub struct Scratch {
    /// Not 0 while a program has it.
    busy: u64,
    /// The header.
    header: Header,
    /// Body and variable bytes: the body is at the start, aligned to 8.
    content: [u8; size_of::<Exec>() + PAYLOAD_SIZE + PAYLOAD_SLACK],
}

/// The process that a record is about.
pub struct Subject {
    /// Its current task.
    pub task: Address,
    /// Its cgroup.
    pub cgroup_id: u64,
    /// What is known of the cgroup.
    pub state: CgroupState,
}

impl Subject {
    /// Looks up the cgroup of a task.
    #[inline(always)]
    pub fn of(task: Address) -> Self {
        let cgroup_id = cgroup::id(cgroup::of_task(task));
        Self {
            task,
            cgroup_id,
            state: cgroup_state(cgroup_id),
        }
    }
}

/// What is known of a cgroup; nothing of one that is not in the map.
#[inline(always)]
pub fn cgroup_state(cgroup_id: u64) -> CgroupState {
    // SAFETY: the entry is copied at once; a concurrent update can't make an invalid value.
    match unsafe { maps::CGROUPS.get(&cgroup_id) } {
        Some(state) => *state,
        None => CgroupState {
            container_slot: 0,
            flags: 0,
        },
    }
}

/// Whether a cgroup of this state is left out.
#[inline(always)]
pub fn is_ignored(state: CgroupState) -> bool {
    state.flags & IGNORED != 0
}

/// A claimed scratch buffer. It must be given back by [`submit`](Self::submit).
pub struct Draft {
    scratch: *mut Scratch,
    /// Which of the CPU's buffers it is.
    pub level: u32,
}

/// The variable bytes after an exec's body, in scratch buffer `level` of this CPU.
#[inline(always)]
pub fn exec_payload(level: u32) -> Option<*mut Payload> {
    let scratch = maps::SCRATCH.get_ptr_mut(level)?;
    Some(Draft { scratch, level }.payload::<Exec>())
}

impl Draft {
    /// Claims a scratch buffer of this CPU; counts the loss and returns `None` when all are taken.
    ///
    /// The claim is a test and a set, not atomic: whatever interrupts between the two gives its buffer
    /// back before this goes on.
    #[inline(always)]
    pub fn claim(subject: &Subject, class: Class) -> Option<Self> {
        for level in 0..SCRATCH_PER_CPU {
            if let Some(scratch) = maps::SCRATCH.get_ptr_mut(level) {
                // SAFETY: the map's entry of this CPU is valid as long as the program runs.
                unsafe {
                    if (*scratch).busy == 0 {
                        (*scratch).busy = 1;
                        return Some(Self { scratch, level });
                    }
                }
            }
        }
        count_loss(subject.cgroup_id, class, Reason::NoScratch);
        None
    }

    /// The body of the record.
    #[inline(always)]
    pub fn body<T>(&self) -> *mut T {
        const { assert!(size_of::<T>() <= size_of::<Exec>() && align_of::<T>() <= 8) };
        // SAFETY: the scratch buffer is valid while it is claimed.
        unsafe { (&raw mut (*self.scratch).content).cast() }
    }

    /// The variable bytes, after a body of type `T`.
    #[inline(always)]
    pub fn payload<T>(&self) -> *mut Payload {
        // SAFETY: as `body`; the content has room for the largest body and the payload.
        unsafe { self.body::<T>().add(1).cast() }
    }

    /// Fills in the header, copies the used bytes to the ring, and gives the scratch buffer back.
    /// `used` is the number of variable bytes after the body `T`.
    #[inline(always)]
    pub fn submit<T>(
        self,
        ring: &RingBuf,
        kind: Kind,
        class: Class,
        subject: &Subject,
        flags: u32,
        used: u32,
    ) {
        let fixed = (size_of::<Header>() + size_of::<T>()) as u32;
        let length = fixed + (used & PAYLOAD_MASK);
        let process = task::process(subject.task);
        // SAFETY: the scratch buffer is claimed; `length` is at most the fixed part and the counted part of
        // the payload, which lie one after the other in it.
        let result = unsafe {
            (*self.scratch).header = Header {
                abi: ABI,
                kind: kind as u16,
                length,
                time_ns: bpf_ktime_get_boot_ns(),
                cgroup_id: subject.cgroup_id,
                start_ns: process.start_ns,
                pid: process.pid,
                tid: task::tid(subject.task),
                uid: cred::uid(subject.task),
                flags,
                container_slot: subject.state.container_slot,
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
            count_loss(subject.cgroup_id, class, Reason::RingFull);
        }
    }
}

/// Counts one lost record; for cgroup 0 when the map has no room for another key.
#[inline(always)]
fn count_loss(cgroup_id: u64, class: Class, reason: Reason) {
    let mut key = LossKey {
        cgroup_id,
        class: class as u32,
        reason: reason as u32,
    };
    if add_loss(&key) || maps::LOSSES.insert(&key, &1, 0).is_ok() {
        return;
    }
    key.cgroup_id = 0;
    if !add_loss(&key) {
        let _ = maps::LOSSES.insert(&key, &1, 0);
    }
}

/// Adds one to an existing counter.
#[inline(always)]
fn add_loss(key: &LossKey) -> bool {
    match maps::LOSSES.get_ptr_mut(key) {
        Some(count) => {
            // SAFETY: the counter is this CPU's own.
            unsafe { *count += 1 };
            true
        }
        None => false,
    }
}
