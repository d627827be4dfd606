//! What the programs cost: how often each ran in a while, and for how long, from the kernel's own statistics.

use std::{collections::HashMap, fs, os::fd::AsRawFd as _, thread, time::Duration};

use aya::sys::{Stats, enable_stats};

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

/// Runs and time of each of our programs so far, by the kernel's id; with its memory. From procfs, which asks for no
/// capability.
fn counted(programs: &[LoadedProgram]) -> HashMap<u32, (u64, u64, u32)> {
    let found = programs.iter().filter_map(|program| {
        let number = program.descriptor.as_raw_fd();
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
        let memory = u32::try_from(field(&text, "memlock:")).unwrap_or(u32::MAX);
        let (runs, time) = (field(&text, "run_cnt:"), field(&text, "run_time_ns:"));
        Some((program.id, (runs, time, memory)))
    });
    found.collect()
}

/// A number of `/proc/self/fdinfo` of a program (kernel/bpf/syscall.c, `bpf_prog_show_fdinfo`); 0 where the kernel does not tell.
fn field(text: &str, name: &str) -> u64 {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name));
    value
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

/// Counts for a while, during which each run takes a little longer. Blocks.
///
/// # Errors
/// When the kernel counts nothing: where nobody asks it to, or it does not let itself be asked (before 5.8).
pub fn measure(programs: &[LoadedProgram], time: Duration) -> Result<Vec<Cost>, CostError> {
    // The kernel counts as long as the descriptor is open. An agent that has given up CAP_SYS_ADMIN leaves that to its client.
    let counting = enable_stats(Stats::RunTime);
    let before = counted(programs);
    thread::sleep(time);
    let after = counted(programs);
    if let Err(error) = &counting
        && before == after
        && !programs.is_empty()
    {
        return Err(CostError(format!(
            "the kernel counts nothing ({}); ask with `watchkeeper status --programs` as root on the node, or have it count all the \
             time with `sysctl kernel.bpf_stats_enabled=1`",
            super::loader::chain(error)
        )));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_program_are_read() {
        let text = "pos:\t0\nmemlock:\t8192\nrun_time_ns:\t1200\nrun_cnt:\t3\n";
        assert_eq!(field(text, "run_cnt:"), 3);
        assert_eq!(field(text, "run_time_ns:"), 1_200);
        assert_eq!(field(text, "recursion_misses:"), 0);
    }
}
