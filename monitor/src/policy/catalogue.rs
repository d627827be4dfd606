//! The rules in force: the built-in ones, with the operator's changes.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::file::{API_VERSION, PolicyFile, Rule};

/// The built-in files, by the name they have in alerts.
const BUILT_IN: [(&str, &str); 1] = [(
    "builtin/execution.yaml",
    include_str!("../../policies/execution.yaml"),
)];

/// Most bytes of a policy file: the limit of a ConfigMap.
const MAX_FILE: u64 = 1 << 20;

/// A rule in force.
#[derive(Clone, Debug)]
pub struct ActiveRule {
    /// The rule, with changes applied.
    pub rule: Rule,
    /// The file it is from.
    pub policy: String,
}

/// The rules in force, by id.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    rules: HashMap<String, Arc<ActiveRule>>,
}

/// A policy that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The directory or a file can't be read.
    #[error("reading policies from {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not a policy.
    #[error("policy {path}: {reason}")]
    Invalid {
        /// Which.
        path: PathBuf,
        /// Why, with line and column where the text is at fault.
        reason: String,
    },
}

impl Catalogue {
    /// The built-in rules, changed by the files in `directory`: `*.yaml` and `*.yml`, in the order of their names.
    ///
    /// # Errors
    /// When the directory or a file in it can't be read, or is not a valid policy.
    pub fn load(directory: Option<&Path>) -> Result<Self, PolicyError> {
        let mut catalogue = Self::default();
        for (name, content) in BUILT_IN {
            let file = parse(Path::new(name), content)?;
            for rule in file.rules {
                catalogue.rules.insert(
                    rule.id.clone(),
                    Arc::new(ActiveRule {
                        rule,
                        policy: name.to_owned(),
                    }),
                );
            }
        }
        let Some(directory) = directory else {
            return Ok(catalogue);
        };
        for path in files(directory)? {
            let content = read(&path)?;
            let file = parse(&path, &content)?;
            catalogue.apply(&path, file)?;
        }
        Ok(catalogue)
    }

    /// A rule, unless it is switched off.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<ActiveRule>> {
        self.rules.get(id)
    }

    fn apply(&mut self, path: &Path, file: PolicyFile) -> Result<(), PolicyError> {
        let invalid = |reason: String| PolicyError::Invalid {
            path: path.to_path_buf(),
            reason,
        };
        if !file.rules.is_empty() {
            return Err(invalid(
                "`rules` is for the built-in catalogue; change a built-in rule with `overrides`"
                    .to_owned(),
            ));
        }
        for change in file.overrides {
            let Some(active) = self.rules.get_mut(&change.rule) else {
                let mut known: Vec<_> = self.rules.keys().map(String::as_str).collect();
                known.sort_unstable();
                return Err(invalid(format!(
                    "there is no rule `{}` (rules: {})",
                    change.rule,
                    known.join(", ")
                )));
            };
            if change.enabled == Some(false) {
                self.rules.remove(&change.rule);
                continue;
            }
            if let Some(severity) = change.severity {
                let active = Arc::make_mut(active);
                active.rule.severity = severity;
                active.policy = path.display().to_string();
            }
        }
        Ok(())
    }
}

fn files(directory: &Path) -> Result<Vec<PathBuf>, PolicyError> {
    let read_error = |source| PolicyError::Read {
        path: directory.to_path_buf(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(read_error)? {
        let path = entry.map_err(read_error)?.path();
        let is_yaml = path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_yaml {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, PolicyError> {
    let read_error = |source| PolicyError::Read {
        path: path.to_path_buf(),
        source,
    };
    let length = fs::metadata(path).map_err(read_error)?.len();
    if length > MAX_FILE {
        return Err(read_error(io::Error::other(format!(
            "{length} bytes are more than the {MAX_FILE} that a policy may have"
        ))));
    }
    fs::read_to_string(path).map_err(read_error)
}

fn parse(path: &Path, content: &str) -> Result<PolicyFile, PolicyError> {
    let invalid = |reason: String| PolicyError::Invalid {
        path: path.to_path_buf(),
        reason,
    };
    let file: PolicyFile =
        serde_saphyr::from_str(content).map_err(|error| invalid(one_line(&error.to_string())))?;
    if file.api_version != API_VERSION || file.kind != "Policy" {
        return Err(invalid(format!(
            "apiVersion `{}`, kind `{}`: only `{API_VERSION}`, `Policy` is understood",
            file.api_version, file.kind
        )));
    }
    Ok(file)
}

/// What a parser says, without the excerpt of the text that may follow.
fn one_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::file::Severity;

    fn with(content: &str) -> Result<Catalogue, PolicyError> {
        let directory = tempfile::tempdir().expect("temporary directory");
        fs::write(directory.path().join("a.yaml"), content).expect("written");
        Catalogue::load(Some(directory.path()))
    }

    fn policy(rest: &str) -> String {
        format!("apiVersion: watchkeeper.dev/v1\nkind: Policy\nmetadata:\n  name: site\n{rest}")
    }

    #[test]
    fn built_in_rules_are_complete() {
        let catalogue = Catalogue::load(None).expect("valid");
        for id in ["shell.interactive", "shell.injected", "shell.from-service"] {
            let active = catalogue.get(id).expect("there");
            assert!(!active.rule.attack.is_empty(), "{id} has a technique");
            assert!(!active.rule.triage.is_empty() && !active.rule.benign.is_empty());
        }
    }

    #[test]
    fn severity_can_be_changed_and_rules_switched_off() {
        let catalogue = with(&policy(
            "overrides:\n  - rule: shell.injected\n    severity: low\n  - rule: shell.interactive\n    enabled: false\n",
        ))
        .expect("valid");
        let injected = catalogue.get("shell.injected").expect("there");
        assert_eq!(injected.rule.severity, Severity::Low);
        assert!(injected.policy.ends_with("a.yaml"));
        assert!(catalogue.get("shell.interactive").is_none());
    }

    #[test]
    fn mistakes_are_named_in_one_line() {
        let cases = [
            (
                "overrides:\n  - rule: shell.nothing\n",
                "no rule `shell.nothing`",
            ),
            (
                "overrides:\n  - rule: shell.injected\n    severty: low\n",
                "severty",
            ),
            (
                "overrides:\n  - rule: shell.injected\n    severity: huge\n",
                "huge",
            ),
            ("rules: []\nnothing: 1\n", "nothing"),
        ];
        for (rest, expected) in cases {
            let error = with(&policy(rest)).expect_err(rest).to_string();
            assert!(error.contains(expected), "{error}");
            assert!(error.contains("a.yaml") && !error.contains('\n'), "{error}");
        }
        let error = with("kind: Pod\n").expect_err("no policy").to_string();
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = Catalogue::load(Some(Path::new("/nonexistent"))).expect_err("missing");
        assert!(error.to_string().contains("/nonexistent"));
    }
}
