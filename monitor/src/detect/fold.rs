//! The same finding again: one alert with a count, announced anew only when it matters more.

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, SystemTime},
};

use lru::LruCache;

use super::{
    alert::{Alert, Finding},
    listeners::Listeners,
};
use crate::{
    event::Event,
    policy::{
        condition::{ShownField, View},
        rule::ActiveRule,
        set::RuleSet,
    },
    process::execution::{Process, ProcessKey},
};

/// Findings that are remembered, with their alerts.
pub(super) const REMEMBERED: NonZeroUsize = NonZeroUsize::new(2_048).expect("not zero");

/// What tells a finding: the rule, the container's id, whether it was only tried, and the values that the rule folds by.
type Key = (String, String, bool, String);

/// See the module.
#[derive(Debug)]
pub struct Folds {
    known: LruCache<Key, (Arc<Alert>, SystemTime)>,
    /// Alerts of shells, by the shell's process: what a shell starts belongs to its alert.
    shells: LruCache<ProcessKey, Arc<Alert>>,
}

impl Default for Folds {
    fn default() -> Self {
        Self {
            known: LruCache::new(REMEMBERED),
            shells: LruCache::new(REMEMBERED),
        }
    }
}

fn key(rule: &ActiveRule, event: &Event, fold: String) -> Key {
    let container = event
        .container()
        .map(|container| container.id.clone())
        .unwrap_or_default();
    (rule.rule.id.clone(), container, event.failed(), fold)
}

/// The values of fields in an event, as one text.
#[must_use]
pub fn values(fields: &[ShownField], view: &View<'_>) -> String {
    let mut text = String::new();
    write_values(fields, view, &mut text);
    text
}

/// The same, after what is in `out`.
pub fn write_values(fields: &[ShownField], view: &View<'_>, out: &mut String) {
    for field in fields {
        field.write(view, out);
        out.push('\0');
    }
}

impl Folds {
    /// Takes in an alert of an earlier run. What its event was beyond its process is not known any more, so that a rule which folds by
    /// that makes another alert.
    pub fn restore(&mut self, alert: &Arc<Alert>, set: &RuleSet, listeners: &Listeners) {
        let Some(rule) = set.get(&alert.rule.id) else {
            return;
        };
        let view = View::new(&alert.event, listeners);
        let key = key(rule, &alert.event, values(&rule.fold.by, &view));
        let last = alert.tally().last_seen;
        self.remember(key, alert, alert.process.key, last, rule.is_about_shells());
    }

    /// Takes in a finding. Returns the alert that is to be announced: a new one, or one that has risen.
    pub fn take(
        &mut self,
        rule: &ActiveRule,
        finding: Finding,
        fold: String,
        event: &Arc<Event>,
        number: u64,
    ) -> Option<Arc<Alert>> {
        let process = event
            .process
            .clone()
            .unwrap_or_else(|| Arc::new(Process::unknown()));
        let key = key(rule, event, fold);
        let is_shell = rule.is_about_shells();
        let before = if is_shell {
            self.of_shell_above(event, &rule.rule.id)
        } else {
            None
        };
        let before = before.or_else(|| {
            let (alert, last) = self.known.get(&key)?;
            let since = event.time.duration_since(*last).unwrap_or(Duration::ZERO);
            (since <= rule.fold.within).then(|| Arc::clone(alert))
        });
        let Some(before) = before else {
            let alert = Arc::new(Alert::new(
                finding,
                Arc::clone(event),
                Arc::clone(&process),
                number,
            ));
            self.remember(key, &alert, process.key, event.time, is_shell);
            return Some(alert);
        };
        before.repeat(event.time, number);
        if finding.severity > before.severity {
            let alert =
                Arc::new(before.raised(finding, Arc::clone(event), Arc::clone(&process), number));
            self.remember(key, &alert, process.key, event.time, is_shell);
            return Some(alert);
        }
        self.remember(key, &before, process.key, event.time, is_shell);
        None
    }

    /// How many findings are remembered.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    fn remember(
        &mut self,
        key: Key,
        alert: &Arc<Alert>,
        process: ProcessKey,
        time: SystemTime,
        is_shell: bool,
    ) {
        if is_shell {
            self.shells.put(process, Arc::clone(alert));
        }
        self.known.put(key, (Arc::clone(alert), time));
    }

    /// The alert of the same rule about this process or the nearest shell above it.
    fn of_shell_above(&mut self, event: &Event, rule: &str) -> Option<Arc<Alert>> {
        event
            .process
            .iter()
            .map(|process| process.key)
            .chain(event.ancestors.iter().map(|found| found.process.key))
            .find_map(|key| self.shells.get(&key).cloned())
            .filter(|alert| alert.rule.id == rule)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::policy::{case, file::Severity};

    const ID: &str = "escape.module-load";

    /// A kernel module is loaded, or the attempt fails.
    fn event(error: &str, seconds: u64) -> Arc<Event> {
        let json = serde_json::json!({
            "kind": "kernel-module", "container": {"id": "c"}, "process": {"pid": 7, "exe": "/sbin/insmod"},
            "kernelModule": {"name": "x", "call": {"name": "finit_module", "error": error}},
        });
        let mut event = case::parse(&json).expect("it is an event");
        event.time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Arc::new(event)
    }

    fn finding(set: &RuleSet, severity: Severity) -> Finding {
        Finding {
            rule: Arc::clone(&set.get(ID).expect("built in").rule),
            severity,
            message: String::new(),
            ancestors: Vec::new(),
            injected_by: None,
            facts: BTreeMap::new(),
            claimed: Vec::new(),
            evidence: Vec::new(),
        }
    }

    /// Takes in a finding about an event as the stage of detection does.
    fn take(
        folds: &mut Folds,
        set: &RuleSet,
        event: &Arc<Event>,
        severity: Severity,
    ) -> Option<Arc<Alert>> {
        let rule = set.get(ID).expect("built in");
        let listeners = Listeners::of_the_past();
        let fold = values(&rule.fold.by, &View::new(event, &listeners));
        folds.take(rule, finding(set, severity), fold, event, 1)
    }

    #[test]
    fn a_repeat_is_counted_and_what_matters_more_is_announced() {
        let set = RuleSet::of(&[]).expect("valid").set;
        let mut folds = Folds::default();
        let first = take(&mut folds, &set, &event("EPERM", 0), Severity::High).expect("it is new");
        assert!(take(&mut folds, &set, &event("EPERM", 10), Severity::High).is_none());
        assert_eq!(first.tally().count, 2);
        // What only failed before has come about now.
        let done = take(&mut folds, &set, &event("", 20), Severity::High).expect("it is another");
        assert_ne!(first.id, done.id);
        let risen =
            take(&mut folds, &set, &event("", 30), Severity::Critical).expect("it has risen");
        assert_eq!((&risen.id, risen.tally().count), (&done.id, 2));
        assert!(
            take(&mut folds, &set, &event("", 40), Severity::High).is_none(),
            "it does not fall"
        );
        // Long after the last time it is news again.
        assert!(take(&mut folds, &set, &event("", 10_000), Severity::High).is_some());
    }

    #[test]
    fn an_alert_of_an_earlier_run_is_repeated_and_not_made_anew() {
        let set = RuleSet::of(&[]).expect("valid").set;
        let mut before = Folds::default();
        let alert = take(&mut before, &set, &event("", 0), Severity::Critical).expect("it is new");
        let mut folds = Folds::default();
        folds.restore(&alert, &set, &Listeners::of_the_past());
        assert!(take(&mut folds, &set, &event("", 5), Severity::Critical).is_none());
        assert_eq!(alert.tally().count, 2);
    }
}
