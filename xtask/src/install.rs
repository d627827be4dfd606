//! Programs from crates.io that a step needs: built into the cache, each version in a directory of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::command;

/// A version of a program, installed or not.
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
    root: PathBuf,
}

impl Tool {
    /// `root` is its directory in the cache.
    pub(crate) fn new(name: &'static str, version: &'static str, root: PathBuf) -> Self {
        Self {
            name,
            version,
            root,
        }
    }

    /// The directory to put on the PATH.
    pub(crate) fn directory(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// Whether it is here and runs: a library that it is linked against may have been removed since.
    pub(crate) fn runs(&self) -> bool {
        runs(&self.directory().join(self.name))
    }

    /// Builds it. `prepare` adds arguments and environment of its own to `cargo install`.
    pub(crate) fn install(&self, prepare: impl FnOnce(&mut Command)) -> Result<()> {
        let Self {
            name,
            version,
            root,
        } = self;
        let mut install = cargo();
        install.args(["install", name, "--version", version, "--locked", "--force"]);
        install.arg("--root").arg(root);
        prepare(&mut install);
        // Warnings and wrappers that are meant for this workspace don't concern another program's build.
        install
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        install
            .env("CARGO_TARGET_DIR", root.join("target"))
            .current_dir(root);
        command::run(&mut install, &format!("build {name} {version}"))?;
        if !self.runs() {
            bail!(
                "{name} was built but does not run\n  see why: {0} --version\n  then remove {1} and try again",
                self.directory().join(name).display(),
                root.display()
            );
        }
        // Hundreds of megabytes of build output that nothing needs any more; what can't be removed only takes room.
        let _ = std::fs::remove_dir_all(root.join("target"));
        Ok(())
    }
}

fn runs(program: &Path) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Our PATH with `directory` before all others.
pub(crate) fn path_with(directory: &Path) -> Result<OsString> {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::iter::once(directory.to_owned()).chain(std::env::split_paths(&old));
    std::env::join_paths(directories).with_context(|| {
        format!(
            "could not put {} on the PATH: it holds a colon",
            directory.display()
        )
    })
}

/// The cargo that runs us, or the one on the PATH. What it set for this program's own build is not for its children.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
            || text.starts_with("CARGO_BIN_")
        {
            cargo.env_remove(&name);
        }
    }
    cargo
}
