//! Parts of the kernel that ordinary programs leave alone, kills by seccomp, and CPU time.

use watchkeeper::proto::v1::{Event, EventKind};

use super::case::{By, Case, Facts, called, detail, holds, same};

pub(super) const CASES: &[Case] = &[
    Case::new("init-module", EventKind::KernelModule, MODULE, module),
    Case::new("finit-module", EventKind::KernelModule, MODULE, module_file),
    Case::new("delete-module", EventKind::KernelModule, MODULE, unloaded),
    Case::new(
        "module-load",
        EventKind::KernelModule,
        MODULE,
        loaded_by_name,
    ),
    Case::new(
        "module-unload",
        EventKind::KernelModule,
        MODULE,
        unloaded_by_name,
    )
    .of("module-load"),
    Case::new(
        "bpf-prog-load",
        EventKind::KernelCall,
        &["bpf"],
        kernel_call,
    ),
    Case::new(
        "bpf-map-create",
        EventKind::KernelCall,
        &["bpf"],
        kernel_call,
    ),
    Case::new(
        "bpf-map-by-id",
        EventKind::KernelCall,
        &["bpf"],
        kernel_call,
    ),
    Case::new(
        "bpf-link-by-id",
        EventKind::KernelCall,
        &["bpf"],
        kernel_call,
    ),
    Case::new(
        "perf-event-open",
        EventKind::KernelCall,
        &["perf_event_open"],
        kernel_call,
    ),
    Case::new("kexec-load", EventKind::KernelCall, &["kexec"], kernel_call),
    Case::new("add-key", EventKind::KernelCall, &["add_key"], kernel_call),
    Case::new(
        "keyctl-read",
        EventKind::KernelCall,
        &["keyctl"],
        kernel_call,
    ),
    Case::new(
        "io-uring-setup",
        EventKind::KernelCall,
        &["kernel-calls"],
        kernel_call,
    ),
    Case::new(
        "io-uring-nop",
        EventKind::IoUringOperation,
        &["io_uring_submit"],
        operation,
    )
    .once(),
    Case::new(
        "io-uring-openat",
        EventKind::IoUringOperation,
        &["io_uring_submit"],
        operation,
    )
    .once(),
    Case::new("seccomp-kill", EventKind::Exit, &["exit"], killed),
    Case::new(
        "selinux-denied",
        EventKind::SelinuxDenial,
        &["selinux"],
        denied,
    ),
    Case::new(
        "selinux-denied-often",
        EventKind::SelinuxDenial,
        &["selinux"],
        denied,
    ),
    Case::new(
        "float-rounding",
        EventKind::FloatRounding,
        &["float-rounding"],
        rounded,
    ),
    Case::new("cpu-burn", EventKind::CpuUsage, &["cpu"], busy).by(By::Anyone),
];

fn rounded(_: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, FloatRounding);
    holds(
        "every mode was seen",
        found.down > 0 && found.up > 0 && found.toward_zero > 0,
    )
}

const MODULE: &[&str] = &["module"];

fn module(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, KernelModule);
    called(facts, found.call.as_ref())?;
    same("unloaded", found.unloaded, false)
}

/// What the kernel itself says of a module that it took.
fn loaded_by_name(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, KernelModule);
    same("call", found.call.is_none(), true)?;
    same("unloaded", found.unloaded, false)?;
    same("name", found.name.as_str(), facts.text("name"))
}

fn unloaded_by_name(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, KernelModule);
    same("call", found.call.is_none(), true)?;
    same("unloaded", found.unloaded, true)?;
    same("name", found.name.as_str(), facts.text("name"))
}

fn module_file(facts: &Facts, event: &Event) -> Result<(), String> {
    module(facts, event)?;
    let found = detail!(event, KernelModule);
    same("path", found.path.as_str(), facts.text("path"))
}

fn unloaded(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, KernelModule);
    called(facts, found.call.as_ref())?;
    same("unloaded", found.unloaded, true)?;
    same("name", found.name.as_str(), facts.text("name"))
}

/// Command, type and name, where the facts have them.
fn kernel_call(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, KernelCall);
    called(facts, found.call.as_ref())?;
    for (what, value) in [
        ("command", &found.command),
        ("type", &found.r#type),
        ("name", &found.name),
    ] {
        if facts.has(what) {
            same(what, value.as_str(), facts.text(what))?;
        }
    }
    Ok(())
}

fn operation(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, IoUringOperation);
    same("opcode", u64::from(found.opcode), facts.number("opcode"))?;
    same("name", found.name.as_str(), facts.text("name"))
}

fn killed(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Exit);
    let signal = found.signal.map(u64::from);
    same("signal", signal, Some(facts.number("signal")))?;
    same("killed_by_seccomp", found.killed_by_seccomp, true)
}

fn denied(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, SelinuxDenial);
    same(
        "source_context",
        found.source_context.as_str(),
        facts.text("source"),
    )?;
    same(
        "target_context",
        found.target_context.as_str(),
        facts.text("target"),
    )?;
    same(
        "target_class",
        found.target_class.as_str(),
        facts.text("class"),
    )?;
    same(
        "permissions",
        &found.permissions[..],
        &[facts.text("permission").to_owned()],
    )?;
    same("enforced", found.enforced, false)
}

fn busy(_: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, CpuUsage);
    holds("used_ns is 0", found.used_ns > 0)?;
    holds("interval_ns is 0", found.interval_ns > 0)
}
