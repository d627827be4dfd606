//! `x86_fpu_regs_deactivated`: a task leaves the processor, and its floating-point registers were saved.
//!
//! RandomX, the proof of work that is mined on CPUs, sets the rounding mode anew every few instructions, to each of the four with
//! the same probability (`CFROUND`, <https://github.com/tevador/RandomX/blob/master/doc/specs.md>). Hardly any other program
//! leaves the mode that it starts with, and those that do (interval arithmetic) use one or two others. A task that is seen in all
//! of them, again and again, mines, whatever it is called and whomever it talks to.

use aya_ebpf::{
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_boot_ns},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use watchkeeper_ebpf::{
    loss::Class,
    offsets::ABSENT,
    record::{Kind, Rounding},
    tables::{NEAREST, RoundingModes},
};

use crate::{
    kernel::{Address, follow, read, task},
    maps::{CRITICAL, LOOKED, ROUNDINGS},
    output::Draft,
    subject::{Place, Subject},
};

/// Where the control and status register lies in the saved registers: byte 24 of what FXSAVE and XSAVE write (Intel, Software
/// Developer's Manual, volume 1, table 10-2).
const MXCSR: u32 = 24;
/// The rounding mode in it: bits 13 and 14.
const MODE_SHIFT: u32 = 13;
const MODE_MASK: u32 = 3;

/// How often each mode has to be seen.
const LEAST: u32 = 3;
/// Between two reports of a process, in nanoseconds.
const PAUSE: u64 = 60_000_000_000;

/// `TP_PROTO(struct fpu *fpu)`, arch/x86/include/asm/trace/fpu.h; the current task is still the one that leaves
/// (`__switch_to`, arch/x86/kernel/process_64.c).
#[btf_tracepoint(function = "x86_fpu_regs_deactivated")]
pub fn fpu_regs_deactivated(ctx: BtfTracePointContext) -> i32 {
    // Tasks change many thousand times a second: one look in a tick of the clock is enough, and costs next to nothing.
    let Some(looked) = LOOKED.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: the helper only reads a counter, and the map's entry of this CPU is valid as long as the program runs.
    unsafe {
        let tick = bpf_jiffies64();
        if *looked == tick {
            return 0;
        }
        *looked = tick;
    }
    let fpu = ctx.arg::<*const u8>(0) as Address;
    let registers = if offset!(fpu_fpstate) == ABSENT {
        fpu + u64::from(offset!(fpu_state))
    } else {
        follow(fpu, offset!(fpu_fpstate)) + u64::from(offset!(fpstate_regs))
    };
    let mode = read::<u32>(registers, MXCSR) >> MODE_SHIFT & MODE_MASK;
    if mode == NEAREST {
        return 0;
    }
    let task = task::current();
    let place = Place::of(task);
    if place.state.container_slot == 0 || !place.wants(Class::Kernel as u32) {
        return 0;
    }
    let process = task::process(task);
    let Some(modes) = ROUNDINGS.get_ptr_mut(&process.pid) else {
        let modes = RoundingModes::first(process.start_ns, mode);
        let _ = ROUNDINGS.insert(&process.pid, &modes, 0);
        return 0;
    };
    // SAFETY: the entry is valid as long as the program runs. Threads of the process may count on other CPUs at the same time,
    // and a count that is lost that way comes again.
    let seen = unsafe {
        if (*modes).start_ns != process.start_ns {
            *modes = RoundingModes::first(process.start_ns, mode);
            return 0;
        }
        (*modes).seen[(mode & MODE_MASK) as usize] += 1;
        (*modes).seen
    };
    if seen[1] < LEAST || seen[2] < LEAST || seen[3] < LEAST {
        return 0;
    }
    // SAFETY: as above; the helper only reads the clock.
    unsafe {
        let now = bpf_ktime_get_boot_ns();
        if (*modes).reported_ns != 0 && now - (*modes).reported_ns < PAUSE {
            return 0;
        }
        *modes = RoundingModes {
            start_ns: process.start_ns,
            reported_ns: now,
            seen: [0; 4],
        };
    }
    let Some(draft) = Draft::admitted(&place, Class::Kernel as u32) else {
        return 0;
    };
    let body = draft.body::<Rounding>();
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe {
        (*body).down = seen[1];
        (*body).up = seen[2];
        (*body).toward_zero = seen[3];
        (*body).reserved = 0;
    }
    let end = Draft::start::<Rounding>();
    draft.submit(
        &CRITICAL,
        Kind::Rounding,
        &Subject::new(place, task),
        0,
        end,
    );
    0
}
