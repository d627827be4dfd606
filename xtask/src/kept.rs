//! What takes long to make: made once for each recipe, and kept in the cache.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Has `make` fill `directory`, which is empty then, unless it was filled by the same recipe before.
pub(crate) fn once(
    directory: &Path,
    recipe: &str,
    make: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let complete = directory.join("complete");
    if fs::read_to_string(&complete).is_ok_and(|made| made == recipe) {
        return Ok(());
    }
    // By an older recipe, or what a broken-off run left.
    fs::remove_dir_all(directory)
        .and_then(|()| fs::create_dir(directory))
        .with_context(|| format!("could not empty {}", directory.display()))?;
    make()?;
    // Written last: what a broken-off run left is not taken for all of it.
    fs::write(&complete, recipe).with_context(|| format!("could not write {}", complete.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_again_for_another_recipe_and_after_a_failure() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("kept");
        fs::create_dir(&path).expect("a directory can be made");
        let mut made = 0;
        let mut kept = |recipe: &str, works: bool| {
            once(&path, recipe, || {
                made += 1;
                assert_eq!(fs::read_dir(&path)?.count(), 0, "it is empty");
                fs::write(path.join("content"), recipe)?;
                anyhow::ensure!(works, "it fails");
                Ok(())
            })
        };
        assert!(kept("a", false).is_err());
        assert!(kept("a", true).is_ok());
        assert!(kept("a", true).is_ok());
        assert!(kept("b", true).is_ok());
        assert_eq!(made, 3);
    }
}
