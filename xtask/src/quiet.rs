//! Runs healthy workloads beside an agent, and keeps a record of the alerts that they caused.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result};

use crate::toolchain::Toolchain;
use crate::{command, debian, packages, paths, programs, test};

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
    let mut cargo = toolchain.cargo();
    cargo.args(["test", "--package", "watchkeeper", "--test", "e2e", "--"]);
    cargo.args(["--test-threads=1", "quiet::"]);
    cargo.env(debian::STORE, debian::store(test::PURPOSE)?);
    let mut child = cargo
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not run `{}`", command::line(&cargo)))?;
    let mut found = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines() {
            let line = line.context("could not read what the test says")?;
            eprintln!("{line}");
            found.extend(line.strip_prefix(MARK).map(str::to_owned));
        }
    }
    let status = child.wait().context("could not wait for the test")?;
    if !status.success() {
        return Ok(ExitCode::FAILURE);
    }
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
