//! `cgroup_mkdir`, `cgroup_rmdir`, `cgroup_attach_task`: the life of cgroups. A new cgroup gets its
//! parent's state here, before any process can be in it. Who did it is no reason to leave a record out: it
//! is usually a runtime on the host.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use watchkeeper_ebpf::{
    cgroup::{CgroupState, HOST},
    loss::Class,
    record::{Cgroup, CgroupAttach, Kind, MAX_PATH},
};

use crate::{
    kernel::{Address, cgroup, task},
    maps::{CGROUPS, CRITICAL},
    output::Draft,
    subject::{Place, Subject},
};

/// `TP_PROTO(struct cgroup *cgrp, const char *path)`, include/trace/events/cgroup.h
#[btf_tracepoint(function = "cgroup_mkdir")]
pub fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    let cgroup = ctx.arg::<*const u8>(0) as Address;
    if cgroup::is_watched(cgroup) {
        // SAFETY: the entry is copied at once.
        if let Some(state) = unsafe { CGROUPS.get(&cgroup::parent_id(cgroup)) } {
            // It may become a container's: whether it is the host's own, the agent decides.
            let state = CgroupState {
                container_slot: state.container_slot,
                flags: state.flags & !HOST,
            };
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
    let task = task::current();
    let place = Place::of(task);
    let Some(draft) = Draft::admitted(&place, Class::Cgroup as u32) else {
        return 0;
    };
    let id = cgroup::id(cgroup);
    let body = draft.body::<CgroupAttach>();
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe {
        (*body).cgroup_id = id;
        (*body).process = task::process(moved);
        (*body).tid = task::tid(moved);
        (*body).container_slot = Place::of_cgroup(id).state.container_slot;
    }
    let end = Draft::start::<CgroupAttach>();
    draft.submit(
        &CRITICAL,
        Kind::CgroupAttach,
        &Subject::new(place, task),
        0,
        end,
    );
    0
}

/// Reports a cgroup that was made or removed by the current task.
#[inline(always)]
fn report(kind: Kind, cgroup: Address, path: Address) {
    let task = task::current();
    let place = Place::of(task);
    let Some(draft) = Draft::admitted(&place, Class::Cgroup as u32) else {
        return;
    };
    let start = Draft::start::<Cgroup>();
    let end = draft.append_string::<MAX_PATH>(start, path);
    let body = draft.body::<Cgroup>();
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe {
        (*body).id = cgroup::id(cgroup);
        (*body).parent_id = cgroup::parent_id(cgroup);
        (*body).path_length = end - start;
        (*body).reserved = 0;
    }
    draft.submit(&CRITICAL, kind, &Subject::new(place, task), 0, end);
}
