//! `module_load` and `module_free`: what became of it, by the module's own name.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use watchkeeper_ebpf::{
    loss::Class,
    record::{Kind, MAX_COMPONENT, Module},
};

use crate::{
    credentials::check_credentials,
    kernel::{Address, task},
    maps::CRITICAL,
    output::Draft,
    subject::{Place, Subject},
};

/// `TP_PROTO(struct module *mod)`, include/trace/events/module.h
#[btf_tracepoint(function = "module_load")]
pub fn module_load(ctx: BtfTracePointContext) -> i32 {
    report(ctx.arg::<*const u8>(0) as Address, 0);
    0
}

/// `TP_PROTO(struct module *mod)`, include/trace/events/module.h
#[btf_tracepoint(function = "module_free")]
pub fn module_free(ctx: BtfTracePointContext) -> i32 {
    report(ctx.arg::<*const u8>(0) as Address, 1);
    0
}

#[inline(always)]
fn report(module: Address, unloaded: u32) {
    let task = task::current();
    let place = Place::of(task);
    if !place.wants(Class::Kernel as u32) {
        return;
    }
    check_credentials(task);
    let Some(draft) = Draft::admitted(&place, Class::Kernel as u32) else {
        return;
    };
    let start = Draft::start::<Module>();
    let name = module + u64::from(offset!(module_name));
    let end = draft.append_string::<MAX_COMPONENT>(start, name);
    let body = draft.body::<Module>();
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe {
        (*body).unloaded = unloaded;
        (*body).name_length = end - start;
    }
    draft.submit(&CRITICAL, Kind::Module, &Subject::new(place, task), 0, end);
}
