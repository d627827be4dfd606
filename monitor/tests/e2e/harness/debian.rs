//! An image of Debian with real servers, schedulers and compilers. `cargo xtask` makes its store.

use std::path::PathBuf;

use super::provided;

/// Its name in the store.
pub(crate) const NAME: &str = "localhost/watchkeeper-debian:1";

/// The store that it is in: `WATCHKEEPER_DEBIAN`, or the one in the user's cache.
pub(crate) fn store() -> PathBuf {
    provided("WATCHKEEPER_DEBIAN", "debian/store")
}
