//! `sched_process_exit`: the last thread of a process ended.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use watchkeeper_ebpf::{
    loss::Class,
    record::{Exit, Kind},
};

use crate::{
    kernel::{Address, follow, read, task},
    maps::TELEMETRY,
    output::{Draft, Subject, is_ignored},
};

/// `TP_PROTO(struct task_struct *p)`, include/trace/events/sched.h
#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let task = ctx.arg::<*const u8>(0) as Address;
    let signal = follow(task, offset!(task_signal));
    // Already decremented for this thread (kernel/exit.c, do_exit).
    if read::<u32>(signal, offset!(signal_live)) != 0 || task::is_kernel_thread(task) {
        return 0;
    }
    let subject = Subject::of(task);
    if is_ignored(subject.state) {
        return 0;
    }
    let Some(draft) = Draft::claim(&subject, Class::Process) else {
        return 0;
    };
    // The group's code where exit_group(2) or a signal ended all threads, else this last thread's own.
    let group_code: u32 = read(signal, offset!(signal_group_exit_code));
    let own_code: u32 = read(task, offset!(task_exit_code));
    let body = draft.body::<Exit>();
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe {
        (*body).status = if group_code == 0 {
            own_code
        } else {
            group_code
        };
        (*body).reserved = 0;
    }
    draft.submit::<Exit>(&TELEMETRY, Kind::Exit, Class::Process, &subject, 0, 0);
    0
}
