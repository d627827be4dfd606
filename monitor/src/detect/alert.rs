//! An alert: a finding with everything needed to judge it.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use uuid::Uuid;

use crate::{
    event::{Ancestor, Event},
    policy::{file::Severity, rule::Rule},
    process::execution::Process,
};

/// Most events that an alert names as evidence.
const MAX_EVIDENCE: usize = 16;

/// One alert. Repeats change its tally, nothing else.
#[derive(Debug)]
pub struct Alert {
    /// A UUID, version 7.
    pub id: String,
    /// The rule that found it.
    pub rule: Arc<Rule>,
    /// How much it matters: as the rule says, or more.
    pub severity: Severity,
    /// It was tried and failed.
    pub attempt: bool,
    /// One sentence with the particulars.
    pub message: String,
    /// The event that caused it. Of one that was read from history it tells when and where it was, and nothing beyond that.
    pub event: Arc<Event>,
    /// The process it is about.
    pub process: Arc<Process>,
    /// Its ancestors, the parent first, as far as they matter.
    pub ancestors: Vec<Ancestor>,
    /// The process outside the container that put it there.
    pub injected_by: Option<Arc<Process>>,
    /// What the rule found, by name.
    pub facts: BTreeMap<Cow<'static, str>, String>,
    /// Fields that the process chooses itself.
    pub claimed: Vec<Cow<'static, str>>,
    /// How often it was found by now. Shared with the same alert of a lower severity.
    pub tally: Arc<Mutex<Tally>>,
}

/// How often, and when last.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Times it was found.
    pub count: u32,
    /// The last of them.
    pub last_seen: SystemTime,
    /// Numbers of the events, the first ones.
    pub evidence: Vec<u64>,
}

/// What was found; the rest of an alert comes from the event.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule.
    pub rule: Arc<Rule>,
    /// See [`Alert::severity`].
    pub severity: Severity,
    /// See [`Alert::message`].
    pub message: String,
    /// See [`Alert::ancestors`].
    pub ancestors: Vec<Ancestor>,
    /// See [`Alert::injected_by`].
    pub injected_by: Option<Arc<Process>>,
    /// See [`Alert::facts`].
    pub facts: BTreeMap<Cow<'static, str>, String>,
    /// See [`Alert::claimed`].
    pub claimed: Vec<Cow<'static, str>>,
    /// Numbers of earlier events that are part of it.
    pub evidence: Vec<u64>,
}

impl Alert {
    /// The alert of a finding.
    #[must_use]
    pub fn new(finding: Finding, event: Arc<Event>, process: Arc<Process>, number: u64) -> Self {
        let mut evidence = finding.evidence;
        evidence.truncate(MAX_EVIDENCE - 1);
        evidence.push(number);
        Self {
            id: Uuid::now_v7().to_string(),
            rule: finding.rule,
            severity: finding.severity,
            attempt: event.failed(),
            message: finding.message,
            process,
            ancestors: finding.ancestors,
            injected_by: finding.injected_by,
            facts: finding.facts,
            claimed: finding.claimed,
            tally: Arc::new(Mutex::new(Tally {
                count: 1,
                last_seen: event.time,
                evidence,
            })),
            event,
        }
    }

    /// The same alert after a finding that matters more.
    #[must_use]
    pub fn raised(
        &self,
        finding: Finding,
        event: Arc<Event>,
        process: Arc<Process>,
        number: u64,
    ) -> Self {
        Self {
            id: self.id.clone(),
            tally: Arc::clone(&self.tally),
            ..Self::new(finding, event, process, number)
        }
    }

    /// How often it was found, and when last.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Counts it once more.
    pub fn repeat(&self, time: SystemTime, event_number: u64) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.count = tally.count.saturating_add(1);
        tally.last_seen = tally.last_seen.max(time);
        if tally.evidence.len() < MAX_EVIDENCE {
            tally.evidence.push(event_number);
        }
    }

    /// About how many bytes it takes beside what it shares.
    #[must_use]
    pub fn size(&self) -> usize {
        let facts: usize = self
            .facts
            .iter()
            .map(|(name, value)| name.len() + value.len() + 64)
            .sum();
        size_of::<Self>() + self.message.len() + facts + self.event.size()
    }
}
