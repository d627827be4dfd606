//! `signal_generate`: a process of a container signals one outside.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use watchkeeper_ebpf::{
    loss::Class,
    record::{Kind, Signal},
};

use crate::{
    credentials::check_credentials,
    kernel::{Address, read, task},
    maps::CRITICAL,
    output::Draft,
    subject::{Place, Subject},
};

/// `SEND_SIG_NOINFO` and `SEND_SIG_PRIV` of include/linux/sched/signal.h: no information follows.
const NO_INFORMATION: Address = 1;

/// `TP_PROTO(int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result)`,
/// include/trace/events/signal.h
#[btf_tracepoint(function = "signal_generate")]
pub fn signal_generate(ctx: BtfTracePointContext) -> i32 {
    let sender = task::current();
    let place = Place::of(sender);
    // The host's processes may signal whom they like: runtimes do.
    if place.state.container_slot == 0 || !place.wants(Class::Tampering as u32) {
        return 0;
    }
    let target = ctx.arg::<*const u8>(2) as Address;
    let target_place = Place::of(target);
    if target_place.state.container_slot == place.state.container_slot {
        return 0;
    }
    let info = ctx.arg::<*const u8>(1) as Address;
    // Positive codes are the kernel's own: the end of a child, a fault (include/uapi/asm-generic/siginfo.h).
    if info > NO_INFORMATION && read::<i32>(info, offset!(siginfo_code)) > 0 {
        return 0;
    }
    if info == NO_INFORMATION {
        return 0;
    }
    check_credentials(sender);
    let Some(draft) = Draft::admitted(&place, Class::Tampering as u32) else {
        return 0;
    };
    let body = draft.body::<Signal>();
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe {
        (*body).target = task::process(target);
        (*body).target_cgroup_id = target_place.cgroup_id;
        (*body).number = ctx.arg::<i32>(0) as u32;
        (*body).target_container_slot = target_place.state.container_slot;
    }
    let end = Draft::start::<Signal>();
    draft.submit(
        &CRITICAL,
        Kind::Signal,
        &Subject::new(place, sender),
        0,
        end,
    );
    0
}
