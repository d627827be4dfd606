//! What policies would have found in events of the past.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::SystemTime,
};

use super::{
    evaluator::{Evaluator, Verdict},
    executable::Content,
    fold::Folds,
    listeners::Listeners,
    shell,
};
use crate::{
    container::registry::Place,
    event::Event,
    policy::{file::Severity, rule::ActiveRule, set::RuleSet},
    process::execution::{Execution, Recognised},
};

/// Places that are counted apart, for one rule.
const MAX_PLACES: usize = 1_024;
/// Messages that are kept of a rule.
const MESSAGES: usize = 5;
/// Places that are told of.
const PLACES: usize = 20;

/// What a rule would have found.
#[derive(Clone, Debug)]
pub struct Tally {
    /// The rule.
    pub rule: Arc<ActiveRule>,
    /// The highest severity.
    pub severity: Severity,
    /// Alerts.
    pub alerts: u64,
    /// Findings, repeats counted.
    pub findings: u64,
    /// Findings that exceptions kept away.
    pub excepted: u64,
    /// First and last finding.
    pub span: Option<(SystemTime, SystemTime)>,
    places: HashMap<String, u64>,
    /// What the first alerts would have said.
    pub messages: Vec<String>,
}

/// See the module.
pub struct Rehearsal {
    evaluator: Evaluator,
    folds: Folds,
    verdicts: Vec<Verdict>,
    tallies: BTreeMap<String, Tally>,
    /// Events that were judged.
    pub events: u64,
    /// When the first and the last of them was.
    pub span: Option<(SystemTime, SystemTime)>,
}

impl Rehearsal {
    /// Of these policies.
    #[must_use]
    pub fn new(set: Arc<RuleSet>) -> Self {
        Self {
            evaluator: Evaluator::new(set, Listeners::of_the_past()),
            folds: Folds::default(),
            verdicts: Vec::new(),
            tallies: BTreeMap::new(),
            events: 0,
            span: None,
        }
    }

    /// Judges the next event.
    pub fn observe(&mut self, event: &Arc<Event>, number: u64) {
        self.events += 1;
        let (first, _) = self.span.unwrap_or((event.time, event.time));
        self.span = Some((first, event.time));
        if let Some(process) = &event.process {
            recognise(&process.program);
        }
        let mut verdicts = std::mem::take(&mut self.verdicts);
        self.evaluator.evaluate(event, number, &mut verdicts);
        for verdict in verdicts.drain(..) {
            let mut decided = Vec::new();
            match verdict {
                // What is not known by now will not come to be known.
                Verdict::NotYet(finding) => {
                    self.evaluator.decide(finding, event, number, &mut decided);
                }
                other => decided.push(other),
            }
            for verdict in decided {
                self.take(verdict, event, number);
            }
        }
        self.verdicts = verdicts;
    }

    fn take(&mut self, verdict: Verdict, event: &Arc<Event>, number: u64) {
        match verdict {
            Verdict::Found {
                rule,
                finding,
                fold,
            } => {
                let (severity, message) = (finding.severity, finding.message.clone());
                let announced = self.folds.take(&rule, finding, fold, event, number);
                let tally = self.tally(&rule);
                tally.findings += 1;
                tally.severity = tally.severity.max(severity);
                let (first, _) = tally.span.unwrap_or((event.time, event.time));
                tally.span = Some((first, event.time));
                if announced.is_some() {
                    tally.alerts += 1;
                    if tally.messages.len() < MESSAGES {
                        tally.messages.push(message);
                    }
                }
                let place = place(event);
                if tally.places.len() < MAX_PLACES || tally.places.contains_key(&place) {
                    *tally.places.entry(place).or_default() += 1;
                }
            }
            Verdict::Excepted(rule, _) => self.tally(&rule).excepted += 1,
            Verdict::NotYet(_) => {}
        }
    }

    fn tally(&mut self, rule: &Arc<ActiveRule>) -> &mut Tally {
        self.tallies
            .entry(rule.rule.id.clone())
            .or_insert_with(|| Tally {
                rule: Arc::clone(rule),
                severity: rule.rule.severity,
                alerts: 0,
                findings: 0,
                excepted: 0,
                span: None,
                places: HashMap::new(),
                messages: Vec::new(),
            })
    }

    /// What each rule would have found, the most frequent first.
    #[must_use]
    pub fn tallies(&self) -> Vec<&Tally> {
        let mut tallies: Vec<&Tally> = self.tallies.values().collect();
        tallies.sort_by_key(|tally| std::cmp::Reverse((tally.findings, tally.excepted)));
        tallies
    }
}

impl Tally {
    /// Where, the most frequent first.
    #[must_use]
    pub fn places(&self) -> Vec<(&str, u64)> {
        let mut places: Vec<(&str, u64)> = self
            .places
            .iter()
            .map(|(place, count)| (place.as_str(), *count))
            .collect();
        places.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
        places.truncate(PLACES);
        places
    }
}

/// A program that was written down before its file had been looked into is judged by its name: its file may be another by now.
fn recognise(program: &Execution) {
    program.recognised.get_or_init(|| {
        let content = match program.name() {
            "busybox" => Content::Multicall("busybox"),
            "toybox" => Content::Multicall("toybox"),
            _ => Content::Unreadable("history does not tell what it is".to_owned()),
        };
        shell::recognise(program, &content).map_or(Recognised::Other, Recognised::Shell)
    });
}

/// Where an event was, as people name it.
fn place(event: &Event) -> String {
    let Place::Container(container, _) = &event.place else {
        return "host".to_owned();
    };
    let details = container.details();
    let description = &details.description;
    match &description.pod {
        Some(pod) if !pod.name.is_empty() => format!("{}/{}", pod.namespace, pod.name),
        _ if !description.name.is_empty() => description.name.clone(),
        _ => container.id.clone(),
    }
}
