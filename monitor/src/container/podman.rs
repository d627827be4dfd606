//! What podman's storage says of a container. Podman has no daemon to ask: the container's monitor (conmon)
//! names the container's directory in its arguments, and the storage beside it keeps names and images.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use serde::Deserialize;

use super::model::Description;
use crate::process::execution::{Execution, base_name};

/// Most bytes read of one file of the storage.
const MAX_FILE: u64 = 16 << 20;

/// Where a container is stored, and whose that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    path: PathBuf,
    /// The user whose monitor named it: nothing of another's is read.
    owner: u32,
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
pub fn storage_from_monitor(monitor: &Execution, id: &str) -> Option<Storage> {
    if base_name(&monitor.exe) != "conmon" {
        return None;
    }
    let argv = monitor.argv.to_vec();
    let value_of = |option: &str| {
        let position = argv.iter().position(|argument| argument == option)?;
        argv.get(position + 1)
    };
    if value_of("-c")? != id {
        return None;
    }
    let bundle = Path::new(value_of("-b")?);
    // STORAGE / overlay-containers / ID / userdata
    let containers = bundle.parent()?.parent()?;
    let named = |path: &Path, name: &str| path.file_name().is_some_and(|last| last == name);
    (named(bundle, "userdata") && named(containers, "overlay-containers")).then(|| {
        Some(Storage {
            path: containers.parent()?.to_path_buf(),
            owner: monitor.credentials.euid,
        })
    })?
}

/// Looks a container up; `None` when the storage does not have it.
///
/// # Errors
/// When the storage can't be read.
pub fn describe(storage: &Storage, id: &str) -> Result<Option<Description>, PodmanError> {
    let containers: Vec<StoredContainer> = storage.read("overlay-containers/containers.json")?;
    let Some(container) = containers.into_iter().find(|container| container.id == id) else {
        return Ok(None);
    };
    let metadata: StoredMetadata = serde_json::from_str(&container.metadata).unwrap_or_default();
    let images: Vec<StoredImage> = storage
        .read("overlay-images/images.json")
        .unwrap_or_default();
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
        ..Description::default()
    }))
}

impl Storage {
    /// Reads a file of the storage. The owner may be anybody: what is read is a regular file of theirs, of limited
    /// size, and not one that a link leads to.
    fn read<T: for<'a> Deserialize<'a>>(&self, name: &str) -> Result<Vec<T>, PodmanError> {
        let path = self.path.join(name);
        let read_error = |source| PodmanError::Read {
            path: path.display().to_string(),
            source,
        };
        let file = fs::File::options()
            .read(true)
            .custom_flags(
                (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY)
                    .bits()
                    .cast_signed(),
            )
            .open(&path)
            .map_err(read_error)?;
        let metadata = file.metadata().map_err(read_error)?;
        if !metadata.is_file() || metadata.uid() != self.owner {
            return Err(read_error(io::Error::other(
                "it is not a regular file of the user whose container it is",
            )));
        }
        let mut content = Vec::new();
        file.take(MAX_FILE)
            .read_to_end(&mut content)
            .map_err(read_error)?;
        serde_json::from_slice(&content).map_err(|source| PodmanError::Form {
            path: path.display().to_string(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::execution::{Arguments, ProcessKey, tests::process};

    fn monitor(exe: &str, argv: &[&str]) -> Execution {
        let key = ProcessKey {
            pid: 1,
            start_ticks: 1,
        };
        let mut program = (*process(key, None, exe).program).clone();
        program.argv = Arguments::new(argv.join("\0").as_bytes());
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
            storage_from_monitor(&conmon, "abc").map(|storage| storage.path),
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
        let mine = |path: &Path| Storage {
            path: path.to_path_buf(),
            owner: rustix::process::geteuid().as_raw(),
        };
        let own = mine(storage.path());
        assert_eq!(
            describe(&own, "abc").expect("read"),
            Some(Description {
                name: "web".to_owned(),
                image: "registry/app:1".to_owned(),
                image_digest: "sha256:d".to_owned(),
                ..Description::default()
            })
        );
        assert_eq!(describe(&own, "other").expect("read"), None);
        assert!(describe(&mine(Path::new("/nonexistent")), "abc").is_err());
        let anothers = Storage {
            owner: own.owner + 1,
            ..own.clone()
        };
        assert!(describe(&anothers, "abc").is_err(), "of another user");
        let list = storage.path().join("overlay-containers/containers.json");
        fs::rename(&list, storage.path().join("elsewhere")).expect("renamed");
        std::os::unix::fs::symlink(storage.path().join("elsewhere"), &list).expect("linked");
        assert!(describe(&own, "abc").is_err(), "behind a link");
    }
}
