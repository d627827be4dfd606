//! What the eBPF object needs beside rustc: `bpf-linker` for the same LLVM, and the sources of `core`.
//!
//! Both are checked on every build and cost a few file look-ups when they are there; nothing then goes over the network.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::archive::Archive;
use crate::install::{self, Tool};
use crate::{command, packages, paths};

/// The release that goes with aya 0.14 and rustc 1.95.
const BPF_LINKER: &str = "0.13.0";

/// Left beside sources that did not come from rustup: which release they are, so that a newer rustc does not get old ones.
const SOURCES_STAMP: &str = "watchkeeper-rust-src";

/// A toolchain that can build everything in the workspace.
pub(crate) struct Toolchain {
    path: OsString,
}

impl Toolchain {
    /// Makes sure that everything is there, and gets what is not.
    pub(crate) fn ensure() -> Result<Self> {
        let rustc = Rustc::ask()?;
        ensure_sources(&rustc)?;
        let path = install::path_with(&ensure_linker(&rustc)?)?;
        Ok(Self { path })
    }

    /// `cargo` in the repository, with bpf-linker on its PATH.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = install::cargo();
        cargo
            .env("PATH", &self.path)
            .current_dir(paths::repository());
        cargo
    }
}

/// The compiler's own word on itself.
struct Rustc {
    release: String,
    llvm: u32,
    sysroot: PathBuf,
}

impl Rustc {
    fn ask() -> Result<Self> {
        let rustc = || Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        let text = command::output(rustc().arg("-vV"), "ask rustc for its version")?;
        let sysroot = command::output(
            rustc().args(["--print", "sysroot"]),
            "ask rustc for its sysroot",
        )?;
        let field = |name: &str| {
            field(&text, name).with_context(|| {
                format!("rustc -vV tells no `{name}`; this needs rustc 1.95 from rust-lang.org")
            })
        };
        let llvm = field("LLVM version")?;
        Ok(Self {
            release: field("release")?.to_owned(),
            llvm: major(llvm).with_context(|| {
                format!("rustc tells an LLVM version of an unknown form: {llvm}")
            })?,
            sysroot: PathBuf::from(sysroot.trim_end()),
        })
    }

    /// Where `-Z build-std` looks for the sources.
    fn sources(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust")
    }
}

/// The directory of a bpf-linker that runs and links what this rustc emits.
fn ensure_linker(rustc: &Rustc) -> Result<PathBuf> {
    let llvm = rustc.llvm;
    let root = paths::cache(format!("tools/bpf-linker-{BPF_LINKER}-llvm-{llvm}"))?;
    let tool = Tool::new("bpf-linker", BPF_LINKER, root);
    // It is linked against a shared libLLVM, which may have been removed since: only a run tells.
    if tool.runs() {
        return Ok(tool.directory());
    }
    let prefix = match std::env::var_os("LLVM_PREFIX") {
        Some(prefix) => PathBuf::from(prefix),
        None => {
            let llvm_dev = format!("llvm-{llvm}-dev");
            packages::ensure(&[&llvm_dev, "libzstd-dev", "zlib1g-dev"], "build bpf-linker").with_context(|| {
                format!("could not get LLVM {llvm}; where it is installed under another name, set LLVM_PREFIX to its directory")
            })?;
            PathBuf::from(format!("/usr/lib/llvm-{llvm}"))
        }
    };
    if tool.runs() {
        return Ok(tool.directory());
    }
    println!(
        "building bpf-linker {BPF_LINKER} for LLVM {llvm}, the one of this rustc; once, about a minute"
    );
    tool.install(|install| {
        install
            .args(["--no-default-features", "--features"])
            .arg(format!("llvm-{llvm}"))
            .env("LLVM_PREFIX", prefix);
    })?;
    Ok(tool.directory())
}

fn ensure_sources(rustc: &Rustc) -> Result<()> {
    let sources = rustc.sources();
    let present = sources.join("library/core/src/lib.rs").is_file();
    let of_another_release = std::fs::read_to_string(sources.join(SOURCES_STAMP))
        .is_ok_and(|release| release.trim() != rustc.release);
    if present && !of_another_release {
        return Ok(());
    }
    println!(
        "getting the standard library's sources for rustc {} (rust-src)",
        rustc.release
    );
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", "rust-src"]);
    if command::exists("rustup")
        && command::status(&mut rustup, "add rust-src")?.success()
        && sources.join("library/core/src/lib.rs").is_file()
    {
        // What may be wrong with the stamp no longer matters: the sources are rustup's own now.
        let _ = std::fs::remove_file(sources.join(SOURCES_STAMP));
        return Ok(());
    }
    println!("rustup could not; trying Debian's package of the same release");
    sources_from_debian(rustc).with_context(|| {
        format!(
            "could not get the standard library's sources for rustc {}; by hand: {}",
            rustc.release,
            command::line(&rustup)
        )
    })
}

fn sources_from_debian(rustc: &Rustc) -> Result<()> {
    let archive = Archive::open("trixie-backports")?;
    let find = || -> Result<Option<String>> {
        let packages = archive.packages("rust-src")?;
        let of_release = |(name, version): &(String, String)| {
            name == "rust-src" && upstream(version) == rustc.release
        };
        Ok(packages
            .into_iter()
            .find(of_release)
            .map(|(_, version)| version))
    };
    let version = archive.search(find)?.with_context(|| {
        format!(
            "Debian's trixie-backports has no rust-src {}",
            rustc.release
        )
    })?;
    let sources = rustc.sources();
    // Beside its destination, so that the last step is a rename.
    let unpacked = sources.join(format!("unpacking-{}", std::process::id()));
    let moved = archive
        .unpack("rust-src", &version, &unpacked)
        .and_then(|()| {
            let library = unpacked.join(format!("usr/src/rustc-{}/library", rustc.release));
            let place = sources.join("library");
            if place.exists() {
                std::fs::remove_dir_all(&place)
                    .with_context(|| format!("could not remove the old {}", place.display()))?;
            }
            std::fs::rename(&library, &place).with_context(|| {
                format!(
                    "could not move {} to {}",
                    library.display(),
                    place.display()
                )
            })?;
            let stamp = sources.join(SOURCES_STAMP);
            std::fs::write(&stamp, &rustc.release)
                .with_context(|| format!("could not write {}", stamp.display()))
        });
    // Left-overs only take room.
    let _ = std::fs::remove_dir_all(&unpacked);
    moved
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

/// `1.95.0` of `1.95.0+dfsg1-2~bpo13+1`.
fn upstream(version: &str) -> &str {
    let end = version.find(['+', '-', '~']).unwrap_or(version.len());
    &version[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_and_llvm_are_read_from_rustc() {
        let text = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\nrelease: 1.95.0\nLLVM version: 22.1.2\n/opt/rust\n";
        assert_eq!(field(text, "release"), Some("1.95.0"));
        assert_eq!(field(text, "LLVM version").and_then(major), Some(22));
        assert_eq!(field(text, "host"), None);
        assert_eq!(major("unknown"), None);
    }

    #[test]
    fn upstream_release_of_a_debian_version() {
        for (version, release) in [
            ("1.95.0+dfsg1-2~bpo13+1", "1.95.0"),
            ("1.95.0-1", "1.95.0"),
            ("1.96.0~beta.2", "1.96.0"),
        ] {
            assert_eq!(upstream(version), release);
        }
    }
}
