//! What the programs cost: how often each ran in a while, and for how long, from the kernel's own statistics.

use std::{collections::HashMap, fs, thread, time::Duration};

use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};

use super::attach::LoadedProgram;

/// What one program cost in a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The program.
    pub name: &'static str,
    /// How often it ran.
    pub runs: u64,
    /// How long all of its runs took together, in nanoseconds.
    pub time_ns: u64,
    /// Instructions the verifier went through; 0 where the kernel does not tell (before 5.16).
    pub verified_instructions: u32,
    /// Bytes of kernel memory that it takes, its maps not counted.
    pub memory: u32,
}

/// Whether the kernel counts for every program, because the administrator has said so (`sysctl
/// kernel.bpf_stats_enabled=1`).
#[must_use]
pub fn are_counted() -> bool {
    fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").is_ok_and(|text| text.trim() == "1")
}

/// What each program cost since it was loaded, as far as the kernel counted.
#[must_use]
pub fn so_far(programs: &[LoadedProgram]) -> Vec<Cost> {
    let counted = counted(programs);
    let costs = programs.iter().filter_map(|program| {
        let (runs, time_ns, memory) = *counted.get(&program.id)?;
        Some(Cost {
            name: program.name,
            runs,
            time_ns,
            verified_instructions: program.verified_instructions,
            memory,
        })
    });
    costs.collect()
}

/// The statistics could not be had.
#[derive(Debug, thiserror::Error)]
#[error("counting what the programs cost: {0}")]
pub struct CostError(String);

/// Runs and time of each of our programs so far, by the kernel's id; with its memory.
fn counted(programs: &[LoadedProgram]) -> HashMap<u32, (u64, u64, u32)> {
    let mut found = HashMap::new();
    for info in loaded_programs() {
        // Somebody else's may be gone between two looks.
        let Ok(info) = info else { continue };
        if programs.iter().any(|program| program.id == info.id()) {
            let time = u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX);
            let memory = info.memory_locked().unwrap_or(0);
            found.insert(info.id(), (info.run_count(), time, memory));
        }
    }
    found
}

/// Counts for a while, during which each run takes a little longer. Blocks.
///
/// # Errors
/// When the kernel counts nothing: before 5.8, or without CAP_SYS_ADMIN.
pub fn measure(programs: &[LoadedProgram], time: Duration) -> Result<Vec<Cost>, CostError> {
    // The kernel counts as long as the descriptor is open.
    let counting =
        enable_stats(Stats::RunTime).map_err(|error| CostError(super::loader::chain(&error)))?;
    let before = counted(programs);
    thread::sleep(time);
    let after = counted(programs);
    drop(counting);
    Ok(programs
        .iter()
        .map(|program| {
            let nothing = (0, 0, 0);
            let (runs_before, time_before, _) = before.get(&program.id).unwrap_or(&nothing);
            let (runs, time_ns, memory) = after.get(&program.id).unwrap_or(&nothing);
            Cost {
                name: program.name,
                runs: runs.saturating_sub(*runs_before),
                time_ns: time_ns.saturating_sub(*time_before),
                verified_instructions: program.verified_instructions,
                memory: *memory,
            }
        })
        .collect())
}
