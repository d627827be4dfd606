//! Arithmetic as RandomX does it: floating-point operations under rounding modes that the data choose.

use anyhow::Result;
use serde_json::Value;

use super::Action;

pub(super) const ACTIONS: &[Action] = &[Action::new(
    "float-rounding",
    "Computes for some seconds under rounding modes that change, in more threads than there are processors",
    |_| compute(),
)];

#[cfg(target_arch = "x86_64")]
fn compute() -> Result<Value> {
    use std::thread;
    use std::time::{Duration, Instant};

    use anyhow::Context as _;
    use serde_json::json;

    const LENGTH: Duration = Duration::from_secs(4);
    let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let end = Instant::now() + LENGTH;
    let threads: Vec<_> = (0..=2 * processors)
        .map(|seed| {
            thread::spawn(move || {
                let mut state = u64::try_from(seed).unwrap_or(0);
                while Instant::now() < end {
                    state = rounds(state);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().ok().context("a thread failed")?;
    }
    Ok(json!({"seconds": LENGTH.as_secs()}))
}

#[cfg(not(target_arch = "x86_64"))]
fn compute() -> Result<Value> {
    let message = "the rounding mode is only looked at on x86-64";
    Err(super::facts::NotOffered(message.to_owned()).into())
}

/// A hundred thousand times: a rounding mode that two bits of the state choose (CFROUND), then a multiplication, a square root
/// and an addition under it (`FMUL_R`, `FSQRT_R`, `FADD_R`). Returns the next state.
#[cfg(target_arch = "x86_64")]
fn rounds(mut state: u64) -> u64 {
    use std::arch::asm;

    let mut control = 0_u32;
    let (multiplier, increment) = (6_364_136_223_846_793_005_u64, 1_442_695_040_888_963_407_u64);
    // SAFETY: the block only uses registers that it names and the four bytes of `control`; the control register has the value
    // that Rust code expects when it ends.
    unsafe {
        asm!(
            "2:",
            "imul {state}, {multiplier}",
            "add {state}, {increment}",
            "mov {mode}, {state}",
            "shr {mode}, 48",
            "and {mode:e}, 0x6000",
            "or {mode:e}, 0x1f80",
            "mov dword ptr [{control}], {mode:e}",
            "ldmxcsr dword ptr [{control}]",
            "cvtsi2sd {one}, {state}",
            "mulsd {one}, {one}",
            "sqrtsd {other}, {one}",
            "addsd {one}, {other}",
            "dec {count}",
            "jnz 2b",
            "mov dword ptr [{control}], 0x1f80",
            "ldmxcsr dword ptr [{control}]",
            state = inout(reg) state,
            multiplier = in(reg) multiplier,
            increment = in(reg) increment,
            mode = out(reg) _,
            control = in(reg) &raw mut control,
            one = out(xmm_reg) _,
            other = out(xmm_reg) _,
            count = inout(reg) 100_000_u64 => _,
            options(nostack),
        );
    }
    state
}
