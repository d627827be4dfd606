//! The programs that this workspace builds for use: the agent, and the actor that tests and demonstration run beside it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::toolchain::Toolchain;
use crate::{command, paths};

/// Builds the release agent, the kernel-side object in it; returns its path.
pub(crate) fn agent(toolchain: &Toolchain) -> Result<PathBuf> {
    build(toolchain, "watchkeeper", "watchkeeper")
}

/// Builds the actor; returns its path.
pub(crate) fn actor(toolchain: &Toolchain) -> Result<PathBuf> {
    build(toolchain, "xtask", "actor")
}

/// Builds the suite of end-to-end tests, which also runs in virtual machines; returns the path of a copy without debugging
/// information.
pub(crate) fn suite(toolchain: &Toolchain) -> Result<PathBuf> {
    let mut cargo = toolchain.cargo();
    cargo.args([
        "test",
        "--package",
        "watchkeeper",
        "--test",
        "e2e",
        "--no-run",
    ]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    let output = command::output(&mut cargo, "build the end-to-end tests")?;
    let built = output
        .lines()
        .filter_map(executable)
        .next_back()
        .context("cargo did not say where the end-to-end tests are")?;
    let stripped = paths::target().join("vm/suite");
    if let Some(directory) = stripped.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("could not make {}", directory.display()))?;
    }
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&stripped).arg(&built);
    command::run(&mut strip, "strip the end-to-end tests")?;
    Ok(stripped)
}

/// The test program that a message of cargo is about.
fn executable(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    // The agent is built beside it.
    let is_test = message["target"]["kind"] == serde_json::json!(["test"]);
    message["executable"]
        .as_str()
        .filter(|_| is_test)
        .map(PathBuf::from)
}

/// One package at a time: built together, two packages would change each other's dependencies' features.
fn build(toolchain: &Toolchain, package: &str, program: &str) -> Result<PathBuf> {
    let mut cargo = toolchain.cargo();
    cargo.args(["build", "--release", "--package", package, "--bin", program]);
    command::run(&mut cargo, &format!("build {program}"))?;
    Ok(paths::release_program(program))
}
