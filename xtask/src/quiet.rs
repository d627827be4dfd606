//! Runs healthy workloads beside an agent, and keeps a record of the alerts that they caused.

use std::fmt::Write as _;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::toolchain::Toolchain;
use crate::{debian, observe, packages, paths, programs, test};

/// Where the record is, from the workspace's root.
const RECORD: &str = "xtask/records/quiet.md";

/// How lines of the test begin that the record is made of.
const MARK: &str = "quiet ";

const HEADING: &str = "# Alerts on healthy workloads

Each runs in containers of its own, all of them at once, beside an agent with the rules that are built in. None of the alerts may be
of high or critical severity. Alerts per hour are those of the run, extrapolated; most come once, when a container starts.
Written by `cargo xtask quiet --record`.

| workload | seconds | rule | severity | alerts | per hour |
| --- | ---: | --- | --- | ---: | ---: |
";

/// Runs the workloads; writes the record where that is wanted and all was quiet.
pub(crate) fn run(record: bool) -> Result<ExitCode> {
    let toolchain = Toolchain::ensure()?;
    programs::agent(&toolchain)?;
    packages::ensure(&test::RUNTIMES, test::PURPOSE)?;
    let store = debian::store(test::PURPOSE)?;
    let found = observe::run(&toolchain, "quiet::", MARK, |cargo| {
        cargo.env(debian::STORE, store);
    })?;
    let Some(found) = found else {
        return Ok(ExitCode::FAILURE);
    };
    if record {
        let path = paths::repository().join(RECORD);
        fs::write(&path, format!("{HEADING}{}", table(&found)))
            .with_context(|| format!("could not write {}", path.display()))?;
        println!("the record is in {RECORD}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Rows for lines such as `web-server 21 s exec.injected low 2 343/h` and `web-server 21 s none`.
fn table(lines: &[String]) -> String {
    let mut rows = String::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        // Writing to a string does not fail.
        let _ = match words[..] {
            [workload, seconds, "s", "none"] => {
                writeln!(rows, "| {workload} | {seconds} | none | | 0 | 0 |")
            }
            [workload, seconds, "s", rule, severity, count, rate] => {
                let rate = rate.trim_end_matches("/h");
                writeln!(
                    rows,
                    "| {workload} | {seconds} | {rule} | {severity} | {count} | {rate} |"
                )
            }
            _ => Ok(()),
        };
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_rows() {
        let lines = [
            "web-server 21 s none",
            "database 30 s exec.loader medium 2 240/h",
            "nonsense",
        ];
        assert_eq!(
            table(&lines.map(str::to_owned)),
            "| web-server | 21 | none | | 0 | 0 |\n| database | 30 | exec.loader | medium | 2 | 240 |\n"
        );
    }
}
