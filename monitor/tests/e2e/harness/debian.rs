//! An image of Debian with real servers, schedulers and compilers. `cargo xtask` makes its store.

use std::env;
use std::path::{Path, PathBuf};

/// Its name in the store.
pub(crate) const NAME: &str = "localhost/watchkeeper-debian:1";

/// The store that it is in: `WATCHKEEPER_DEBIAN`, or the one in the user's cache.
pub(crate) fn store() -> PathBuf {
    let path = env::var_os("WATCHKEEPER_DEBIAN").map_or_else(
        || {
            let home = env::var_os("HOME").unwrap_or_default();
            Path::new(&home).join(".cache/watchkeeper/debian/store")
        },
        PathBuf::from,
    );
    assert!(
        path.is_dir(),
        "{} is not there: `cargo xtask quiet` makes it; or name another store in WATCHKEEPER_DEBIAN",
        path.display()
    );
    path
}
