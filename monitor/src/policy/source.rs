//! Policy files as they are read: the built-in ones, and those of a directory; and where in them something is wrong.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde_saphyr::Spanned;
use sha2::{Digest as _, Sha256};

use super::{condition::Mistake, file::PolicyFile};
use crate::problem::{self, Problem};

/// A file that is built in, with the name that it has in alerts or in policies.
macro_rules! built_in {
    ($($prefix:literal, $directory:literal: $($file:literal),+;)*) => {
        &[$($((
            concat!($prefix, $file),
            include_bytes!(concat!(env!("OUT_DIR"), "/policies/", $directory, $file)),
        )),+),*]
    };
}

/// The built-in policies.
const BUILT_IN: &[(&str, &[u8])] = built_in! {
    "builtin/", "": "credentials.yaml", "escape.yaml", "execution.yaml", "mining.yaml", "network.yaml", "privilege.yaml", "tampering.yaml";
};

/// The built-in lists.
const BUILT_IN_LISTS: &[(&str, &[u8])] = built_in! {
    "", "lists/": "miner-pools.txt", "proxyware.txt", "tor-and-paste.txt";
};

/// Most bytes of a policy file: the limit of a ConfigMap.
const MAX_FILE: u64 = 1 << 20;
/// Most files of a directory.
const MAX_FILES: usize = 1_024;

/// One file.
#[derive(Clone, Debug)]
pub struct Source {
    /// As messages and alerts name it.
    pub name: String,
    /// What is in it.
    pub text: String,
    /// Where the lists are that it names.
    pub lists: Lists,
}

/// Where the lists of a policy are.
#[derive(Clone, Debug)]
pub enum Lists {
    /// Built in, as is the policy.
    BuiltIn,
    /// Files of this directory.
    Directory(PathBuf),
    /// These, by their names.
    Given(BTreeMap<String, String>),
}

/// A text that is built in backwards, as the build script has written it: what the rules look for in programs must not be found in
/// the agent's own.
fn forwards(text: &[u8]) -> String {
    let bytes = text.iter().rev().copied().collect();
    String::from_utf8(bytes).expect("it was a text before it was turned")
}

/// The built-in policies.
#[must_use]
pub fn built_in() -> Vec<Source> {
    BUILT_IN
        .iter()
        .map(|(name, text)| Source {
            name: (*name).to_owned(),
            text: forwards(text),
            lists: Lists::BuiltIn,
        })
        .collect()
}

/// The policies of a directory: `*.yaml` and `*.yml`, in the order of their names. What begins with a dot is left out: in a
/// mounted ConfigMap that is where older and newer versions lie.
///
/// # Errors
/// With every file that can't be read.
pub fn of_directory(directory: &Path) -> Result<Vec<Source>, Vec<Problem>> {
    let about = |path: &Path, error: io::Error| Problem {
        file: path.display().to_string(),
        line: 0,
        column: 0,
        message: format!("reading policies: {error}"),
    };
    let entries = fs::read_dir(directory).map_err(|error| vec![about(directory, error)])?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| vec![about(directory, error)])?.path();
        let is_hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let is_yaml = path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_yaml && !is_hidden {
            paths.push(path);
        }
    }
    if paths.len() > MAX_FILES {
        let error = io::Error::other(format!(
            "{} files are more than the {MAX_FILES} that are taken",
            paths.len()
        ));
        return Err(vec![about(directory, error)]);
    }
    paths.sort();
    of_files(&paths)
}

/// These policies.
///
/// # Errors
/// With every file that can't be read.
pub fn of_files(paths: &[PathBuf]) -> Result<Vec<Source>, Vec<Problem>> {
    let mut sources = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        match read(path) {
            Ok(text) => sources.push(Source {
                name: path.display().to_string(),
                text,
                lists: Lists::Directory(path.parent().unwrap_or(Path::new("")).to_path_buf()),
            }),
            Err(error) => problems.push(Problem {
                file: path.display().to_string(),
                line: 0,
                column: 0,
                message: format!("reading the policy: {error}"),
            }),
        }
    }
    if problems.is_empty() {
        Ok(sources)
    } else {
        Err(problems)
    }
}

fn read(path: &Path) -> io::Result<String> {
    let length = fs::metadata(path)?.len();
    if length > MAX_FILE {
        return Err(io::Error::other(format!(
            "{length} bytes are more than the {MAX_FILE} that a policy may have"
        )));
    }
    fs::read_to_string(path)
}

/// The digest of a set of policies, in hexadecimal.
#[must_use]
pub fn digest<'a>(sources: impl Iterator<Item = &'a Source>) -> String {
    let mut hash = Sha256::new();
    for source in sources {
        hash.update(source.name.as_bytes());
        hash.update([0]);
        hash.update(source.text.as_bytes());
        hash.update([0]);
    }
    let digest = hash.finalize();
    digest
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

impl Source {
    /// What is in it.
    ///
    /// # Errors
    /// When that is no policy.
    pub fn parse(&self) -> Result<PolicyFile, Problem> {
        serde_saphyr::from_str(&self.text)
            .map_err(|error| Problem::of_yaml(self.name.clone(), &error))
    }

    /// Whether it is a built-in one.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        matches!(self.lists, Lists::BuiltIn)
    }

    /// A problem with a value.
    #[must_use]
    pub fn problem<T>(&self, value: &Spanned<T>, message: impl Into<String>) -> Problem {
        Problem::at(self.name.clone(), value.referenced, message)
    }

    /// A problem with the whole file.
    #[must_use]
    pub fn problem_of_file(&self, message: impl Into<String>) -> Problem {
        Problem::of_file(self.name.clone(), message)
    }

    /// A mistake in a text of the file, where it stands there.
    #[must_use]
    pub fn mistake(&self, text: &Spanned<String>, mistake: &Mistake) -> Problem {
        let (line, column) = problem::place(text.referenced);
        let (line, column) = place_in(
            &self.text,
            line,
            column,
            &text.value[..mistake.at.min(text.value.len())],
        );
        Problem {
            file: self.name.clone(),
            line,
            column,
            message: mistake.message.clone(),
        }
    }

    /// The texts of a file that the policy names, one in each line; what follows `#` is a remark.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn list(&self, file: &str) -> Result<Vec<String>, String> {
        let text = match &self.lists {
            Lists::BuiltIn => BUILT_IN_LISTS
                .iter()
                .find(|(name, _)| *name == file)
                .map(|(_, text)| forwards(text))
                .ok_or_else(|| format!("there is no built-in list {file}"))?,
            Lists::Given(given) => given
                .get(file)
                .cloned()
                .ok_or_else(|| format!("the file {file} was not given"))?,
            Lists::Directory(directory) => {
                let name = Path::new(file);
                let is_name = name.components().count() == 1 && name.file_name().is_some();
                if !is_name {
                    return Err(format!(
                        "`{file}` is no name of a file in the policy's own directory"
                    ));
                }
                read(&directory.join(name)).map_err(|error| format!("reading {file}: {error}"))?
            }
        };
        Ok(text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim())
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect())
    }
}

/// Line and column of what follows `before` in a value that stands at a place of a YAML text. YAML folds lines and takes away
/// what they are indented by, so characters that are no blanks are counted, which it leaves as they are.
fn place_in(text: &str, line: usize, column: usize, before: &str) -> (usize, usize) {
    let mut position = (line.max(1), column.max(1));
    let start = text
        .split_inclusive('\n')
        .take(position.0 - 1)
        .map(str::len)
        .sum::<usize>();
    let rest = &text[start.min(text.len())..];
    let skipped = rest
        .char_indices()
        .nth(position.1 - 1)
        .map_or(rest.len(), |(at, _)| at);
    let rest = &rest[skipped..];
    // The mark of a block, or the quote, is no part of the value.
    let mark = match rest.chars().next() {
        Some('|' | '>') => rest.find('\n').map_or(rest.len(), |end| end + 1),
        Some('"' | '\'') => 1,
        _ => 0,
    };
    let mut wanted = before
        .chars()
        .filter(|letter| !letter.is_whitespace())
        .count();
    for (at, letter) in rest.char_indices() {
        if at >= mark && !letter.is_whitespace() {
            if wanted == 0 {
                break;
            }
            wanted -= 1;
        }
        if letter == '\n' {
            position = (position.0 + 1, 1);
        } else {
            position.1 += 1;
        }
    }
    position
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Document {
        a: Spanned<String>,
    }

    #[test]
    fn mistakes_are_placed_in_every_form_that_yaml_has_for_text() {
        for (text, expected) in [
            ("a: one two\n", (1, 8)),
            ("a: 'one two'\n", (1, 9)),
            ("a: \"one two\"\n", (1, 9)),
            ("a: |\n    one\n    two\n", (3, 5)),
            ("a: >-\n    one\n    two\n", (3, 5)),
            ("a: |\n  # no remark\n  one two\n", (3, 7)),
            ("# é\na:\n  one\n  two\n", (4, 3)),
        ] {
            let source = Source {
                name: "x.yaml".to_owned(),
                text: text.to_owned(),
                lists: Lists::BuiltIn,
            };
            let document: Document = serde_saphyr::from_str(text).expect(text);
            let at = document.a.value.find("two").expect("there");
            let problem = source.mistake(&document.a, &Mistake::new(at, "wrong".to_owned()));
            assert_eq!((problem.line, problem.column), expected, "{text:?}");
            assert!(problem.to_string().starts_with("x.yaml:"));
        }
    }
}
