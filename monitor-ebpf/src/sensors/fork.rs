//! `sched_process_fork`: a process was created. Threads are left out: they share everything reported here.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use watchkeeper_ebpf::{
    loss::Class,
    record::{Fork, Kind},
};

use crate::{
    kernel::{Address, cgroup, task},
    maps::TELEMETRY,
    output::{Draft, Subject, cgroup_state, is_ignored},
};

/// `TP_PROTO(struct task_struct *parent, struct task_struct *child)`, include/trace/events/sched.h
#[btf_tracepoint(function = "sched_process_fork")]
pub fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    let caller = ctx.arg::<*const u8>(0) as Address;
    let child = ctx.arg::<*const u8>(1) as Address;
    if task::tid(child) != task::tgid(child) || task::is_kernel_thread(child) {
        return 0;
    }
    // The caller may be a runtime in a cgroup that is left out, and the child in a container.
    let child_cgroup_id = cgroup::id(cgroup::of_task(child));
    let child_state = cgroup_state(child_cgroup_id);
    if is_ignored(child_state) {
        return 0;
    }
    let subject = Subject::of(caller);
    let Some(draft) = Draft::claim(&subject, Class::Process) else {
        return 0;
    };
    let body = draft.body::<Fork>();
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe {
        (*body).child = task::process(child);
        (*body).parent = task::parent(child);
        (*body).child_cgroup_id = child_cgroup_id;
        (*body).child_container_slot = child_state.container_slot;
        (*body).reserved = 0;
    }
    draft.submit::<Fork>(&TELEMETRY, Kind::Fork, Class::Process, &subject, 0, 0);
    0
}
