//! The eBPF programs. Each sensor loads or fails alone; some share a program.
//!
//! Every path through a program is: whose cgroup is it, is that cgroup ignored, collect into a scratch
//! buffer, submit. What could not be submitted is counted.

#![no_std]
#![no_main]
#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "map methods take references only from aya-ebpf 0.3 on; written like that they stay as they are"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "a program gets its context by value, from code that a macro writes"
)]

#[macro_use]
mod kernel;
mod credentials;
mod maps;
mod output;
mod sensors;
mod subject;

/// The kernel lets only programs under a GPL-compatible licence call the helpers that read its memory.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// A reachable panic leaves a loop without an exit, which the verifier refuses: none can reach a node.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
