//! Asks the rules of an event. The same for live events and for those of the past.

use std::{
    borrow::Cow,
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, SystemTime},
};

use lru::LruCache;

use super::{
    alert::Finding,
    baseline::{Baselines, LEARNING},
    figures::Figures,
    fold,
    listeners::Listeners,
    reverse_shell::ReverseShells,
    said::Said,
    scope::{self, Key},
    shell,
    threshold::Thresholds,
};
use crate::{
    event::{Detail, Event},
    policy::{
        condition::View,
        file::Severity,
        rule::{ActiveRule, After, Exception, Logic},
        select::Selected,
        selection::Selections,
        set::RuleSet,
    },
};

/// Findings that later ones may be chained to.
pub(super) const CHAINED: NonZeroUsize = NonZeroUsize::new(8_192).expect("not zero");

/// What the rules say of an event.
#[derive(Debug)]
pub enum Verdict {
    /// Something was found. `fold` tells it apart from other findings of the rule in the container.
    Found {
        /// The rule.
        rule: Arc<ActiveRule>,
        /// What was found.
        finding: Finding,
        /// Values of the rule's fields to fold by.
        fold: String,
    },
    /// It is known and harmless.
    Excepted(Arc<ActiveRule>, Arc<Exception>),
    /// It can't be told before the runtime has told more of the container: ask [`Evaluator::decide`] later.
    NotYet(Undecided),
}

/// What a rule has found, as long as nobody has looked whether it is about this workload.
#[derive(Clone, Debug)]
pub struct Undecided {
    rule: Arc<ActiveRule>,
    /// What a detector says; a condition's rule says it from the event.
    said: Option<Box<Finding>>,
}

/// See the module.
pub struct Evaluator {
    set: Arc<RuleSet>,
    /// Which processes listen.
    pub listeners: Listeners,
    thresholds: Thresholds,
    reverse_shells: ReverseShells,
    baselines: Baselines,
    selections: Selections,
    /// What rules find in the event: room for it.
    hits: Vec<Undecided>,
    /// Room for values that have to be new.
    values: String,
    /// Rules that found something in this event, and whose findings are added up.
    scored: Vec<String>,
    /// When rules found something last, and in what event.
    found: LruCache<(String, Key), (SystemTime, u64)>,
    /// Conditions that were asked.
    asked: u64,
}

impl Evaluator {
    /// An evaluator that remembers nothing yet.
    #[must_use]
    pub fn new(set: Arc<RuleSet>, listeners: Listeners) -> Self {
        Self {
            set,
            listeners,
            thresholds: Thresholds::default(),
            reverse_shells: ReverseShells::default(),
            baselines: Baselines::new(LEARNING),
            selections: Selections::default(),
            hits: Vec::new(),
            values: String::new(),
            scored: Vec::new(),
            found: LruCache::new(CHAINED),
            asked: 0,
        }
    }

    /// The same, which takes what a workload does within another time for usual.
    #[must_use]
    pub fn with_learning(self, learning: Duration) -> Self {
        Self {
            baselines: Baselines::new(learning),
            ..self
        }
    }

    /// Replaces the rules. What is remembered of processes stays.
    pub fn replace(&mut self, set: Arc<RuleSet>) {
        self.set = set;
        self.selections.forget();
    }

    /// How many conditions were asked since the last call.
    pub(super) fn take_asked(&mut self) -> u64 {
        std::mem::take(&mut self.asked)
    }

    /// Tells how much it remembers.
    pub(super) fn report(&self, figures: &Figures) {
        figures.findings.set(self.found.len());
        figures.thresholds.set(self.thresholds.len());
        figures.workloads.set(self.baselines.len());
        figures.listeners.set(self.listeners.len());
        figures.selections.set(self.selections.count());
    }

    /// Asks every rule of an event, and takes note of what later events will be judged by. `number` is the event's.
    pub fn evaluate(&mut self, event: &Event, number: u64, out: &mut Vec<Verdict>) {
        self.listeners.note(event);
        let is_host = event.container().is_none();
        if !is_host && event.is_set_up() {
            return;
        }
        let mut hits = std::mem::take(&mut self.hits);
        {
            let view = View::new(event, &self.listeners);
            let chosen = event
                .container()
                .map(|container| self.selections.of(container, self.set.selectors()));
            let asked = self.set.ask(&view, chosen, |rule| {
                hits.push(Undecided {
                    rule: Arc::clone(rule),
                    said: None,
                });
            });
            self.asked += asked as u64;
        }
        // What is judged first can be what another has to come after.
        hits.sort_unstable_by(|one, other| one.rule.rule.id.cmp(&other.rule.rule.id));
        if !is_host {
            self.detect(event, number, &mut hits);
        }
        for hit in hits.drain(..) {
            out.extend(self.judge(hit, event, number, false));
        }
        self.hits = hits;
        self.add_up_all(event, number, out);
    }

    /// Decides on a finding for which something was not known: what is not known by now is taken for unknown, so that rules apply and
    /// exceptions do not.
    pub fn decide(
        &mut self,
        finding: Undecided,
        event: &Event,
        number: u64,
        out: &mut Vec<Verdict>,
    ) {
        out.extend(self.judge(finding, event, number, true));
        self.add_up_all(event, number, out);
    }

    fn add_up_all(&mut self, event: &Event, number: u64, out: &mut Vec<Verdict>) {
        while let Some(id) = self.scored.pop() {
            self.add_up(&id, event, number, out);
        }
    }

    /// Asks the detectors.
    fn detect(&mut self, event: &Event, number: u64, hits: &mut Vec<Undecided>) {
        let Self {
            set,
            listeners,
            reverse_shells,
            baselines,
            ..
        } = self;
        let mut take = |said: Said| {
            if let Some(rule) = set.get(said.rule) {
                hits.push(Undecided {
                    rule: Arc::clone(rule),
                    said: Some(Box::new(said.finding(&rule.rule))),
                });
            }
        };
        if let Detail::Exec = event.detail {
            let slot = event.container().map_or(0, |container| container.slot);
            if let Some(said) = shell::judge(event, |ancestor| listeners.port(ancestor, slot)) {
                take(said);
            }
        }
        if let Some(said) = reverse_shells.observe(event, number) {
            take(said);
        }
        if let Some(said) = baselines.observe(event) {
            take(said);
        }
    }

    /// Adds up what was found, for the rules that a rule's finding counts for.
    fn add_up(&mut self, id: &str, event: &Event, number: u64, out: &mut Vec<Verdict>) {
        let set = Arc::clone(&self.set);
        for rule in set.scores_of(id) {
            let Logic::Score(score) = &rule.logic else {
                continue;
            };
            let Some(key) = scope::key(score.per, event) else {
                continue;
            };
            let mut parts: Vec<(&str, u32, u64)> = score
                .of
                .iter()
                .filter_map(|(part, weight)| {
                    let (time, number) = self.found.peek(&(part.clone(), key))?;
                    let since = event.time.duration_since(*time).unwrap_or(Duration::ZERO);
                    (since <= score.within).then_some((part.as_str(), *weight, *number))
                })
                .collect();
            let sum: u32 = parts.iter().map(|(_, weight, _)| weight).sum();
            if sum < score.at_least {
                continue;
            }
            parts.sort_by_key(|(_, weight, _)| std::cmp::Reverse(*weight));
            let all: Vec<String> = parts
                .iter()
                .map(|(part, weight, _)| format!("{part} ({weight})"))
                .collect();
            let finding = Finding {
                rule: Arc::clone(&rule.rule),
                severity: rule.rule.severity,
                message: format!("{sum} of {} points: {}", score.at_least, all.join(", ")),
                ancestors: event.ancestors.clone(),
                injected_by: event.injected_by.clone(),
                facts: [
                    (Cow::from("score"), sum.to_string()),
                    (Cow::from("parts"), all.join(", ")),
                ]
                .into(),
                claimed: Vec::new(),
                evidence: parts
                    .iter()
                    .map(|(_, _, evidence)| *evidence)
                    .filter(|evidence| *evidence != number)
                    .collect(),
            };
            let hit = Undecided {
                rule: Arc::clone(rule),
                said: Some(Box::new(finding)),
            };
            out.extend(self.judge(hit, event, number, false));
        }
    }

    /// Whether what a rule has found is about a workload of the rule, and not excepted; `finally` as in [`Self::decide`].
    fn judge(
        &mut self,
        hit: Undecided,
        event: &Event,
        number: u64,
        finally: bool,
    ) -> Option<Verdict> {
        let view = View::new(event, &self.listeners);
        let rule = &hit.rule;
        let selected = |selector: &crate::policy::select::Selector| match view.details() {
            Some(details) => match selector.container(details) {
                Selected::NotYet if finally => Selected::Unknown,
                other => other,
            },
            None if selector.host => Selected::Yes,
            None => Selected::No,
        };
        match selected(&rule.selector) {
            Selected::No => return None,
            Selected::NotYet => return Some(Verdict::NotYet(hit)),
            Selected::Yes | Selected::Unknown => {}
        }
        let mut is_undecided = false;
        for exception in self.set.exceptions() {
            if !exception.is_about(&rule.rule.id) || exception.is_over(event.time) {
                continue;
            }
            let is_instance = || {
                exception
                    .condition
                    .as_ref()
                    .is_none_or(|condition| condition.holds(&view))
            };
            match selected(&exception.selector) {
                Selected::Yes if is_instance() => {
                    return Some(Verdict::Excepted(Arc::clone(rule), Arc::clone(exception)));
                }
                Selected::NotYet if is_instance() => is_undecided = true,
                _ => {}
            }
        }
        if is_undecided {
            return Some(Verdict::NotYet(hit));
        }
        let mut evidence = Vec::new();
        for after in &rule.after {
            evidence.push(earlier(&mut self.found, after, event)?);
        }
        if let Some(threshold) = &rule.threshold {
            self.values.clear();
            fold::write_values(&threshold.distinct, &view, &mut self.values);
            let key = scope::key(threshold.per, event)?;
            let id = &rule.rule.id;
            evidence.extend(self.thresholds.reached(
                id,
                threshold,
                key,
                &self.values,
                event.time,
                number,
            )?);
        }
        let fold = fold::values(&rule.fold.by, &view);
        let finding = match hit.said {
            Some(said) => Some(*said),
            None => {
                let severity = rule.severity(&view, |after| {
                    earlier(&mut self.found, after, event).is_some()
                });
                say(rule, severity, event, &view, evidence)
            }
        };
        for per in scope::ALL {
            if let Some(key) = scope::key(per, event) {
                self.found
                    .put((rule.rule.id.clone(), key), (event.time, number));
            }
        }
        if self.set.scores_of(&rule.rule.id).next().is_some() {
            self.scored.push(rule.rule.id.clone());
        }
        if rule.silent {
            return None;
        }
        Some(Verdict::Found {
            rule: Arc::clone(&hit.rule),
            finding: finding?,
            fold,
        })
    }
}

/// The event of a rule's finding that has to have come before.
fn earlier(
    found: &mut LruCache<(String, Key), (SystemTime, u64)>,
    after: &After,
    event: &Event,
) -> Option<u64> {
    let key = scope::key(after.per, event)?;
    let (time, number) = found.get(&(after.rule.clone(), key))?;
    let since = event.time.duration_since(*time).unwrap_or(Duration::ZERO);
    (since <= after.within).then_some(*number)
}

/// What the rule of a condition says.
fn say(
    rule: &Arc<ActiveRule>,
    severity: Severity,
    event: &Event,
    view: &View<'_>,
    evidence: Vec<u64>,
) -> Option<Finding> {
    let Logic::Condition(_, message) = &rule.logic else {
        return None;
    };
    let (message, facts) = message.say(view);
    let claimed: Vec<Cow<'static, str>> = facts
        .iter()
        .filter(|(name, _)| is_claimed(name, &event.detail))
        .map(|(name, _)| Cow::from(name.clone()))
        .collect();
    Some(Finding {
        rule: Arc::clone(&rule.rule),
        severity,
        message,
        ancestors: event.ancestors.clone(),
        injected_by: event.injected_by.clone(),
        facts: facts
            .into_iter()
            .map(|(name, value)| (Cow::from(name), value))
            .collect(),
        claimed,
        evidence,
    })
}

/// Whether a field is what the process says, and not what the kernel saw.
fn is_claimed(field: &str, detail: &Detail) -> bool {
    const CLAIMED: [&str; 9] = [
        "process.argv",
        "process.filename",
        "payload.agent",
        "mount.source",
        "mount.target",
        "process_access.claimed_pid",
        "process_control.name",
        "kernel_call.name",
        "loader_variable.value",
    ];
    match detail {
        Detail::Message(_, detail) => match &**detail {
            crate::proto::v1::event::Detail::FileChange(change)
                if field.starts_with("file_change.path") || field == "file_change.new_path" =>
            {
                change.path_claimed
            }
            _ => CLAIMED.contains(&field),
        },
        _ => CLAIMED.contains(&field),
    }
}
