//! `selinux_audited`: what SELinux decided and writes to the audit log.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use watchkeeper_ebpf::{
    loss::Class,
    record::{Denial, Kind, MAX_COMPONENT},
};

use crate::{
    kernel::{Address, read, task},
    maps::CRITICAL,
    output::Draft,
    subject::{Place, Subject},
};

/// `TP_PROTO(struct selinux_audit_data *sad, char *scontext, char *tcontext, const char *tclass)`,
/// include/trace/events/avc.h; since 5.10 (kernel commit dd8166212d9e).
#[btf_tracepoint(function = "selinux_audited")]
pub fn selinux_audited(ctx: BtfTracePointContext) -> i32 {
    let decision = ctx.arg::<*const u8>(0) as Address;
    let denied: u32 = read(decision, offset!(denial_denied));
    let task = task::current();
    let place = Place::of(task);
    if denied == 0 || !place.wants(Class::Kernel as u32) {
        return 0;
    }
    let Some(draft) = Draft::admitted(&place, Class::Kernel as u32) else {
        return 0;
    };
    let start = Draft::start::<Denial>();
    let source_end =
        draft.append_string::<MAX_COMPONENT>(start, ctx.arg::<*const u8>(1) as Address);
    let target_end =
        draft.append_string::<MAX_COMPONENT>(source_end, ctx.arg::<*const u8>(2) as Address);
    let end = draft.append_string::<MAX_COMPONENT>(target_end, ctx.arg::<*const u8>(3) as Address);
    let requested = read(decision, offset!(denial_requested));
    let result: i32 = read(decision, offset!(denial_result));
    let body = draft.body::<Denial>();
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe {
        (*body).requested = requested;
        (*body).denied = denied;
        (*body).source_length = source_end - start;
        (*body).target_length = target_end - source_end;
        (*body).class_length = end - target_end;
        (*body).enforced = u32::from(result != 0);
    }
    draft.submit(&CRITICAL, Kind::Denial, &Subject::new(place, task), 0, end);
    0
}
