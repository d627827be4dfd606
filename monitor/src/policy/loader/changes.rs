//! What is changed of built-in rules, and what is excepted from rules.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::Loader;
use crate::policy::{
    condition::{Condition, Environment, schema},
    file::{ExceptionForm, Override, PolicyFile},
    rule::{Exception, names},
    source::Source,
};

impl Loader {
    pub(super) fn change(&mut self, source: &Source, change: &Override) {
        let wanted = match (&change.rule, &change.list) {
            (Some(rule), None) => rule,
            (None, Some(_)) => return,
            _ => {
                let message = "an override names a built-in `rule`, or a `list`, and not both";
                return self.problems.push(source.problem_of_file(message));
            }
        };
        if change.enabled.is_none() && change.severity.is_none() {
            return self.wrong(
                source,
                wanted,
                "nothing is changed; say `severity` or `enabled: false`",
            );
        }
        let Some(index) = self
            .rules
            .iter()
            .position(|rule| rule.rule.id == wanted.value)
        else {
            if self.places.contains_key(&wanted.value) {
                // Switched off by another policy, or wrong, which is noted already.
                return;
            }
            let hint = schema::nearest(&wanted.value, self.places.keys().cloned()).map_or_else(
                || "; `watchkeeper policy list` shows all".to_owned(),
                |id| format!("; did you mean `{id}`?"),
            );
            let message = format!("there is no rule `{}`{hint}", wanted.value);
            return self.wrong(source, wanted, message);
        };
        if change.enabled == Some(false) {
            self.rules.remove(index);
            return;
        }
        if let Some(severity) = change.severity {
            let rule = Arc::make_mut(&mut self.rules[index].rule);
            rule.severity = severity;
            rule.policy.clone_from(&source.name);
        }
    }

    pub(super) fn exception(
        &mut self,
        source: &Source,
        file: &PolicyFile,
        form: &ExceptionForm,
        environment: &Environment,
    ) {
        if form.rules.is_empty() {
            return self.wrong(
                source,
                &form.reason,
                "an exception names the `rules` that it is from",
            );
        }
        if form.reason.value.trim().is_empty() {
            return self.wrong(source, &form.reason, "an exception says its reason");
        }
        let mut events: HashSet<String> = HashSet::new();
        for wanted in &form.rules {
            if !self.places.keys().any(|id| names(&wanted.value, id)) {
                let hint = schema::nearest(&wanted.value, self.places.keys().cloned())
                    .map_or_else(String::new, |id| format!("; did you mean `{id}`?"));
                let message = format!("there is no rule `{}`{hint}", wanted.value);
                self.wrong(source, wanted, message);
            }
            for rule in &self.rules {
                if names(&wanted.value, &rule.rule.id) {
                    events.extend(rule.events.iter().cloned());
                }
            }
        }
        let about = &form.rules[0];
        let selector = self.selector(source, about, &[file.select.as_ref(), form.select.as_ref()]);
        let environment = Environment {
            events: events.into_iter().collect(),
            ..environment.clone()
        };
        let condition = match &form.condition {
            None => None,
            Some(text) => match Condition::compile(&text.value, &environment) {
                Ok(condition) => Some((condition, text.value.clone())),
                Err(mistakes) => return self.mistakes(source, text, &mistakes),
            },
        };
        if condition.is_none() && form.select.is_none() && file.select.is_none() {
            let message = "it excepts everything; narrow it with `select` or `condition`, or switch the rule off with `overrides`";
            return self.wrong(source, about, message);
        }
        let until = match &form.until {
            None => None,
            Some(text) => match end_of_day(&text.value) {
                Some(until) => Some(until),
                None => {
                    let message = format!("`{}` is no day, such as 2026-12-31", text.value);
                    return self.wrong(source, text, message);
                }
            },
        };
        if let Some(selector) = selector {
            self.exceptions.push(Exception::new(
                form.rules.iter().map(|rule| rule.value.clone()).collect(),
                selector,
                condition,
                form.reason.value.clone(),
                until,
                source.name.clone(),
            ));
        }
    }
}

/// The first moment after a day, in UTC.
fn end_of_day(text: &str) -> Option<SystemTime> {
    let mut parts = text.splitn(3, '-');
    let mut number = || parts.next()?.parse::<u32>().ok();
    let (year, month, day) = (number()?, number()?, number()?);
    let timestamp = prost_types::Timestamp::date(
        i64::from(year),
        month.try_into().ok()?,
        day.try_into().ok()?,
    )
    .ok()?;
    let start = SystemTime::try_from(timestamp).ok()?;
    start.checked_add(Duration::from_secs(86_400))
}
