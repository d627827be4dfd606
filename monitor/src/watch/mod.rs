//! The files whose use is reported: whole paths here, single names in the kernel's map.

pub mod pattern;

use std::{collections::HashMap, fs, path::Path};

use serde::Deserialize;
use watchkeeper_ebpf::watch::{self, CHANGE, READ, WRITE, Watching};

use pattern::Pattern;

/// The list that is built in.
const BUILT_IN: &str = include_str!("../../policies/watch.yaml");

/// A list could not be read.
#[derive(Debug, thiserror::Error)]
#[error("reading the list of watched files {place}: {reason}")]
pub struct WatchError {
    place: String,
    reason: String,
}

/// A file of the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    files: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    access: Vec<Access>,
    paths: Vec<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Access {
    Read,
    Write,
    Change,
}

impl Access {
    fn bit(self) -> u32 {
        match self {
            Self::Read => READ,
            Self::Write => WRITE,
            Self::Change => CHANGE,
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct WatchList {
    entries: Vec<Watched>,
}

#[derive(Clone, Debug)]
struct Watched {
    name: String,
    access: u32,
    patterns: Vec<Pattern>,
}

impl WatchList {
    /// The list that is built in.
    ///
    /// # Panics
    /// Never: a test reads it.
    #[must_use]
    pub fn built_in() -> Self {
        let entries = parse("watch.yaml", BUILT_IN).expect("the built-in list is tested");
        Self { entries }
    }

    /// The built-in list together with the operator's, where there is one. An entry of the same name replaces the built-in
    /// one.
    ///
    /// # Errors
    /// When the file can't be read, or says something that is not understood.
    pub fn load(file: Option<&Path>) -> Result<Self, WatchError> {
        let mut list = Self::built_in();
        let Some(path) = file else {
            return Ok(list);
        };
        let place = path.display().to_string();
        let content = fs::read_to_string(path).map_err(|error| WatchError {
            place: place.clone(),
            reason: error.to_string(),
        })?;
        let own = parse(&place, &content)?;
        list.entries
            .retain(|entry| own.iter().all(|own| own.name != entry.name));
        list.entries.extend(own);
        Ok(list)
    }

    /// Names of the entries that one of the paths is in, for an access with these bits.
    #[must_use]
    pub fn reasons<const N: usize>(&self, paths: [&str; N], access: u32) -> Vec<String> {
        let paths = paths.map(pattern::components);
        self.entries
            .iter()
            .filter(|entry| entry.access & access != 0)
            .filter(|entry| {
                entry
                    .patterns
                    .iter()
                    .any(|pattern| paths.iter().any(|path| pattern.matches(path)))
            })
            .map(|entry| entry.name.clone())
            .collect()
    }

    /// What the kernel's maps have to hold: bits by the hash of a name, and which lengths names have.
    #[must_use]
    pub fn names(&self) -> (HashMap<u64, u32>, Watching) {
        let mut names = HashMap::new();
        let mut watching = Watching::default();
        for entry in &self.entries {
            for pattern in &entry.patterns {
                let name = pattern.name().as_bytes();
                *names.entry(watch::hash(name)).or_default() |= entry.access;
                watching.lengths |= 1 << name.len();
            }
        }
        (names, watching)
    }
}

fn parse(place: &str, content: &str) -> Result<Vec<Watched>, WatchError> {
    let error = |reason: String| WatchError {
        place: place.to_owned(),
        reason,
    };
    let document: Document =
        serde_saphyr::from_str(content).map_err(|reason| error(reason.to_string()))?;
    document
        .files
        .into_iter()
        .map(|entry| {
            let patterns: Result<Vec<Pattern>, String> = entry
                .paths
                .iter()
                .map(|path| Pattern::parse(path))
                .collect();
            Ok(Watched {
                access: entry
                    .access
                    .iter()
                    .fold(0, |bits, access| bits | access.bit()),
                patterns: patterns.map_err(|reason| error(format!("{}: {reason}", entry.name)))?,
                name: entry.name,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use watchkeeper_ebpf::watch::MAX_NAMES;

    use super::*;

    #[test]
    fn the_built_in_list_fits_the_kernel() {
        let (names, watching) = WatchList::built_in().names();
        assert!(names.len() < MAX_NAMES as usize / 2, "{}", names.len());
        assert_eq!(
            names.get(&watch::hash(b"shadow")),
            Some(&(READ | WRITE | CHANGE))
        );
        assert_ne!(watching.lengths & 1 << "shadow".len(), 0);
        assert_eq!(watching.lengths & 1, 0, "no name is empty");
    }

    #[test]
    fn a_path_has_the_names_of_its_entries() {
        let list = WatchList::built_in();
        assert_eq!(list.reasons(["/etc/shadow"], READ), ["shadow"]);
        assert_eq!(list.reasons(["/etc/passwd"], READ), [""; 0]);
        assert_eq!(list.reasons(["/etc/passwd"], WRITE), ["accounts"]);
        assert_eq!(
            list.reasons(
                ["/run/secrets/kubernetes.io/serviceaccount/..2026/token"],
                READ
            ),
            ["service-account-token"]
        );
        assert_eq!(
            list.reasons(["/x", "/home/a/.ssh/id_rsa"], READ),
            ["ssh-keys"]
        );
        assert_eq!(list.reasons(["/var/log/auth.log"], WRITE), [""; 0]);
        assert_eq!(
            list.reasons(["/var/log/auth.log"], WRITE | CHANGE),
            ["logs"]
        );
    }

    #[test]
    fn an_operators_entry_replaces_the_built_in_one() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let file = directory.path().join("watch.yaml");
        let error = WatchList::load(Some(&file)).expect_err("it is not there");
        assert!(error.to_string().contains("watch.yaml"), "{error}");
        fs::write(
            &file,
            "files:\n  - {name: shadow, access: [read], paths: [/srv/secret]}\n",
        )
        .expect("written");
        let list = WatchList::load(Some(&file)).expect("valid");
        assert_eq!(list.reasons(["/srv/secret"], READ), ["shadow"]);
        assert_eq!(list.reasons(["/etc/shadow"], READ), [""; 0]);

        for (content, what) in [
            ("files:\n  - {name: x, access: [run], paths: []}\n", "run"),
            (
                "files:\n  - {name: x, access: [read], paths: ['**']}\n",
                "x: **",
            ),
        ] {
            fs::write(&file, content).expect("written");
            let error = WatchList::load(Some(&file)).expect_err("invalid");
            assert!(error.to_string().contains(what), "{error}");
        }
    }
}
