//! Events that rules must find, and that they must not: written beside the rules, and asked of them.

use anyhow::Context as _;

use super::{
    condition::{View, subject::Memory},
    recorded,
    rule::Logic,
    set::RuleSet,
};
use crate::{
    container::registry::Place, event::Event, problem::Problem, process::execution::Process, proto,
};

/// The process id that the agent has in cases: one that no process can have.
const AGENT: u32 = (1 << 22) + 1;

/// What is remembered when a case comes.
pub(super) struct OfCases;

impl Memory for OfCases {
    fn listening_port(&self, _: &Process, _: u32) -> Option<u16> {
        None
    }

    fn agent(&self) -> u32 {
        AGENT
    }
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Case {
    /// The rule's id.
    pub rule: String,
    /// What happens.
    pub name: String,
    /// Whether the rule must find it.
    pub matches: bool,
    /// The event, as JSON.
    pub event: serde_json::Value,
    /// Where it stands.
    pub place: Problem,
}

/// How a case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// Otherwise, with what happened.
    Failed(String),
    /// The rule is switched off.
    Off,
}

/// Asks a rule of a case.
#[must_use]
pub fn run(case: &Case, set: &RuleSet) -> Outcome {
    let event = match parse(&case.event) {
        Ok(event) => event,
        Err(error) => return Outcome::Failed(format!("{error:#}")),
    };
    let Some(rule) = set.get(&case.rule) else {
        return Outcome::Off;
    };
    let Logic::Condition(condition, _) = &rule.logic else {
        return Outcome::Failed("only rules with a condition are tested by cases".to_owned());
    };
    let kind = proto::kind_name(event.detail.kind());
    if !rule.events.iter().any(|event| event == kind) {
        return Outcome::Failed(format!(
            "its event is {kind}, and the rule is about {}",
            rule.events.join(", ")
        ));
    }
    let is_on_host = !matches!(event.place, Place::Container(..));
    let view = View::new(&event, &OfCases);
    let found = rule.selector.host == is_on_host && condition.holds(&view);
    match (found, case.matches) {
        (true, true) | (false, false) => Outcome::Passed,
        (true, false) => Outcome::Failed("it is found, and must not be".to_owned()),
        (false, true) if rule.selector.host != is_on_host => Outcome::Failed(
            "it is not found: the event is not in a container (give it `container: {id: c}`), or the rule is about the host"
                .to_owned(),
        ),
        (false, true) => Outcome::Failed("it is not found, and must be".to_owned()),
    }
}

/// An event from the JSON of a case.
///
/// # Errors
/// When it is no event.
pub fn parse(json: &serde_json::Value) -> anyhow::Result<Event> {
    let message = proto::from_written_json("Event", json.clone())
        .context("the event is not in the form of `watchkeeper events -o json`")?;
    recorded::event(&message)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::policy::source::{Lists, Source};

    #[test]
    fn every_case_of_the_catalogue_goes_as_it_should() {
        let loaded = RuleSet::of(&[]).unwrap_or_else(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{}", lines.join("\n"));
        });
        let failed: Vec<String> = loaded
            .cases
            .iter()
            .filter_map(|case| match run(case, &loaded.set) {
                Outcome::Failed(why) => {
                    Some(format!("{}{}: {}: {why}", case.place, case.rule, case.name))
                }
                Outcome::Passed | Outcome::Off => None,
            })
            .collect();
        assert!(failed.is_empty(), "{}", failed.join("\n"));
        for rule in loaded.set.rules() {
            let cases = loaded.cases.iter().filter(|case| case.rule == rule.rule.id);
            let (found, other): (Vec<_>, Vec<_>) = cases.partition(|case| case.matches);
            let has_both = !found.is_empty() && !other.is_empty();
            let has_condition = matches!(rule.logic, Logic::Condition(..));
            assert!(
                !has_condition || has_both,
                "{} has cases of both kinds",
                rule.rule.id
            );
        }
    }

    #[test]
    fn the_policy_in_the_readme_is_right() {
        let readme = include_str!("../../../README.md");
        let (_, rest) = readme
            .split_once("```yaml\napiVersion: watchkeeper.dev/v1\nkind: Policy")
            .expect("it has a policy");
        let (text, _) = rest.split_once("```").expect("it ends");
        let source = Source {
            name: "README.md".to_owned(),
            text: format!("apiVersion: watchkeeper.dev/v1\nkind: Policy{text}"),
            lists: Lists::Given(BTreeMap::new()),
        };
        let loaded = RuleSet::of(&[source]).unwrap_or_else(|problems| panic!("{problems:#?}"));
        let own = loaded
            .cases
            .iter()
            .filter(|case| case.place.file == "README.md");
        let outcomes: Vec<Outcome> = own.map(|case| run(case, &loaded.set)).collect();
        assert_eq!(outcomes, [Outcome::Passed, Outcome::Passed]);
        assert!(loaded.set.get("net.ssh").is_none(), "it is switched off");
    }
}
