//! Operations submitted to io_uring, which no system call shows: the first of each kind in a process.
//!
//! The tracepoint is `io_uring_submit_req(struct io_kiocb *req)` since 6.3, was `io_uring_submit_sqe` before, and had the
//! operation among its arguments until 5.19; the agent tells which (include/trace/events/io_uring.h).

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use watchkeeper_ebpf::{
    loss::Class,
    record::{IoUring, Kind},
    tables::UringKey,
};

use crate::{
    credentials::check_credentials,
    kernel::{Address, read, task},
    maps::{CRITICAL, URING},
    output::Draft,
    subject::{Place, Subject},
};

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
