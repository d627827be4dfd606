//! The form of a policy file.

use serde::{Deserialize, Serialize};

/// The version of the form.
pub const API_VERSION: &str = "watchkeeper.dev/v1";

/// One file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PolicyFile {
    /// [`API_VERSION`].
    pub api_version: String,
    /// `Policy`.
    pub kind: String,
    /// Its name.
    pub metadata: PolicyMetadata,
    /// Rules; only in the built-in files for now.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Changes of built-in rules.
    #[serde(default)]
    pub overrides: Vec<Override>,
}

/// See [`PolicyFile::metadata`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyMetadata {
    /// Its name.
    pub name: String,
}

/// How much a finding matters: the scale of OCSF's `severity_id`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Informational,
    /// To be looked at some time.
    Low,
    /// To be looked at.
    Medium,
    /// To be acted on.
    High,
    /// To be acted on at once.
    Critical,
}

impl Severity {
    /// All of them, the least first.
    pub const ALL: [Self; 5] = [
        Self::Informational,
        Self::Low,
        Self::Medium,
        Self::High,
        Self::Critical,
    ];
}

/// One rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rule {
    /// Its name, stable for good.
    pub id: String,
    /// What it finds, in a few words.
    pub title: String,
    /// How much that matters.
    pub severity: Severity,
    /// What of MITRE ATT&CK it is.
    pub attack: Vec<Attack>,
    /// What it means.
    pub description: String,
    /// How to find out whether it is an attack.
    pub triage: String,
    /// What else causes it.
    pub benign: Vec<String>,
}

/// A technique of MITRE ATT&CK.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Attack {
    /// Such as `TA0002`.
    pub tactic_id: String,
    /// Its name.
    pub tactic: String,
    /// Such as `T1059.004`.
    pub technique_id: String,
    /// Its name.
    pub technique: String,
}

/// A change of a built-in rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Override {
    /// The rule.
    pub rule: String,
    /// Its severity from now on.
    pub severity: Option<Severity>,
    /// `false` switches it off.
    pub enabled: Option<bool>,
}
