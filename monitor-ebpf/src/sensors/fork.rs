//! `sched_process_fork`: a process was created. Threads are not reported: they share everything that is.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use watchkeeper_ebpf::{
    loss::Class,
    record::{Fork, Kind, Namespaces},
};

use crate::{
    credentials::{check_credentials, note_credentials},
    kernel::{argument, cred, follow, read, task},
    maps::TELEMETRY,
    output::Draft,
    subject::{Place, Subject},
};

/// `TP_PROTO(struct task_struct *parent, struct task_struct *child)`, include/trace/events/sched.h;
/// `parent` is the current task.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    let caller = task::current();
    let child = argument(&ctx, 1);
    if task::is_kernel_thread(child) {
        return 0;
    }
    // The caller may be a runtime in a cgroup that is left out, and the child in a container.
    let child_place = Place::of(child);
    if !child_place.wants(Class::Process as u32) {
        return 0;
    }
    // A thread may have other credentials than its process's first one, and begin others with its own.
    note_credentials(child);
    if task::tid(child) != task::tgid(child) {
        return 0;
    }
    check_credentials(caller);
    let place = Place::of(caller);
    let Some(draft) = Draft::admitted(&place, Class::Process as u32) else {
        return 0;
    };
    let body = draft.body::<Fork>();
    let (pid_inside, pid_ns) = task::innermost_pid(child);
    let pid_ns = read(pid_ns, offset!(pid_ns_inum));
    let new_namespaces = follow(caller, offset!(task_nsproxy))
        != follow(child, offset!(task_nsproxy))
        || cred::user_namespace(caller) != cred::user_namespace(child);
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe {
        (*body).child = task::process(child);
        (*body).parent = task::parent(child);
        (*body).child_cgroup_id = child_place.cgroup_id;
        (*body).child_container_slot = child_place.state.container_slot;
        (*body).new_namespaces = u32::from(new_namespaces);
        (*body).child_pid_ns = pid_ns;
        (*body).child_pid_inside = pid_inside;
        (*body).caller_namespaces = Namespaces::default();
        (*body).child_namespaces = Namespaces::default();
        if new_namespaces {
            (*body).caller_namespaces = task::namespaces(caller);
            (*body).child_namespaces = task::namespaces(child);
        }
    }
    let end = Draft::start::<Fork>();
    draft.submit(&TELEMETRY, Kind::Fork, &Subject::new(place, caller), 0, end);
    0
}
