//! The list of what is a secret: the built-in one, and the operator's.

use std::{fs, path::Path};

use serde::Deserialize;

/// The list that is built in.
const BUILT_IN: &str = include_str!("../../policies/redact.yaml");

/// A list could not be used.
#[derive(Debug, thiserror::Error)]
#[error("reading the list of secrets {place}: {reason}")]
pub struct RedactError {
    /// The file.
    pub(super) place: String,
    /// Why.
    pub(super) reason: String,
}

/// The list as a file has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct List {
    pub(super) names: Vec<String>,
    pub(super) options: Vec<ProgramOption>,
    pub(super) patterns: Vec<Pattern>,
}

/// An option of some programs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProgramOption {
    pub(super) programs: Vec<String>,
    pub(super) option: String,
    pub(super) form: Form,
    /// Only what follows this is the secret.
    pub(super) after: Option<char>,
    /// It only means that after this argument.
    pub(super) command: Option<String>,
    /// It only means that before the first argument that is no option.
    #[serde(default)]
    pub(super) leading: bool,
}

/// Where an option has its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Form {
    /// In the same argument.
    Attached,
    /// In the argument after.
    Next,
    /// In either.
    Any,
}

/// A secret by its look.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pattern {
    pub(super) name: String,
    pub(super) regex: String,
}

impl List {
    /// The list that is built in.
    ///
    /// # Panics
    /// Never: a test reads it.
    pub(super) fn built_in() -> Self {
        parse("redact.yaml", BUILT_IN).expect("the built-in list is tested")
    }

    /// The built-in list together with the operator's, where there is one; with where the latter is. A pattern of the same name
    /// replaces the built-in one.
    pub(super) fn load(file: Option<&Path>) -> Result<(Self, String), RedactError> {
        let mut list = Self::built_in();
        let Some(path) = file else {
            return Ok((list, "redact.yaml".to_owned()));
        };
        let place = path.display().to_string();
        let content = fs::read_to_string(path).map_err(|error| RedactError {
            place: place.clone(),
            reason: error.to_string(),
        })?;
        let own = parse(&place, &content)?;
        list.patterns
            .retain(|pattern| own.patterns.iter().all(|own| own.name != pattern.name));
        list.names.extend(own.names);
        list.options.extend(own.options);
        list.patterns.extend(own.patterns);
        Ok((list, place))
    }
}

fn parse(place: &str, content: &str) -> Result<List, RedactError> {
    serde_saphyr::from_str(content).map_err(|error| RedactError {
        place: place.to_owned(),
        reason: error.to_string(),
    })
}
