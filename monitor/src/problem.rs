//! Something that is wrong in a file that people write, with its place.

use std::fmt;

use serde_saphyr::Location;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// Line, counted from 1; 0 where it is about the whole file.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong, and what to do, in one line.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(formatter, "{}: {}", self.file, self.message)
        } else {
            let Self {
                file,
                line,
                column,
                message,
            } = self;
            write!(formatter, "{file}:{line}:{column}: {message}")
        }
    }
}

impl Problem {
    /// What a reader of YAML says of a file.
    #[must_use]
    pub fn of_yaml(file: String, error: &serde_saphyr::Error) -> Self {
        let message = without_place(&error.to_string());
        match error.location() {
            Some(location) => Self::at(file, location, message),
            None => Self::of_file(file, message),
        }
    }

    /// Something at a place.
    #[must_use]
    pub fn at(file: String, location: Location, message: impl Into<String>) -> Self {
        let (line, column) = place(location);
        Self {
            file,
            line,
            column,
            message: message.into(),
        }
    }

    /// Something about the whole file.
    #[must_use]
    pub fn of_file(file: String, message: impl Into<String>) -> Self {
        Self {
            file,
            line: 0,
            column: 0,
            message: message.into(),
        }
    }
}

/// Line and column of a place, counted from 1.
#[must_use]
pub fn place(location: Location) -> (usize, usize) {
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    (number(location.line()), number(location.column()))
}

/// What the parser says, without the place and the excerpt of the text.
fn without_place(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default().trim();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    // "line 3 column 5: what is wrong"
    match line.split_once(": ") {
        Some((place, rest)) if place.starts_with("line ") => rest.to_owned(),
        _ => line.to_owned(),
    }
}
