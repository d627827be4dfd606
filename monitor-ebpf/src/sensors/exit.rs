//! `sched_process_exit`: the last thread of a process ended.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use watchkeeper_ebpf::{
    loss::Class,
    record::{Exit, Kind},
};

use crate::{
    credentials::{check_credentials, forget_credentials},
    kernel::{Address, follow, read, task},
    maps::TELEMETRY,
    output::Draft,
    subject::{Place, Subject},
};

/// `SIGSYS`: what seccomp kills with.
const SIGSYS: u32 = 31;
/// The signal in a wait status.
const SIGNAL: u32 = 0x7f;

/// `TP_PROTO(struct task_struct *p)`, include/trace/events/sched.h; `p` is the current task.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(_ctx: BtfTracePointContext) -> i32 {
    let task = task::current();
    if task::is_kernel_thread(task) {
        return 0;
    }
    let signal = follow(task, offset!(task_signal));
    // Already decremented for this thread (kernel/exit.c, do_exit).
    let is_last = read::<u32>(signal, offset!(signal_live)) == 0;
    report(task, signal, is_last);
    forget_credentials(task, is_last);
    0
}

/// Reports the end of a process, or of a thread that seccomp killed alone.
#[inline(always)]
fn report(task: Address, signal: Address, is_last: bool) {
    let own_code: u32 = read(task, offset!(task_exit_code));
    if !is_last && own_code & SIGNAL != SIGSYS {
        return;
    }
    let place = Place::of(task);
    if !place.wants(Class::Process as u32) {
        return;
    }
    check_credentials(task);
    let Some(draft) = Draft::admitted(&place, Class::Process as u32) else {
        return;
    };
    // The group's code where exit_group(2) or a signal ended all threads, else this last thread's own.
    let group_code: u32 = read(signal, offset!(signal_group_exit_code));
    let body = draft.body::<Exit>();
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe {
        (*body).status = if group_code == 0 || !is_last {
            own_code
        } else {
            group_code
        };
        (*body).thread_only = u32::from(!is_last);
    }
    let end = Draft::start::<Exit>();
    draft.submit(&TELEMETRY, Kind::Exit, &Subject::new(place, task), 0, end);
}
