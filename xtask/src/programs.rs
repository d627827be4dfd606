//! The programs that this workspace builds for use: the agent, and the actor that tests and demonstration run beside it.

use std::path::PathBuf;

use anyhow::Result;

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

/// One package at a time: built together, two packages would change each other's dependencies' features.
fn build(toolchain: &Toolchain, package: &str, program: &str) -> Result<PathBuf> {
    let mut cargo = toolchain.cargo();
    cargo.args(["build", "--release", "--package", package, "--bin", program]);
    command::run(&mut cargo, &format!("build {program}"))?;
    Ok(paths::release_program(program))
}
