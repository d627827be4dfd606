//! Operations submitted to io_uring, which no system call shows: the first of each kind in a process; and the files that it opens.
//!
//! The tracepoint is `io_uring_submit_req(struct io_kiocb *req)` since 6.3, was `io_uring_submit_sqe` before, and had the
//! operation among its arguments until 5.19; the agent tells which (include/trace/events/io_uring.h).

use aya_ebpf::{EbpfContext as _, macros::btf_tracepoint, programs::BtfTracePointContext};
use watchkeeper_ebpf::{
    calls::IO_URING,
    loss::Class,
    offsets::ABSENT,
    record::{IoUring, Kind},
    tables::{UringKey, UringSubmission},
};

use super::open::{self, O_ACCMODE, O_TRUNC};
use crate::{
    credentials::check_credentials,
    kernel::{Address, current, follow, read, task},
    maps::{CRITICAL, URING, URING_OPENS},
    output::Draft,
    subject::{Place, Subject},
};

/// `enum io_uring_op` of include/uapi/linux/io_uring.h.
const IORING_OP_OPENAT: u8 = 18;
const IORING_OP_OPENAT2: u8 = 28;
/// `IORING_FILE_INDEX_ALLOC`: the kernel chooses the place in the ring's table.
const ANY_SLOT: u32 = u32::MAX;
/// The low bits of a pointer to a file in such a table are flags.
const FILE_MASK: Address = !7;

/// An operation is submitted.
#[btf_tracepoint(function = "io_uring_submit_req")]
pub fn io_uring_submit(ctx: BtfTracePointContext) -> i32 {
    let task = task::current();
    let place = Place::of(task);
    if !place.wants(Class::Kernel as u32) {
        return 0;
    }
    let argument = setting!(uring_opcode_argument);
    let opcode = if argument == 1 {
        ctx.arg::<u8>(1)
    } else if argument == 2 {
        ctx.arg::<u8>(2)
    } else {
        read::<u8>(ctx.arg::<*const u8>(0) as Address, offset!(kiocb_opcode))
    };
    if setting!(uring_by_user_data) != 0 && is_open(opcode) {
        // Both are read, and each by itself: the compiler would make of two one read at a computed place, which the verifier refuses.
        let arguments = ctx.as_ptr().cast::<u64>();
        // SAFETY: where completions name user data the tracepoint has more than four arguments (include/trace/events/io_uring.h).
        let (third, fourth) = unsafe {
            (
                core::ptr::read_volatile(arguments.add(2)),
                core::ptr::read_volatile(arguments.add(3)),
            )
        };
        let user = if argument == 1 { third } else { fourth };
        let ring = ctx.arg::<*const u8>(0) as Address;
        // The request is the argument before the operation, where there is one.
        let slot = if argument == 1 || offset!(kiocb_open_slot) == ABSENT {
            0
        } else {
            read::<u32>(ctx.arg::<*const u8>(1) as Address, offset!(kiocb_open_slot))
        };
        let _ = URING_OPENS.insert(&UringSubmission { ring, user }, &slot, 0);
    }
    let subject = Subject::new(place, task);
    let key = UringKey {
        pid: subject.process.pid,
        opcode: u32::from(opcode),
    };
    // SAFETY: the entry is copied at once.
    if let Some(start_ns) = unsafe { URING.get(&key) }
        && *start_ns == subject.process.start_ns
    {
        return 0;
    }
    let _ = URING.insert(&key, &subject.process.start_ns, 0);
    check_credentials(task);
    let Some(draft) = Draft::admitted(&place, Class::Kernel as u32) else {
        return 0;
    };
    let body = draft.body::<IoUring>();
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe {
        (*body).opcode = u32::from(opcode);
        (*body).reserved = 0;
    }
    let end = Draft::start::<IoUring>();
    draft.submit(&CRITICAL, Kind::IoUring, &subject, 0, end);
    0
}

/// An operation is completed: reports a file that it opened, as [`open_exit`](super::open::open_exit) does.
///
/// The tracepoint is `io_uring_complete(struct io_ring_ctx *ctx, void *req, ...)` since 5.18, and `(ctx, user_data, result, ...)` before.
/// It runs in a thread of the process, or in a worker of the kernel that shares the process's files. An operation that succeeds and
/// wants no completion (`IOSQE_CQE_SKIP_SUCCESS`, since 5.17) does not come here.
#[btf_tracepoint(function = "io_uring_complete")]
pub fn io_uring_complete(ctx: BtfTracePointContext) -> i32 {
    // As a plain number: the verifier lets no typed pointer into a global function.
    let ring: Address = read(ctx.as_ptr() as Address, 0);
    let completed = if setting!(uring_by_user_data) != 0 {
        by_user_data(&ctx, ring)
    } else {
        by_request(ctx.arg::<*const u8>(1) as Address)
    };
    let Some(Completed {
        slot,
        result,
        asked,
    }) = completed
    else {
        return 0;
    };
    if result < 0 {
        return 0;
    }
    let place = Place::current();
    if !place.wants(Class::File as u32) {
        return 0;
    }
    let opened = opened(ring, slot, result as u32);
    if opened == 0 {
        return 0;
    }
    let mut open_flags = open::flags_of(opened);
    if open_flags & O_ACCMODE != 0 {
        open_flags |= asked & O_TRUNC;
    }
    open::observe(task::current(), &place, opened, IO_URING, open_flags);
    0
}

/// An open that is completed.
struct Completed {
    /// Where in the ring's own table, see [`opened`].
    slot: u32,
    /// Of the operation.
    result: i32,
    /// Flags that were asked for, where they are known.
    asked: u32,
}

#[inline(always)]
fn is_open(opcode: u8) -> bool {
    opcode == IORING_OP_OPENAT || opcode == IORING_OP_OPENAT2
}

/// What the request tells, where it is an open.
#[inline(always)]
fn by_request(request: Address) -> Option<Completed> {
    if !is_open(read::<u8>(request, offset!(kiocb_opcode))) {
        return None;
    }
    let command = request.wrapping_add(u64::from(offset!(kiocb_command)));
    Some(Completed {
        slot: read(command, offset!(io_open_slot)),
        result: read(request, offset!(kiocb_result)),
        // What `open_how` begins with.
        asked: read::<u32>(command, offset!(io_open_flags)),
    })
}

/// The same where the completion says nothing of the operation. Whether the file was cut at the opening is not known then.
#[inline(always)]
fn by_user_data(ctx: &BtfTracePointContext, ring: Address) -> Option<Completed> {
    let key = UringSubmission {
        ring,
        user: ctx.arg::<u64>(1),
    };
    // SAFETY: the entry is copied at once.
    let slot = *(unsafe { URING_OPENS.get(&key) }?);
    let _ = URING_OPENS.remove(&key);
    Some(Completed {
        slot,
        result: ctx.arg::<i64>(2) as i32,
        asked: 0,
    })
}

/// What an operation opened: behind a descriptor, or in the place of the ring's own table that was asked for, counted from 1.
#[inline(always)]
fn opened(ring: Address, slot: u32, result: u32) -> Address {
    if slot == 0 {
        current::file_of(result)
    } else if slot == ANY_SLOT {
        registered(ring, result)
    } else {
        registered(ring, slot - 1)
    }
}

/// A file in the ring's own table, which has no descriptor; 0 where there is none.
///
/// A global function, see [`append_path`](crate::kernel::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn registered(ring: Address, index: u32) -> Address {
    let step = u64::from(index) * 8;
    let file: Address = if offset!(uring_nodes) != ABSENT {
        if index >= read::<u32>(ring, offset!(uring_node_count)) {
            return 0;
        }
        let node = follow(follow(ring, offset!(uring_nodes)).wrapping_add(step), 0);
        read(node, offset!(uring_node_file))
    } else {
        if offset!(uring_files) == ABSENT || index >= read::<u32>(ring, offset!(uring_file_count)) {
            return 0;
        }
        read(follow(ring, offset!(uring_files)).wrapping_add(step), 0)
    };
    file & FILE_MASK
}
