//! What the rules cost on an event of each common kind, as Criterion measures it.

use std::fmt::Write as _;

use anyhow::{Result, bail};

use super::{machine, tell};
use crate::command;
use crate::toolchain::Toolchain;

/// Where the record is, from the workspace's root.
const RECORD: &str = "xtask/records/policies.md";

/// Measures; writes the record where that is wanted.
pub(crate) fn run(record: bool) -> Result<()> {
    let toolchain = Toolchain::ensure()?;
    let mut bench = toolchain.cargo();
    bench.args([
        "bench",
        "--quiet",
        "--package",
        "watchkeeper",
        "--bench",
        "policy",
    ]);
    let measured = command::output(&mut bench, "measure what the rules cost")?;
    let report = report(&measured, &machine()?)?;
    tell(&report, record.then_some(RECORD))
}

fn report(measured: &str, machine: &str) -> Result<String> {
    let mut report = format!(
        "# What the rules cost\n\nThe whole built-in catalogue on one event that it finds nothing in, and loading it. Low, middle and high \
         estimate.\nWritten by `cargo xtask bench --policies --record` on {machine}.\n\n\
         | what | low | middle | high |\n| --- | --- | --- | --- |\n"
    );
    let figures = figures(measured);
    if figures.is_empty() {
        bail!("the benchmark printed no figures: {measured}");
    }
    for (name, [low, middle, high]) in figures {
        // Writing to a string does not fail.
        let _ = writeln!(report, "| {name} | {low} | {middle} | {high} |");
    }
    Ok(report)
}

/// Names with their figures: `NAME  time:   [1.2 µs 1.3 µs 1.4 µs]`, of which the name may stand on the line before.
fn figures(measured: &str) -> Vec<(String, [String; 3])> {
    let mut figures = Vec::new();
    let mut before = "";
    for line in measured.lines() {
        if let Some((name, rest)) = line.split_once("time:") {
            let name = match name.trim() {
                "" => before,
                name => name,
            };
            let words: Vec<&str> = rest
                .trim()
                .trim_matches(['[', ']'])
                .split_whitespace()
                .collect();
            if let [low, low_unit, middle, middle_unit, high, high_unit] = words[..] {
                figures.push((
                    name.to_owned(),
                    [
                        format!("{low} {low_unit}"),
                        format!("{middle} {middle_unit}"),
                        format!("{high} {high_unit}"),
                    ],
                ));
            }
        }
        before = line.trim();
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read() {
        let measured = "catalogue/exec          time:   [1.1 µs 1.2 µs 1.3 µs]\n\
                        catalogue/credential-change\n                        time:   [70.0 ns 71.0 ns 72.0 ns]\n";
        let found = figures(measured);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].0, "catalogue/exec");
        assert_eq!(found[1].0, "catalogue/credential-change");
        assert_eq!(found[1].1[1], "71.0 ns");
        assert!(report("nothing", "x").is_err());
    }
}
