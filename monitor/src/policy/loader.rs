//! From policy files to a set that is checked: everything that is wrong in them is found at once.

mod changes;
mod names;
mod rule;

use std::{collections::HashMap, sync::Arc};

use serde_saphyr::Spanned;

use super::{
    case::Case,
    condition::{Environment, Mistake},
    file::{API_VERSION, PolicyFile},
    rule::{ActiveRule, Exception},
    set::{Loaded, RuleSet},
    source::{self, Source},
};
use crate::problem::Problem;

/// The built-in policies, with these.
///
/// # Errors
/// With everything that is wrong in them.
pub fn load(own: &[Source]) -> Result<Loaded, Vec<Problem>> {
    let built_in = source::built_in();
    let digest = source::digest(built_in.iter().chain(own));
    let mut loader = Loader::new(digest.into());
    loader.load(&built_in, own);
    loader.finish(
        built_in
            .iter()
            .chain(own)
            .map(|source| source.name.clone())
            .collect(),
    )
}

struct Loader {
    set: Arc<str>,
    problems: Vec<Problem>,
    /// Lists and definitions of the built-in policies.
    shared: Environment,
    /// How many definitions there are.
    definitions: usize,
    rules: Vec<ActiveRule>,
    /// Where rules stand, by id.
    places: HashMap<String, (Source, Spanned<String>)>,
    exceptions: Vec<Exception>,
    cases: Vec<Case>,
}

impl Loader {
    fn new(set: Arc<str>) -> Self {
        Self {
            set,
            problems: Vec::new(),
            shared: Environment::default(),
            definitions: 0,
            rules: Vec::new(),
            places: HashMap::new(),
            exceptions: Vec::new(),
            cases: Vec::new(),
        }
    }

    fn load(&mut self, built_in: &[Source], own: &[Source]) {
        let built_in = self.parse(built_in);
        let own = self.parse(own);
        for (source, file) in &built_in {
            let mut shared = std::mem::take(&mut self.shared);
            self.names(source, file, &mut shared);
            self.shared = shared;
        }
        for (source, file) in &own {
            for change in &file.overrides {
                self.add_to_list(source, change);
            }
        }
        for (source, file) in built_in.iter().chain(&own) {
            let mut environment = self.shared.clone();
            if !source.is_built_in() {
                self.names(source, file, &mut environment);
            }
            self.check_definitions(source, file, &environment);
            for form in &file.rules {
                self.rule(source, file, form, &environment);
            }
        }
        self.chains(built_in.iter().chain(&own));
        for (source, file) in &own {
            for change in &file.overrides {
                self.change(source, change);
            }
        }
        for (source, file) in built_in.iter().chain(&own) {
            let mut environment = self.shared.clone();
            if !source.is_built_in() {
                // Its mistakes are noted already.
                let before = self.problems.len();
                self.names(source, file, &mut environment);
                self.problems.truncate(before);
            }
            for form in &file.exceptions {
                self.exception(source, file, form, &environment);
            }
        }
    }

    fn finish(self, files: Vec<String>) -> Result<Loaded, Vec<Problem>> {
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        Ok(Loaded {
            set: RuleSet::new(self.rules, self.exceptions, self.set, files),
            cases: self.cases,
        })
    }

    fn parse(&mut self, sources: &[Source]) -> Vec<(Source, PolicyFile)> {
        let mut parsed = Vec::new();
        for source in sources {
            match source.parse() {
                Ok(file) if file.api_version != API_VERSION || file.kind != "Policy" => {
                    self.problems.push(source.problem_of_file(format!(
                        "apiVersion `{}`, kind `{}`: only `{API_VERSION}`, `Policy` is understood",
                        file.api_version, file.kind
                    )));
                }
                Ok(file) => parsed.push((source.clone(), file)),
                Err(problem) => self.problems.push(problem),
            }
        }
        parsed
    }

    fn mistakes(&mut self, source: &Source, text: &Spanned<String>, mistakes: &[Mistake]) {
        self.problems
            .extend(mistakes.iter().map(|mistake| source.mistake(text, mistake)));
    }

    fn wrong<T>(&mut self, source: &Source, value: &Spanned<T>, message: impl Into<String>) {
        self.problems.push(source.problem(value, message));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        container::registry::Place,
        event::{Detail, Event},
        policy::{
            case::{self, OfCases},
            condition::{Condition, View},
        },
        proto::{self, v1},
    };

    /// Every event of the cases; those about files also with each further reason that any of them has.
    fn events(cases: &[Case]) -> Vec<Event> {
        let mut events: Vec<Event> = cases
            .iter()
            .map(|case| case::parse(&case.event).expect("cases are right"))
            .collect();
        let reasons: BTreeSet<String> = events
            .iter()
            .flat_map(|event| event.detail.reasons().to_vec())
            .collect();
        for event in events.clone() {
            for reason in &reasons {
                let mut event = event.clone();
                let Detail::Message(_, detail) = &mut event.detail else {
                    break;
                };
                match &mut **detail {
                    v1::event::Detail::FileOpen(open) => open.reasons.push(reason.clone()),
                    v1::event::Detail::FileChange(change) => change.reasons.push(reason.clone()),
                    _ => break,
                }
                events.push(event);
            }
        }
        events
    }

    #[test]
    fn no_rule_that_holds_is_left_out() {
        let mut loader = Loader::new("".into());
        loader.load(&source::built_in(), &[]);
        // As they are written, for whatever kind of event.
        let whole: HashMap<String, Condition> = loader
            .rules
            .iter()
            .filter(|rule| !rule.condition.is_empty())
            .map(|rule| {
                let environment = Environment {
                    events: rule.events.clone(),
                    ..loader.shared.clone()
                };
                let condition = Condition::compile(&rule.condition, &environment);
                (rule.rule.id.clone(), condition.expect("it was taken"))
            })
            .collect();
        let Loaded { set, cases } = loader.finish(Vec::new()).expect("they are right");
        for event in events(&cases) {
            let kind = proto::kind_name(event.detail.kind());
            let is_on_host = !matches!(event.place, Place::Container(..));
            let view = View::new(&event, &OfCases);
            let holding: Vec<&str> = set
                .rules()
                .iter()
                .filter(|rule| {
                    rule.selector.host == is_on_host && rule.events.iter().any(|name| name == kind)
                })
                .map(|rule| rule.rule.id.as_str())
                .filter(|id| {
                    whole
                        .get(*id)
                        .is_some_and(|condition| condition.holds(&view))
                })
                .collect();
            let view = View::new(&event, &OfCases);
            let mut found: Vec<&str> = Vec::new();
            set.ask(&view, (!is_on_host).then_some(&[]), |rule| {
                found.push(&rule.rule.id);
            });
            found.sort_unstable();
            assert_eq!(found, holding, "{event:?}");
        }
    }
}
