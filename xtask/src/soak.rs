//! Has twenty thousand containers come and go beside an agent, and keeps a record of what the agent held meanwhile.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::toolchain::Toolchain;
use crate::{bench, command, observe, paths, programs};

/// Where the record is, from the workspace's root.
const RECORD: &str = "xtask/records/soak.md";

/// How lines of the test begin that the record is made of.
const MARK: &str = "soak ";

/// What each container is.
const WHAT: &str = "Each container is a cgroup in one of its own for the pod, new namespaces, a first program that runs another, now and
then a watched file and a connection; then all of it is removed. Three make them at a time. The agent has its default settings. The
figures are those after so many containers; those of the kernel's tables are entries. What may be left at the end, the test
`soak` asserts.
";

/// Columns of the record: the name of the figure, and its heading.
const COLUMNS: [(&str, &str); 10] = [
    ("containers", "containers"),
    ("resident", "memory, KiB"),
    ("descriptors", "descriptors"),
    ("threads", "threads"),
    ("events", "events"),
    ("alerts", "alerts"),
    ("lost", "lost"),
    ("CGROUPS", "cgroups"),
    ("BUDGETS", "budgets"),
    ("CREDENTIALS", "credentials"),
];

/// Runs the test; writes the record where that is wanted and nothing stayed behind.
pub(crate) fn run(record: bool) -> Result<ExitCode> {
    if !command::is_root() {
        bail!("loading eBPF programs takes root; run it with sudo");
    }
    let toolchain = Toolchain::ensure()?;
    programs::agent(&toolchain)?;
    programs::actor(&toolchain)?;
    let Some(found) = observe::run(&toolchain, "soak::", MARK, |_| {})? else {
        return Ok(ExitCode::FAILURE);
    };
    if record {
        let path = paths::repository().join(RECORD);
        fs::write(&path, report(&found, &bench::machine()?))
            .with_context(|| format!("could not write {}", path.display()))?;
        println!("the record is in {RECORD}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The record for lines such as `sample containers=0 resident=9932` and `seconds 150`.
fn report(lines: &[String], machine: &str) -> String {
    let seconds = lines.iter().find_map(|line| line.strip_prefix("seconds "));
    let headings: Vec<&str> = COLUMNS.iter().map(|(_, heading)| *heading).collect();
    let mut text = format!(
        "# Containers that come and go\n\nWritten by `cargo xtask soak --record` on {machine}, in {} s.\n\n{WHAT}\n| {} |\n|{}\n",
        seconds.unwrap_or("?"),
        headings.join(" | "),
        " ---: |".repeat(COLUMNS.len())
    );
    let mut others: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for line in lines {
        let Some(sample) = line.strip_prefix("sample ") else {
            continue;
        };
        let figures: BTreeMap<&str, &str> = sample
            .split_whitespace()
            .filter_map(|figure| figure.split_once('='))
            .collect();
        let row: Vec<&str> = COLUMNS
            .iter()
            .map(|(name, _)| figures.get(name).copied().unwrap_or(""))
            .collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {} |", row.join(" | "));
        for (name, value) in figures {
            if !COLUMNS.iter().any(|(column, _)| *column == name) {
                others
                    .entry(name)
                    .or_default()
                    .extend(value.parse::<u64>().ok());
            }
        }
    }
    let most: Vec<String> = others
        .iter()
        .map(|(name, values)| format!("{name} {}", values.iter().max().unwrap_or(&0)))
        .collect();
    let _ = writeln!(
        text,
        "\nMost entries of the other tables: {}.",
        most.join(", ")
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_a_table() {
        let lines = [
            "sample containers=0 resident=9932 lost=0 CGROUPS=3 FLOWS=0",
            "sample containers=2000 resident=50648 lost=1 CGROUPS=4 FLOWS=7",
            "seconds 150",
            "nonsense",
        ];
        let report = report(&lines.map(str::to_owned), "Linux 1.0");
        for line in [
            "on Linux 1.0, in 150 s.\n",
            "| 2000 | 50648 |  |  |  |  | 1 | 4 |  |  |\n",
            "other tables: FLOWS 7.\n",
        ] {
            assert!(report.contains(line), "{line} is not in\n{report}");
        }
    }
}
