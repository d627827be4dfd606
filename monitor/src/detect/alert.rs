//! An alert: a finding with everything needed to judge it.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use uuid::Uuid;

use crate::{
    event::Ancestor, event::Event, policy::catalogue::ActiveRule, process::execution::Process,
};

/// Most events that an alert names as evidence.
const MAX_EVIDENCE: usize = 16;

/// One alert. Repeats change its tally, nothing else.
#[derive(Debug)]
pub struct Alert {
    /// A UUID, version 7.
    pub id: String,
    /// The rule that found it.
    pub rule: Arc<ActiveRule>,
    /// One sentence with the particulars.
    pub message: String,
    /// The event that caused it.
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
    tally: Mutex<Tally>,
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

/// What is kept of an alert; the fields are those of [`Alert`].
#[derive(Debug)]
#[expect(missing_docs, reason = "see `Alert`")]
pub struct Stored {
    pub id: String,
    pub rule: Arc<ActiveRule>,
    pub message: String,
    /// When and where it was; of what happened it tells nothing beyond that.
    pub event: Arc<Event>,
    pub process: Arc<Process>,
    pub ancestors: Vec<Ancestor>,
    pub injected_by: Option<Arc<Process>>,
    pub facts: BTreeMap<String, String>,
    pub claimed: Vec<String>,
    pub tally: Tally,
}

/// What a rule has to say; the rest of an alert comes from the event.
#[derive(Debug)]
pub struct Finding {
    /// Id of the rule.
    pub rule: &'static str,
    /// See [`Alert::message`].
    pub message: String,
    /// See [`Alert::ancestors`].
    pub ancestors: Vec<Ancestor>,
    /// See [`Alert::injected_by`].
    pub injected_by: Option<Arc<Process>>,
    /// See [`Alert::facts`].
    pub facts: BTreeMap<&'static str, String>,
    /// See [`Alert::claimed`].
    pub claimed: Vec<&'static str>,
}

impl Alert {
    /// The alert of a finding.
    #[must_use]
    pub fn new(
        finding: Finding,
        rule: Arc<ActiveRule>,
        event: Arc<Event>,
        process: Arc<Process>,
        event_number: u64,
    ) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            rule,
            message: finding.message,
            process,
            ancestors: finding.ancestors,
            injected_by: finding.injected_by,
            facts: finding
                .facts
                .into_iter()
                .map(|(name, fact)| (name.into(), fact))
                .collect(),
            claimed: finding.claimed.into_iter().map(Cow::from).collect(),
            tally: Mutex::new(Tally {
                count: 1,
                last_seen: event.time,
                evidence: vec![event_number],
            }),
            event,
        }
    }

    /// An alert of the past.
    #[must_use]
    pub fn restore(stored: Stored) -> Self {
        Self {
            id: stored.id,
            rule: stored.rule,
            message: stored.message,
            event: stored.event,
            process: stored.process,
            ancestors: stored.ancestors,
            injected_by: stored.injected_by,
            facts: stored
                .facts
                .into_iter()
                .map(|(name, fact)| (name.into(), fact))
                .collect(),
            claimed: stored.claimed.into_iter().map(Cow::from).collect(),
            tally: Mutex::new(stored.tally),
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
        size_of::<Self>() + self.message.len() + self.event.size()
    }
}
