//! What podman's storage says of a container. Podman has no daemon to ask: the container's monitor (conmon)
//! names the container's directory in its arguments, and the storage beside it keeps names and images.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::process::execution::{Execution, base_name};

/// Most bytes read of one file of the storage.
const MAX_FILE: u64 = 16 << 20;

/// The names of a container and its image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Name of the container.
    pub name: String,
    /// Image as it was asked for.
    pub image: String,
    /// Digest of the image's manifest, or its id.
    pub image_digest: String,
}

/// The storage could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PodmanError {
    /// A file can't be read.
    #[error("reading podman's storage, {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file does not have the form it had so far.
    #[error("reading podman's storage, {path}: {source}")]
    Form {
        /// The file.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// An entry of `overlay-containers/containers.json`.
#[derive(Deserialize)]
struct StoredContainer {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    image: String,
    /// JSON in a string.
    #[serde(default)]
    metadata: String,
}

#[derive(Default, Deserialize)]
struct StoredMetadata {
    #[serde(default, rename = "image-name")]
    image_name: String,
}

/// An entry of `overlay-images/images.json`.
#[derive(Deserialize)]
struct StoredImage {
    id: String,
    #[serde(default)]
    digest: String,
}

/// The storage that holds a container, from the arguments of its monitor: `-b STORAGE/overlay-containers/ID/userdata`.
/// `None` when the process is not the monitor of this container.
#[must_use]
pub fn storage_from_monitor(monitor: &Execution, id: &str) -> Option<PathBuf> {
    if base_name(&monitor.exe) != "conmon" {
        return None;
    }
    let value_of = |option: &str| {
        let position = monitor
            .argv
            .iter()
            .position(|argument| argument == option)?;
        monitor.argv.get(position + 1)
    };
    if value_of("-c")? != id {
        return None;
    }
    let bundle = Path::new(value_of("-b")?);
    // STORAGE / overlay-containers / ID / userdata
    let containers = bundle.parent()?.parent()?;
    let named = |path: &Path, name: &str| path.file_name().is_some_and(|last| last == name);
    (named(bundle, "userdata") && named(containers, "overlay-containers"))
        .then(|| containers.parent().map(Path::to_path_buf))?
}

/// Looks a container up; `None` when the storage does not have it.
///
/// # Errors
/// When the storage can't be read.
pub fn describe(storage: &Path, id: &str) -> Result<Option<Description>, PodmanError> {
    let containers: Vec<StoredContainer> =
        read(&storage.join("overlay-containers/containers.json"))?;
    let Some(container) = containers.into_iter().find(|container| container.id == id) else {
        return Ok(None);
    };
    let metadata: StoredMetadata = serde_json::from_str(&container.metadata).unwrap_or_default();
    let images: Vec<StoredImage> =
        read(&storage.join("overlay-images/images.json")).unwrap_or_default();
    let image_digest = images
        .into_iter()
        .find(|image| image.id == container.image)
        .map(|image| image.digest)
        .filter(|digest| !digest.is_empty())
        .unwrap_or(container.image);
    Ok(Some(Description {
        name: container.names.into_iter().next().unwrap_or_default(),
        image: metadata.image_name,
        image_digest,
    }))
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Vec<T>, PodmanError> {
    let read_error = |source| PodmanError::Read {
        path: path.display().to_string(),
        source,
    };
    let length = fs::metadata(path).map_err(read_error)?.len();
    if length > MAX_FILE {
        return Err(read_error(io::Error::other(format!(
            "{length} bytes are more than the {MAX_FILE} that are read"
        ))));
    }
    let content = fs::read(path).map_err(read_error)?;
    serde_json::from_slice(&content).map_err(|source| PodmanError::Form {
        path: path.display().to_string(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::execution::{ProcessKey, tests::process};

    fn monitor(exe: &str, argv: &[&str]) -> Execution {
        let key = ProcessKey {
            pid: 1,
            start_ticks: 1,
        };
        let mut program = (*process(key, None, exe).program).clone();
        program.argv = argv.iter().map(|&argument| argument.to_owned()).collect();
        program
    }

    #[test]
    fn the_monitor_names_the_storage() {
        let argv = [
            "/usr/bin/conmon",
            "-c",
            "abc",
            "-b",
            "/s/overlay-containers/abc/userdata",
            "-n",
            "web",
        ];
        let conmon = monitor("/usr/bin/conmon", &argv);
        assert_eq!(
            storage_from_monitor(&conmon, "abc"),
            Some(PathBuf::from("/s"))
        );
        assert_eq!(
            storage_from_monitor(&conmon, "abd"),
            None,
            "another container's"
        );
        assert_eq!(storage_from_monitor(&monitor("/bin/x", &argv), "abc"), None);
        let odd = ["conmon", "-c", "abc", "-b", "/etc"];
        assert_eq!(
            storage_from_monitor(&monitor("/usr/bin/conmon", &odd), "abc"),
            None
        );
    }

    #[test]
    fn names_and_images_come_from_the_storage() {
        let storage = tempfile::tempdir().expect("temporary directory");
        for directory in ["overlay-containers", "overlay-images"] {
            fs::create_dir(storage.path().join(directory)).expect("created");
        }
        fs::write(
            storage.path().join("overlay-containers/containers.json"),
            r#"[{"id":"abc","names":["web"],"image":"i1","metadata":"{\"image-name\":\"registry/app:1\"}"}]"#,
        )
        .expect("written");
        fs::write(
            storage.path().join("overlay-images/images.json"),
            r#"[{"id":"i1","digest":"sha256:d"}]"#,
        )
        .expect("written");
        assert_eq!(
            describe(storage.path(), "abc").expect("read"),
            Some(Description {
                name: "web".to_owned(),
                image: "registry/app:1".to_owned(),
                image_digest: "sha256:d".to_owned()
            })
        );
        assert_eq!(describe(storage.path(), "other").expect("read"), None);
        assert!(describe(Path::new("/nonexistent"), "abc").is_err());
    }
}
