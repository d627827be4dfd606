//! `cgroup_mkdir`, `cgroup_rmdir`, `cgroup_attach_task`: the life of cgroups. A new cgroup gets its
//! parent's state here, before any process can be in it. Who did it is no reason to leave a record out: it
//! is usually a runtime on the host.

use aya_ebpf::{
    helpers::generated::bpf_probe_read_kernel_str, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use watchkeeper_ebpf::{
    loss::Class,
    record::{Cgroup, CgroupAttach, Kind, MAX_PATH},
};

use crate::{
    kernel::{Address, cgroup, task},
    maps::{CGROUPS, CRITICAL},
    output::{Draft, Subject, cgroup_state},
};

/// `TP_PROTO(struct cgroup *cgrp, const char *path)`, include/trace/events/cgroup.h
#[btf_tracepoint(function = "cgroup_mkdir")]
pub fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    let cgroup = ctx.arg::<*const u8>(0) as Address;
    if cgroup::is_watched(cgroup) {
        // SAFETY: the entry is copied at once.
        if let Some(state) = unsafe { CGROUPS.get(&cgroup::parent_id(cgroup)) } {
            let state = *state;
            let _ = CGROUPS.insert(&cgroup::id(cgroup), &state, 0);
        }
        report(
            Kind::CgroupMkdir,
            cgroup,
            ctx.arg::<*const u8>(1) as Address,
        );
    }
    0
}

/// `TP_PROTO(struct cgroup *cgrp, const char *path)`, include/trace/events/cgroup.h
#[btf_tracepoint(function = "cgroup_rmdir")]
pub fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    let cgroup = ctx.arg::<*const u8>(0) as Address;
    if cgroup::is_watched(cgroup) {
        report(
            Kind::CgroupRmdir,
            cgroup,
            ctx.arg::<*const u8>(1) as Address,
        );
        let _ = CGROUPS.remove(&cgroup::id(cgroup));
    }
    0
}

/// `TP_PROTO(struct cgroup *dst_cgrp, const char *path, struct task_struct *task, bool threadgroup)`,
/// include/trace/events/cgroup.h
#[btf_tracepoint(function = "cgroup_attach_task")]
pub fn cgroup_attach_task(ctx: BtfTracePointContext) -> i32 {
    let cgroup = ctx.arg::<*const u8>(0) as Address;
    let moved = ctx.arg::<*const u8>(2) as Address;
    if !cgroup::is_watched(cgroup) {
        return 0;
    }
    let subject = Subject::of(task::current());
    let Some(draft) = Draft::claim(&subject, Class::Cgroup) else {
        return 0;
    };
    let id = cgroup::id(cgroup);
    let body = draft.body::<CgroupAttach>();
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe {
        (*body).cgroup_id = id;
        (*body).process = task::process(moved);
        (*body).tid = task::tid(moved);
        (*body).container_slot = cgroup_state(id).container_slot;
    }
    draft.submit::<CgroupAttach>(&CRITICAL, Kind::CgroupAttach, Class::Cgroup, &subject, 0, 0);
    0
}

/// Reports a cgroup that was made or removed by the current task.
#[inline(always)]
fn report(kind: Kind, cgroup: Address, path: Address) {
    let subject = Subject::of(task::current());
    let Some(draft) = Draft::claim(&subject, Class::Cgroup) else {
        return;
    };
    let id = cgroup::id(cgroup);
    let body = draft.body::<Cgroup>();
    // SAFETY: the payload is longer than what is read; the helper fails on a source that is not mapped.
    let length = unsafe {
        bpf_probe_read_kernel_str(
            draft.payload::<Cgroup>().cast(),
            MAX_PATH as u32,
            path as *const core::ffi::c_void,
        )
    };
    let length = if length <= 1 { 0 } else { length as u32 - 1 };
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe {
        (*body).id = id;
        (*body).parent_id = cgroup::parent_id(cgroup);
        (*body).path_length = length;
        (*body).reserved = 0;
    }
    draft.submit::<Cgroup>(&CRITICAL, kind, Class::Cgroup, &subject, 0, length);
}
