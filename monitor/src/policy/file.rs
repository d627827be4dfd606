//! The form of a policy file: what a reviewer reads, and an editor checks by the JSON Schema that is made from it.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

/// The version of the form.
pub const API_VERSION: &str = "watchkeeper.dev/v1";

/// One policy. Rules, exceptions and changes of built-in rules, for the workloads that it selects.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PolicyFile {
    /// `watchkeeper.dev/v1`.
    pub api_version: String,
    /// `Policy`.
    pub kind: String,
    /// Its name.
    pub metadata: PolicyMetadata,
    /// The workloads that its rules and exceptions are about; all containers when it is left out.
    pub select: Option<Select>,
    /// Lists that conditions can name.
    #[serde(default)]
    pub lists: BTreeMap<String, ListForm>,
    /// Parts of conditions, by the names that conditions can use for them.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub definitions: BTreeMap<String, Spanned<String>>,
    /// Rules.
    #[serde(default)]
    pub rules: Vec<RuleForm>,
    /// What is known and harmless.
    #[serde(default)]
    pub exceptions: Vec<ExceptionForm>,
    /// Changes of built-in rules and lists.
    #[serde(default)]
    pub overrides: Vec<Override>,
}

impl PolicyFile {
    /// The files with lists that it names.
    pub fn list_files(&self) -> impl Iterator<Item = &str> {
        let own = self.lists.values();
        let added = self
            .overrides
            .iter()
            .filter_map(|change| change.add.as_ref());
        own.chain(added).filter_map(|list| match list {
            ListForm::File { file } => Some(file.as_str()),
            ListForm::Texts(_) | ListForm::Numbers(_) => None,
        })
    }
}

/// See [`PolicyFile::metadata`].
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyMetadata {
    /// Its name.
    pub name: String,
    /// Labels, for whoever keeps the file.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Annotations likewise.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// Which workloads. Everything that is given has to fit; of several values in a list, one.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Select {
    /// Namespaces by name; `*` stands for any text.
    pub namespaces: Vec<String>,
    /// Labels of the namespace; known only where the agent may ask the API server.
    pub namespace_labels: Option<LabelSelector>,
    /// Labels of the pod.
    pub pod_labels: Option<LabelSelector>,
    /// Containers by their name in the pod; `*` stands for any text.
    pub containers: Vec<String>,
    /// Images.
    pub images: Vec<ImageSelector>,
    /// `true` for what runs on the host and in no container.
    pub host: bool,
}

/// As Kubernetes selects by labels: all of it has to fit.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels with their values.
    pub match_labels: BTreeMap<String, String>,
    /// Further demands.
    pub match_expressions: Vec<LabelExpression>,
}

/// One demand on a label.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct LabelExpression {
    /// The label.
    pub key: String,
    /// What is demanded of it.
    pub operator: LabelOperator,
    /// For `In` and `NotIn`.
    #[serde(default)]
    pub values: Vec<String>,
}

/// See [`LabelExpression::operator`].
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum LabelOperator {
    /// It is there with one of the values.
    In,
    /// It is not there, or has none of the values.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

/// An image. Everything that is given has to fit.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct ImageSelector {
    /// The registry, as `quay.io`.
    pub registry: String,
    /// Registry and repository, as `quay.io/shop/web`; `*` stands for any text.
    pub repository: String,
    /// The digest, as `sha256:…`.
    pub digest: String,
}

/// A list that conditions can name.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ListForm {
    /// Texts.
    Texts(Vec<String>),
    /// Whole numbers.
    Numbers(Vec<i64>),
    /// One text in each line of a file beside the policy; what follows `#` is a remark.
    File {
        /// Its name.
        file: String,
    },
}

/// How much a finding matters: the scale of OCSF's `severity_id`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord)]
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

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// One rule.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RuleForm {
    /// Its name, stable for good: words of small letters, digits and dashes, joined by a dot.
    #[schemars(with = "String")]
    pub id: Spanned<String>,
    /// What it finds, in a few words.
    pub title: String,
    /// How much that matters.
    pub severity: Severity,
    /// When it matters more.
    #[serde(default)]
    pub raise: Vec<Raise>,
    /// Kinds of events that it is about.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub events: Vec<Spanned<String>>,
    /// What has to be so, in CEL.
    #[schemars(with = "Option<String>")]
    pub condition: Option<Spanned<String>>,
    /// A detector of the agent in place of events and condition. For built-in rules.
    #[schemars(with = "Option<String>")]
    pub detector: Option<Spanned<String>>,
    /// Findings of other rules in place of events and condition: each is weak alone, and together they are strong.
    pub score: Option<ScoreForm>,
    /// The workloads that it is about, in addition to what the policy selects.
    pub select: Option<Select>,
    /// One sentence with the particulars: names of fields in braces stand for their values; what is in square brackets is
    /// left out when a field in it is empty. Of a detector's rule, the detector says it.
    #[schemars(with = "Option<String>")]
    pub message: Option<Spanned<String>>,
    /// Techniques of MITRE ATT&CK by their ids.
    #[schemars(with = "Vec<String>")]
    pub attack: Vec<Spanned<String>>,
    /// What it means.
    pub description: String,
    /// How to find out whether it is an attack.
    pub triage: String,
    /// What else causes it.
    pub benign: Vec<String>,
    /// It has to come several times.
    pub threshold: Option<ThresholdForm>,
    /// Another rule has to have found something before.
    #[serde(default)]
    pub after: Vec<AfterForm>,
    /// Which findings are the same one.
    pub fold: Option<FoldForm>,
    /// It makes no alerts by itself, and only serves `after` of other rules.
    #[serde(default)]
    pub silent: bool,
    /// Events that must and that must not be found.
    #[serde(default)]
    pub cases: Vec<CaseForm>,
}

/// Weights of other rules' findings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ScoreForm {
    /// The sum from which on something is found.
    pub at_least: u32,
    /// Within this time.
    pub within: Time,
    /// Added up for each of these apart.
    #[serde(default)]
    pub per: Scope,
    /// Weights by rule; each rule counts once.
    pub of: BTreeMap<String, u32>,
}

/// A higher severity under a condition.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Raise {
    /// The severity.
    pub to: Severity,
    /// When, in CEL.
    #[schemars(with = "String")]
    pub when: Spanned<String>,
    /// Not where another rule has found something before.
    pub unless: Option<AfterForm>,
}

/// How often something has to come.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ThresholdForm {
    /// So many times.
    pub count: u32,
    /// Within this time.
    pub within: Time,
    /// Counted for each of these apart.
    #[serde(default)]
    pub per: Scope,
    /// Only events count whose values of these fields have not come yet.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub distinct: Vec<Spanned<String>>,
}

/// What rule has to have found something before.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AfterForm {
    /// The rule.
    #[schemars(with = "String")]
    pub rule: Spanned<String>,
    /// How long before at most.
    pub within: Time,
    /// Of the same one of these.
    #[serde(default)]
    pub per: Scope,
}

/// What belongs together.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// A process.
    Process,
    /// What descends from one process that was put into the container from outside; of the container's own processes, the
    /// container.
    Session,
    /// A container.
    #[default]
    Container,
}

/// Which findings are the same one: those of a rule in a container with the same values of these fields.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FoldForm {
    /// Within this time of the one before.
    #[serde(default)]
    pub within: Option<Time>,
    /// Fields.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub by: Vec<Spanned<String>>,
}

/// An event that a rule must find, or must not.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseForm {
    /// What happens, in a few words.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// Whether the rule finds it.
    pub matches: bool,
    /// The event in the form of `watchkeeper events -o json`; what is left out has its default value. The agent has the
    /// process id 4194305 in it.
    pub event: serde_json::Value,
}

/// What is known and harmless.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExceptionForm {
    /// Rules by id; `shell.*` stands for all that begin so.
    #[schemars(with = "Vec<String>")]
    pub rules: Vec<Spanned<String>>,
    /// The workloads, in addition to what the policy selects.
    pub select: Option<Select>,
    /// What has to be so, in CEL.
    #[schemars(with = "Option<String>")]
    pub condition: Option<Spanned<String>>,
    /// Why it is harmless.
    #[schemars(with = "String")]
    pub reason: Spanned<String>,
    /// The last day of it, as `2026-12-31`.
    #[schemars(with = "Option<String>")]
    pub until: Option<Spanned<String>>,
}

/// A change of something built in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Override {
    /// The rule.
    #[schemars(with = "Option<String>")]
    pub rule: Option<Spanned<String>>,
    /// Its severity from now on.
    pub severity: Option<Severity>,
    /// `false` switches it off.
    pub enabled: Option<bool>,
    /// Or the list.
    #[schemars(with = "Option<String>")]
    pub list: Option<Spanned<String>>,
    /// What is added to it.
    pub add: Option<ListForm>,
}

/// A length of time, as `30s`, `5m`, `1h`, `2d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

impl JsonSchema for Time {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9]+(s|m|h|d)$",
            "description": "A length of time, as 30s, 5m, 1h, 2d.",
        })
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const SECONDS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
        SECONDS
            .into_iter()
            .find_map(|(unit, seconds)| {
                let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
                (number > 0).then(|| Self(Duration::from_secs(number.saturating_mul(seconds))))
            })
            .ok_or_else(|| format!("`{text}` is no length of time, such as 30s, 5m, 1h, 2d"))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            _ if seconds.is_multiple_of(86_400) => write!(formatter, "{}d", seconds / 86_400),
            _ if seconds.is_multiple_of(3_600) => write!(formatter, "{}h", seconds / 3_600),
            _ if seconds.is_multiple_of(60) => write!(formatter, "{}m", seconds / 60),
            _ => write!(formatter, "{seconds}s"),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_shown() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h", 3_600), ("2d", 172_800)] {
            let time: Time = text.parse().expect("valid");
            assert_eq!(time.0.as_secs(), seconds);
            assert_eq!(time.to_string(), text);
        }
        for wrong in ["", "5", "0s", "1w", "-1s", "s"] {
            assert!(wrong.parse::<Time>().is_err(), "{wrong}");
        }
    }
}
