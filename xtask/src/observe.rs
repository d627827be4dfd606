//! Runs some of the end-to-end tests, and gathers the lines that they print for a record.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::command;
use crate::toolchain::Toolchain;

/// Runs the tests whose names have `name` in them, with what `prepare` adds to the command. Returns what follows `mark` in
/// the lines that begin with it; `None` where a test failed.
pub(crate) fn run(
    toolchain: &Toolchain,
    name: &str,
    mark: &str,
    prepare: impl FnOnce(&mut Command),
) -> Result<Option<Vec<String>>> {
    let mut cargo = toolchain.cargo();
    cargo.args(["test", "--package", "watchkeeper", "--test", "e2e", "--"]);
    cargo.args(["--test-threads=1", name]);
    prepare(&mut cargo);
    let mut child = cargo
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not run `{}`", command::line(&cargo)))?;
    let mut found = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines() {
            let line = line.context("could not read what the test says")?;
            eprintln!("{line}");
            found.extend(line.strip_prefix(mark).map(str::to_owned));
        }
    }
    let status = child.wait().context("could not wait for the test")?;
    Ok(status.success().then_some(found))
}
