//! Rules and exceptions, ready to be asked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use super::{
    condition::{Condition, Message, ShownField, View},
    file::{Attack, Scope, Severity},
    select::Selector,
};

/// What alerts say of the rule that found something.
#[derive(Clone, Debug)]
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
    /// The file that holds it, or that changed it.
    pub policy: String,
    /// The digest of the set of policies that it is part of.
    pub set: Arc<str>,
}

/// A rule in force.
#[derive(Debug)]
pub struct ActiveRule {
    /// What alerts say of it.
    pub rule: Arc<Rule>,
    /// Kinds of events that it is about.
    pub events: Vec<String>,
    /// What finds it.
    pub logic: Logic,
    /// The text of its condition.
    pub condition: String,
    /// The workloads that it is about.
    pub selector: Selector,
    /// When it matters more.
    pub raise: Vec<Raise>,
    /// It has to come several times.
    pub threshold: Option<Threshold>,
    /// Rules that have to have found something before.
    pub after: Vec<After>,
    /// Which findings are the same one.
    pub fold: Fold,
    /// It makes no alerts.
    pub silent: bool,
    /// What it found so far. Shared with the same rule of the set that replaces this one.
    pub found: Arc<Found>,
}

/// What a rule found since the agent started.
#[derive(Debug, Default)]
pub struct Found {
    findings: AtomicU64,
    /// By place in [`Severity::ALL`].
    alerts: [AtomicU64; Severity::ALL.len()],
}

impl Found {
    /// Counts a finding, new or repeated.
    pub fn count_finding(&self) {
        self.findings.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an alert that is announced.
    pub fn count_alert(&self, severity: Severity) {
        self.alerts[severity as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Findings, repeats included.
    #[must_use]
    pub fn findings(&self) -> u64 {
        self.findings.load(Ordering::Relaxed)
    }

    /// Alerts that were announced with a severity.
    #[must_use]
    pub fn alerts(&self, severity: Severity) -> u64 {
        self.alerts[severity as usize].load(Ordering::Relaxed)
    }
}

/// What finds something.
#[derive(Debug)]
pub enum Logic {
    /// A condition, and the sentence that an alert says.
    Condition(Condition, Message),
    /// A detector of the agent.
    Detector(String),
    /// Findings of other rules, added up.
    Score(Score),
}

/// Weights of other rules' findings.
#[derive(Debug)]
pub struct Score {
    /// The sum from which on something is found.
    pub at_least: u32,
    /// Within this time.
    pub within: Duration,
    /// Added up for each of these apart.
    pub per: Scope,
    /// Weights by rule.
    pub of: Vec<(String, u32)>,
}

/// See [`ActiveRule::threshold`].
#[derive(Debug)]
pub struct Threshold {
    /// So many times.
    pub count: u32,
    /// Within this time.
    pub within: Duration,
    /// Counted for each of these apart.
    pub per: Scope,
    /// Fields whose values have to be new.
    pub distinct: Vec<ShownField>,
}

/// See [`ActiveRule::raise`].
#[derive(Debug)]
pub struct Raise {
    /// The severity.
    pub to: Severity,
    /// When.
    pub when: Condition,
    /// Not where a rule has found something before.
    pub unless: Option<After>,
}

/// See [`ActiveRule::after`], [`Raise::unless`].
#[derive(Debug)]
pub struct After {
    /// The rule's id.
    pub rule: String,
    /// How long before at most.
    pub within: Duration,
    /// Of the same one of these.
    pub per: Scope,
}

/// See [`ActiveRule::fold`].
#[derive(Debug)]
pub struct Fold {
    /// Within this time of the one before.
    pub within: Duration,
    /// Fields whose values tell findings apart.
    pub by: Vec<ShownField>,
}

impl ActiveRule {
    /// Whether it is one of the detector of shells.
    #[must_use]
    pub fn is_about_shells(&self) -> bool {
        matches!(&self.logic, Logic::Detector(name) if name == "shell")
    }

    /// How much a finding matters. `was_found` tells whether another rule has found something before.
    #[must_use]
    pub fn severity(&self, view: &View<'_>, mut was_found: impl FnMut(&After) -> bool) -> Severity {
        self.raise
            .iter()
            .filter(|raise| raise.when.holds(view))
            .filter(|raise| !raise.unless.as_ref().is_some_and(&mut was_found))
            .map(|raise| raise.to)
            .fold(self.rule.severity, Severity::max)
    }
}

/// What is known and harmless.
#[derive(Debug)]
pub struct Exception {
    /// Rules by id, or the beginning of it followed by `*`.
    pub rules: Vec<String>,
    /// The workloads that it is about.
    pub selector: Selector,
    /// What has to be so.
    pub condition: Option<Condition>,
    /// The text of that.
    pub text: String,
    /// Why it is harmless.
    pub reason: String,
    /// The first moment at which it is over.
    pub until: Option<SystemTime>,
    /// The file that holds it.
    pub policy: String,
    /// Shared with the same exception of the set that replaces this one.
    hits: Arc<Hits>,
}

/// Instances of an exception since the agent started.
#[derive(Debug, Default)]
struct Hits {
    count: AtomicU64,
    /// When the last was, in seconds since the epoch.
    last: AtomicU64,
}

impl Exception {
    /// An exception that nothing was an instance of yet.
    #[must_use]
    pub fn new(
        rules: Vec<String>,
        selector: Selector,
        condition: Option<(Condition, String)>,
        reason: String,
        until: Option<SystemTime>,
        policy: String,
    ) -> Self {
        let (condition, text) = condition.unzip();
        Self {
            rules,
            selector,
            condition,
            text: text.unwrap_or_default(),
            reason,
            until,
            policy,
            hits: Arc::default(),
        }
    }

    /// Whether it is about a rule.
    #[must_use]
    pub fn is_about(&self, rule: &str) -> bool {
        self.rules.iter().any(|wanted| names(wanted, rule))
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self, now: SystemTime) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// Notes that something was an instance of it.
    pub fn hit(&self, now: SystemTime) {
        let seconds = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        self.hits.count.fetch_add(1, Ordering::Relaxed);
        self.hits.last.store(seconds, Ordering::Relaxed);
    }

    /// How often something was an instance of it, and when last, since the policies were loaded.
    #[must_use]
    pub fn hits(&self) -> (u64, Option<SystemTime>) {
        let last = self.hits.last.load(Ordering::Relaxed);
        let last = (last != 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(last));
        (self.hits.count.load(Ordering::Relaxed), last)
    }

    /// Goes on counting with the same exception as it was before policies were loaded again.
    pub(super) fn continue_from(&mut self, before: &Self) {
        self.hits = Arc::clone(&before.hits);
    }
}

/// Whether `wanted` names a rule: its id, or `shell.*`.
#[must_use]
pub fn names(wanted: &str, rule: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(beginning) => rule.starts_with(beginning),
        None => wanted == rule,
    }
}
