//! Where things are: the repository, its build output, and the cache for what is fetched once per user.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// The root of the repository this program was built from.
pub(crate) fn repository() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Cargo's output directory.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => repository().join(directory),
        None => repository().join("target"),
    }
}

/// A program built by `cargo build --release`.
pub(crate) fn release_program(name: &str) -> PathBuf {
    target().join("release").join(name)
}

/// `$XDG_CACHE_HOME/watchkeeper` or `~/.cache/watchkeeper`, with `below` added; made when missing.
pub(crate) fn cache(below: impl AsRef<Path>) -> Result<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let Some(base) =
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
    else {
        bail!(
            "no place for downloads and tools: neither XDG_CACHE_HOME nor HOME holds an absolute path; set one of them"
        );
    };
    let directory = base.join("watchkeeper").join(below);
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("could not make the cache directory {}", directory.display()))?;
    Ok(directory)
}
