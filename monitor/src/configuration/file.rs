//! The file that the configuration is read from.

use std::{fs, io, path::Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Settings;
use crate::problem::Problem;

/// Where it is looked for when nothing else is said.
pub const USUAL: &str = "/etc/watchkeeper/config.yaml";

/// Most bytes of it: the limit of a ConfigMap.
const MAX_FILE: u64 = 1 << 20;

/// The form of the file.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub enum ApiVersion {
    /// The only one there is.
    #[serde(rename = "watchkeeper.dev/v1")]
    V1,
}

/// The kind of the file.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub enum Kind {
    /// This one.
    Configuration,
}

/// The file that is named, or the usual one where that exists; `None` where there is none.
///
/// # Errors
/// With what is wrong in it.
pub fn find(named: Option<&Path>) -> Result<Option<Settings>, Problem> {
    match named {
        Some(path) => read(path).map(Some),
        None if Path::new(USUAL).exists() => read(Path::new(USUAL)).map(Some),
        None => Ok(None),
    }
}

/// What a file says.
///
/// # Errors
/// With what is wrong in it.
pub fn read(path: &Path) -> Result<Settings, Problem> {
    let name = path.display().to_string();
    match text(path) {
        Ok(text) => parse(name, &text),
        Err(error) => Err(Problem::of_file(
            name,
            format!("reading the configuration: {error}"),
        )),
    }
}

fn text(path: &Path) -> io::Result<String> {
    let length = fs::metadata(path)?.len();
    if length > MAX_FILE {
        return Err(io::Error::other(format!(
            "{length} bytes are more than the {MAX_FILE} that it may have"
        )));
    }
    fs::read_to_string(path)
}

fn parse(name: String, text: &str) -> Result<Settings, Problem> {
    let settings: Settings =
        serde_saphyr::from_str(text).map_err(|error| Problem::of_yaml(name.clone(), &error))?;
    let missing = [
        (
            settings.api_version.is_none(),
            "apiVersion: watchkeeper.dev/v1",
        ),
        (settings.kind.is_none(), "kind: Configuration"),
    ];
    match missing.into_iter().find(|(is_missing, _)| *is_missing) {
        Some((_, line)) => Err(Problem {
            file: name,
            line: 1,
            column: 1,
            message: format!("there is no line `{line}`, which says how the file is to be read"),
        }),
        None => Ok(settings),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: watchkeeper.dev/v1\nkind: Configuration\n";

    #[test]
    fn a_whole_file_is_read() {
        let text = format!(
            "{HEAD}nodeName: worker-1\nhistory: {{size: 512MiB, age: 12h}}\nsensors:\n  budgets: {{file: 100}}\n  disabled: [io-uring]\n  ringKib: 8192\n"
        );
        let settings = parse("x.yaml".to_owned(), &text).expect("right");
        let configuration = settings.configuration().expect("complete");
        assert_eq!(configuration.node_name.as_deref(), Some("worker-1"));
        assert_eq!(configuration.telemetry_bytes, 8 << 20);
        assert_eq!(configuration.disabled_sensors.len(), 1);
        assert_eq!(configuration.budgets[0].1.per_second, 100);
    }

    #[test]
    fn the_configuration_in_the_readme_is_right() {
        let readme = include_str!("../../../README.md");
        let (_, rest) = readme
            .split_once(&format!("```yaml\n{HEAD}"))
            .expect("it has one");
        let (text, _) = rest.split_once("```").expect("it ends");
        let settings = parse("README.md".to_owned(), &format!("{HEAD}{text}"));
        let settings = settings.unwrap_or_else(|problem| panic!("{problem}"));
        let configuration = settings.configuration().expect("complete");
        assert_eq!(configuration.node_name.as_deref(), Some("worker-1"));
        // What it has besides is what is usual.
        let usual = Settings::default().configuration().expect("complete");
        assert_eq!(configuration.learning, usual.learning);
        assert_eq!(configuration.memory_limit, usual.memory_limit);
        assert_eq!(configuration.history, usual.history);
        assert_eq!(configuration.host_classes, usual.host_classes);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, place, expected) in [
            ("nodeNam: x\n", 3, "nodeNam"),
            ("history:\n  size: 1MiB\n", 4, "at least 16 MiB"),
            ("history:\n  age: [1]\n", 4, ""),
            (
                "sensors: {disabled: [file-opens]}\n",
                3,
                "is `file-open` meant?",
            ),
            ("sensors:\n  budgets:\n    file: 0\n", 5, "a rate from 1"),
            ("learning: 0s\n", 3, "from 1 to"),
            ("runtime: {socket: run/crio.sock}\n", 3, "absolute path"),
        ] {
            let problem = parse("x.yaml".to_owned(), &format!("{HEAD}{text}")).expect_err(text);
            assert_eq!(problem.line, place, "{text}: {problem}");
            assert!(problem.message.contains(expected), "{text}: {problem}");
        }
        let problem = parse("x.yaml".to_owned(), "kind: Configuration\n").expect_err("incomplete");
        assert!(problem.message.contains("apiVersion"), "{problem}");
    }
}
