//! What the agent may do, and gives up once its programs are attached.

use anyhow::Context as _;
use rustix::{
    io::Errno,
    thread::{
        CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
        clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
        set_no_new_privs,
    },
};

/// What it needs as long as it runs: executables, namespaces and descriptors of other users' processes, and their files whatever
/// the mode of those.
const KEPT: CapabilitySet = CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH);

/// Gives up every capability that is not needed any more, for good: neither this thread, nor those that it starts afterwards, nor the
/// programs that they run get one back. Call it before there are other threads.
///
/// `maps_work` tries whether the kernel's maps can be read. Kernels before 5.19 ask for CAP_BPF for that where unprivileged users may
/// not use bpf(2) (kernel commit c8644cd0efe7): it is kept there.
///
/// # Errors
/// When the kernel does not let it.
pub(super) fn give_up(maps_work: impl Fn() -> bool) -> anyhow::Result<()> {
    let doing = "giving up capabilities that are not needed any more";
    let had = capabilities(None).context(doing)?;
    let kept = had.permitted & KEPT;
    let with_bpf = kept | (had.permitted & CapabilitySet::BPF);
    let set = |effective, permitted| {
        set_capabilities(
            None,
            CapabilitySets {
                effective,
                permitted,
                inheritable: CapabilitySet::empty(),
            },
        )
    };
    // Root gets what the bounding set has with each program that it runs. Where it can't be narrowed, nothing new can be gained
    // all the same, see below.
    if had.effective.contains(CapabilitySet::SETPCAP) {
        for capability in (CapabilitySet::all() - with_bpf).iter() {
            match capability_is_in_bounding_set(capability) {
                Ok(true) => remove_capability_from_bounding_set(capability).context(doing)?,
                // An older kernel does not know it.
                Ok(false) | Err(Errno::INVAL) => {}
                Err(error) => return Err(error).context(doing),
            }
        }
    }
    // A kernel before 4.3 has no such set.
    let _ = clear_ambient_capability_set();
    set(kept, with_bpf).context(doing)?;
    let kept = if maps_work() { kept } else { with_bpf };
    set(kept, kept).context(doing)?;
    set_no_new_privs(true).context(doing)?;
    let names: Vec<String> = kept
        .iter_names()
        .map(|(name, _)| format!("CAP_{name}"))
        .collect();
    tracing::info!("capabilities that are kept: {}", names.join(", "));
    Ok(())
}
