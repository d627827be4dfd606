//! One rule: from its form to what is asked of events.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde_saphyr::Spanned;

use super::Loader;
use crate::policy::{
    attack,
    case::Case,
    condition::{
        Condition, Environment, Message, ShownField, fields,
        schema::{self, KINDS},
    },
    file::{AfterForm, PolicyFile, RuleForm, Select},
    rule::{ActiveRule, After, Fold, Logic, Raise, Rule, Score, Threshold},
    select::Selector,
    source::Source,
};

/// Detectors of the agent that rules can name.
const DETECTORS: &[&str] = &[
    "shell",
    "reverse-shell",
    "listener-baseline",
    "flow-baseline",
];
/// How long findings are the same one after the other, where a rule does not say.
const FOLD: Duration = Duration::from_secs(3_600);
/// Most times that a threshold may ask for.
const MAX_COUNT: u32 = 1_000;
/// The longest time that a threshold or a chain may look back.
const MAX_WITHIN: Duration = Duration::from_secs(86_400);
/// Most rules.
const MAX_RULES: usize = 4_096;

impl Loader {
    pub(super) fn rule(
        &mut self,
        source: &Source,
        file: &PolicyFile,
        form: &RuleForm,
        environment: &Environment,
    ) {
        let id = &form.id;
        if self.rules.len() == MAX_RULES {
            return self.wrong(source, id, format!("there are more than {MAX_RULES} rules"));
        }
        if let Err(message) = check_id(&id.value) {
            return self.wrong(source, id, message);
        }
        if let Some((other, _)) = self.places.get(&id.value) {
            let message = format!(
                "rule `{}` is also in {}; change a built-in rule with `overrides`",
                id.value, other.name
            );
            return self.wrong(source, id, message);
        }
        self.places
            .insert(id.value.clone(), (source.clone(), id.clone()));
        let events = self.events(source, form);
        let environment = Environment {
            events: events.clone(),
            ..environment.clone()
        };
        let selector = self.selector(source, id, &[file.select.as_ref(), form.select.as_ref()]);
        let logic = self.logic(source, form, &environment);
        let raise = self.raise(source, form, &environment);
        let attack = form
            .attack
            .iter()
            .filter_map(|id| {
                let found = attack::technique(&id.value);
                if found.is_none() {
                    let hint = schema::nearest(&id.value, attack::ids().map(str::to_owned))
                        .map_or_else(String::new, |id| format!("; did you mean `{id}`?"));
                    let message = format!(
                        "`{}` is no technique of ATT&CK that is known here{hint}",
                        id.value
                    );
                    self.wrong(source, id, message);
                }
                found
            })
            .collect();
        let threshold = self.threshold(source, form, &events);
        let fold = self.fold(source, form, &events);
        let after = form
            .after
            .iter()
            .map(|form| self.after(source, form))
            .collect();
        self.cases.extend(form.cases.iter().map(|case| Case {
            rule: id.value.clone(),
            name: case.name.value.clone(),
            matches: case.matches,
            event: case.event.clone(),
            place: source.problem(&case.name, String::new()),
        }));
        let (Some(selector), Some(logic)) = (selector, logic) else {
            return;
        };
        self.rules.push(ActiveRule {
            rule: Arc::new(Rule {
                id: id.value.clone(),
                title: form.title.clone(),
                severity: form.severity,
                attack,
                description: form.description.clone(),
                triage: form.triage.clone(),
                benign: form.benign.clone(),
                policy: source.name.clone(),
                set: Arc::clone(&self.set),
            }),
            events,
            logic,
            condition: form
                .condition
                .as_ref()
                .map(|condition| condition.value.clone())
                .unwrap_or_default(),
            selector,
            raise,
            threshold,
            after,
            fold,
            silent: form.silent,
            found: Arc::default(),
        });
    }

    fn events(&mut self, source: &Source, form: &RuleForm) -> Vec<String> {
        for event in &form.events {
            if !KINDS.contains(&event.value.as_str()) {
                let hint = schema::nearest(&event.value, KINDS.iter().map(|&kind| kind.to_owned()))
                    .map_or_else(
                        || format!("; there are {}", KINDS.join(", ")),
                        |kind| format!("; did you mean `{kind}`?"),
                    );
                let message = format!("there is no kind of event `{}`{hint}", event.value);
                self.wrong(source, event, message);
            }
        }
        form.events
            .iter()
            .map(|event| event.value.clone())
            .collect()
    }

    pub(super) fn selector(
        &mut self,
        source: &Source,
        about: &Spanned<String>,
        parts: &[Option<&Select>],
    ) -> Option<Selector> {
        match Selector::new(parts) {
            Ok(selector) => Some(selector),
            Err(message) => {
                self.wrong(source, about, message);
                None
            }
        }
    }

    fn logic(
        &mut self,
        source: &Source,
        form: &RuleForm,
        environment: &Environment,
    ) -> Option<Logic> {
        if let Some(score) = &form.score {
            let alone =
                form.condition.is_none() && form.detector.is_none() && form.events.is_empty();
            let highest: u32 = score.of.values().sum();
            if !alone {
                self.wrong(
                    source,
                    &form.id,
                    "a score stands in place of events, condition and detector",
                );
            } else if score.at_least == 0 || highest < score.at_least {
                let message = format!(
                    "it can never hold: all weights together are {highest}, and {} are wanted",
                    score.at_least
                );
                self.wrong(source, &form.id, message);
            } else if score.within.0 > MAX_WITHIN {
                self.wrong(source, &form.id, "looking back more than a day is too long");
            }
            return Some(Logic::Score(Score {
                at_least: score.at_least,
                within: score.within.0,
                per: score.per,
                of: score
                    .of
                    .iter()
                    .map(|(rule, weight)| (rule.clone(), *weight))
                    .collect(),
            }));
        }
        match (&form.condition, &form.detector) {
            (Some(condition), None) => {
                if form.events.is_empty() {
                    self.wrong(
                        source,
                        &form.id,
                        "a condition needs `events`: the kinds it is asked of",
                    );
                    return None;
                }
                let compiled = Condition::by_kind(&condition.value, environment)
                    .map_err(|mistakes| self.mistakes(source, condition, &mistakes));
                let Some(message) = &form.message else {
                    self.wrong(source, &form.id, "`message` is missing: what an alert says");
                    return None;
                };
                let said = Message::parse(&message.value, &environment.events)
                    .map_err(|mistake| self.mistakes(source, message, &[mistake]));
                Some(Logic::Condition(compiled.ok()?, said.ok()?))
            }
            (None, Some(detector)) if DETECTORS.contains(&detector.value.as_str()) => {
                Some(Logic::Detector(detector.value.clone()))
            }
            (None, Some(detector)) => {
                let message = format!(
                    "there is no detector `{}`; there are {}",
                    detector.value,
                    DETECTORS.join(", ")
                );
                self.wrong(source, detector, message);
                None
            }
            (Some(_), Some(detector)) => {
                self.wrong(
                    source,
                    detector,
                    "a rule has a condition or a detector, and not both",
                );
                None
            }
            (None, None) => {
                self.wrong(
                    source,
                    &form.id,
                    "`condition` is missing: what has to be so",
                );
                None
            }
        }
    }

    fn raise(&mut self, source: &Source, form: &RuleForm, environment: &Environment) -> Vec<Raise> {
        form.raise
            .iter()
            .filter_map(|raise| {
                if raise.to <= form.severity {
                    let message = format!(
                        "the severity is {} already, and can't be raised to {}",
                        form.severity.name(),
                        raise.to.name()
                    );
                    self.wrong(source, &raise.when, message);
                }
                let unless = raise.unless.as_ref();
                let unless = unless.map(|form| self.after(source, form));
                match Condition::compile(&raise.when.value, environment) {
                    Ok(when) => Some(Raise {
                        to: raise.to,
                        when,
                        unless,
                    }),
                    Err(mistakes) => {
                        self.mistakes(source, &raise.when, &mistakes);
                        None
                    }
                }
            })
            .collect()
    }

    /// What has to have been found before.
    fn after(&mut self, source: &Source, form: &AfterForm) -> After {
        if form.within.0 > MAX_WITHIN {
            self.wrong(
                source,
                &form.rule,
                "looking back more than a day is too long",
            );
        }
        After {
            rule: form.rule.value.clone(),
            within: form.within.0,
            per: form.per,
        }
    }

    fn threshold(
        &mut self,
        source: &Source,
        form: &RuleForm,
        events: &[String],
    ) -> Option<Threshold> {
        let found = form.threshold.as_ref()?;
        if found.count < 2 || found.count > MAX_COUNT || found.within.0 > MAX_WITHIN {
            let message = format!("a threshold counts 2 to {MAX_COUNT} times within a day at most");
            self.wrong(source, &form.id, message);
        }
        Some(Threshold {
            count: found.count,
            within: found.within.0,
            per: found.per,
            distinct: self.fields(source, &found.distinct, events),
        })
    }

    fn fold(&mut self, source: &Source, form: &RuleForm, events: &[String]) -> Fold {
        let found = form.fold.as_ref();
        Fold {
            within: found
                .and_then(|fold| fold.within)
                .map_or(FOLD, |time| time.0),
            by: match found {
                Some(fold) if !fold.by.is_empty() => self.fields(source, &fold.by, events),
                _ => ShownField::find("process.exe").into_iter().collect(),
            },
        }
    }

    fn fields(
        &mut self,
        source: &Source,
        fields: &[Spanned<String>],
        events: &[String],
    ) -> Vec<ShownField> {
        for field in fields {
            if let Err(message) = fields::field(&field.value, events) {
                self.wrong(source, field, message);
            }
        }
        let fields = fields.iter();
        fields
            .filter_map(|field| ShownField::find(&field.value))
            .collect()
    }

    /// Rules that are named by others have to be there, and not to wait for each other.
    pub(super) fn chains<'a>(&mut self, files: impl Iterator<Item = &'a (Source, PolicyFile)>) {
        let mut waits: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut problems = Vec::new();
        for (source, file) in files {
            for form in &file.rules {
                let parts = form.score.iter().flat_map(|score| score.of.keys());
                for part in parts {
                    if !self.places.contains_key(part) {
                        let hint = schema::nearest(part, self.places.keys().cloned())
                            .map_or_else(String::new, |id| format!("; did you mean `{id}`?"));
                        problems.push(source.problem(
                            &form.id,
                            format!("its score: there is no rule `{part}`{hint}"),
                        ));
                    }
                    waits.entry(&form.id.value).or_default().push(part);
                }
                let unless = form.raise.iter().filter_map(|raise| raise.unless.as_ref());
                for after in form.after.iter().chain(unless) {
                    if !self.places.contains_key(&after.rule.value) {
                        let hint = schema::nearest(&after.rule.value, self.places.keys().cloned())
                            .map_or_else(String::new, |id| format!("; did you mean `{id}`?"));
                        let message = format!("there is no rule `{}`{hint}", after.rule.value);
                        problems.push(source.problem(&after.rule, message));
                    }
                    waits
                        .entry(&form.id.value)
                        .or_default()
                        .push(&after.rule.value);
                }
                if waits.contains_key(form.id.value.as_str())
                    && waits_for_itself(&form.id.value, &waits)
                {
                    let message = format!("`{}` would wait for itself", form.id.value);
                    problems.push(source.problem(&form.id, message));
                }
            }
        }
        self.problems.extend(problems);
    }
}

fn waits_for_itself(id: &str, waits: &BTreeMap<&str, Vec<&str>>) -> bool {
    let mut seen = HashSet::new();
    let mut next: Vec<&str> = waits.get(id).cloned().unwrap_or_default();
    while let Some(rule) = next.pop() {
        if rule == id {
            return true;
        }
        if seen.insert(rule) {
            next.extend(waits.get(rule).into_iter().flatten());
        }
    }
    false
}

fn check_id(id: &str) -> Result<(), String> {
    let is_word = |word: &str| {
        !word.is_empty()
            && word.chars().all(|letter| {
                letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-'
            })
    };
    if id.contains('.') && id.len() <= 64 && id.split('.').all(is_word) {
        Ok(())
    } else {
        Err(format!(
            "`{id}` is no id of a rule, such as `shell.injected`: words of small letters, digits and dashes, joined by dots"
        ))
    }
}
