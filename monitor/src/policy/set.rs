//! The set of policies in force: rules ready to be asked, found by the kind of event, by the workload, and by what a file is watched
//! for.

use std::{collections::HashMap, path::Path, sync::Arc};

use super::{
    case::Case,
    condition::{Form, View},
    loader,
    rule::{ActiveRule, Exception, Logic},
    select::{Selected, Selector},
    source::{self, Source},
};
use crate::{
    policy::condition::schema::{self, KINDS},
    problem::Problem,
};

/// See the module.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<Arc<ActiveRule>>,
    /// What selects the workloads that rules are about, each once. What selects every container is none of them, and what selects
    /// the host neither.
    selectors: Vec<Selector>,
    /// The rules about containers, by kind of event.
    of_containers: Vec<OfContainers>,
    /// Those about the host.
    of_host: Vec<OfKind>,
    /// Those that add up findings, by the rules whose findings they are.
    scores: HashMap<String, Vec<usize>>,
    exceptions: Vec<Arc<Exception>>,
    /// Names it.
    digest: Arc<str>,
    /// Files that it was made of.
    files: Vec<String>,
}

/// The rules about a kind of event in containers.
#[derive(Clone, Debug, Default)]
struct OfContainers {
    /// Those about every container.
    of_any: OfKind,
    /// Those about workloads, by the place in [`RuleSet::selectors`] of what selects them.
    of_selected: Vec<(usize, OfKind)>,
}

impl OfContainers {
    fn of_selector(&mut self, selector: usize) -> &mut OfKind {
        let known = self
            .of_selected
            .iter()
            .position(|(known, _)| *known == selector);
        let place = known.unwrap_or_else(|| {
            self.of_selected.push((selector, OfKind::default()));
            self.of_selected.len() - 1
        });
        &mut self.of_selected[place].1
    }
}

/// The rules with a condition about a kind of event.
#[derive(Clone, Debug, Default)]
struct OfKind {
    /// Asked of every event of the kind.
    always: Vec<Question>,
    /// Asked where the file is watched for a reason, by that reason.
    by_reason: hashbrown::HashMap<String, Vec<Question>>,
}

/// A rule, by its place in [`RuleSet::rules`], and what is asked for it.
#[derive(Clone, Debug)]
struct Question {
    rule: usize,
    form: Arc<Form>,
}

impl OfKind {
    fn add(&mut self, question: Question) {
        match question.form.reasons() {
            Some(reasons) => {
                for reason in reasons {
                    let of_reason = self.by_reason.entry_ref(reason).or_default();
                    of_reason.push(question.clone());
                }
            }
            None => self.always.push(question),
        }
    }

    fn of_reason(&self, reason: &str) -> &[Question] {
        self.by_reason.get(reason).map_or(&[], Vec::as_slice)
    }

    /// What is only asked for these reasons, each once.
    fn of_reasons<'a>(&'a self, reasons: &'a [String]) -> impl Iterator<Item = &'a Question> {
        reasons.iter().enumerate().flat_map(move |(place, reason)| {
            let is_new = move |question: &&Question| {
                let mut earlier = reasons[..place].iter();
                !earlier.any(|reason| {
                    let mut asked = self.of_reason(reason).iter();
                    asked.any(|asked| asked.rule == question.rule)
                })
            };
            self.of_reason(reason).iter().filter(is_new)
        })
    }

    /// Asks what can hold for an event, calls `found` with the place of each rule that does, and tells how many were asked.
    fn ask(&self, view: &View<'_>, mut found: impl FnMut(usize)) -> usize {
        let mut asked = self.always.len();
        for question in &self.always {
            if question.form.holds(view) {
                found(question.rule);
            }
        }
        for question in self.of_reasons(view.event.detail.reasons()) {
            asked += 1;
            if question.form.holds(view) {
                found(question.rule);
            }
        }
        asked
    }
}

/// A set, and what comes with it for whoever tests policies.
#[derive(Debug)]
pub struct Loaded {
    /// The set.
    pub set: RuleSet,
    /// Events that rules must find, and that they must not.
    pub cases: Vec<Case>,
}

impl RuleSet {
    /// The built-in policies, with those of a directory.
    ///
    /// # Errors
    /// With everything that is wrong in them.
    pub fn load(directory: Option<&Path>) -> Result<Loaded, Vec<Problem>> {
        let own = match directory {
            Some(directory) => source::of_directory(directory)?,
            None => Vec::new(),
        };
        Self::of(&own)
    }

    /// The built-in policies, with these.
    ///
    /// # Errors
    /// With everything that is wrong in them.
    pub fn of(own: &[Source]) -> Result<Loaded, Vec<Problem>> {
        loader::load(own)
    }

    /// Puts rules and exceptions in the order in which they are looked for; `digest` names the files that they are from.
    #[must_use]
    pub fn new(
        mut rules: Vec<ActiveRule>,
        exceptions: Vec<Exception>,
        digest: Arc<str>,
        files: Vec<String>,
    ) -> Self {
        rules.sort_by(|one, other| one.rule.id.cmp(&other.rule.id));
        // Kinds are counted from 1.
        let mut of_containers = vec![OfContainers::default(); KINDS.len() + 1];
        let mut of_host = vec![OfKind::default(); KINDS.len() + 1];
        let mut selectors: Vec<Selector> = Vec::new();
        let mut scores: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, rule) in rules.iter().enumerate() {
            let condition = match &rule.logic {
                Logic::Condition(condition, _) => condition,
                Logic::Detector(_) => continue,
                Logic::Score(score) => {
                    for (part, _) in &score.of {
                        scores.entry(part.clone()).or_default().push(index);
                    }
                    continue;
                }
            };
            let selector = &rule.selector;
            let is_narrow = !selector.host && !selector.is_any_container();
            let narrow = is_narrow.then(|| {
                let known = selectors.iter().position(|known| known == selector);
                known.unwrap_or_else(|| {
                    selectors.push(selector.clone());
                    selectors.len() - 1
                })
            });
            for kind in rule.events.iter().filter_map(|event| schema::kind(event)) {
                let Some(form) = condition.form(kind) else {
                    continue;
                };
                let of_kind = match narrow {
                    Some(narrow) => of_containers[kind as usize].of_selector(narrow),
                    None if selector.host => &mut of_host[kind as usize],
                    None => &mut of_containers[kind as usize].of_any,
                };
                of_kind.add(Question {
                    rule: index,
                    form: Arc::clone(form),
                });
            }
        }
        Self {
            rules: rules.into_iter().map(Arc::new).collect(),
            selectors,
            of_containers,
            of_host,
            scores,
            exceptions: exceptions.into_iter().map(Arc::new).collect(),
            digest,
            files,
        }
    }

    /// The digest of the files that it was made of.
    #[must_use]
    pub fn digest(&self) -> &Arc<str> {
        &self.digest
    }

    /// Files that it was made of.
    #[must_use]
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// Every rule, by id.
    #[must_use]
    pub fn rules(&self) -> &[Arc<ActiveRule>] {
        &self.rules
    }

    /// Every exception.
    #[must_use]
    pub fn exceptions(&self) -> &[Arc<Exception>] {
        &self.exceptions
    }

    /// A rule by its id, unless it is switched off.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<ActiveRule>> {
        self.rules
            .binary_search_by(|rule| rule.rule.id.as_str().cmp(id))
            .ok()
            .map(|index| &self.rules[index])
    }

    /// What selects workloads that rules are about, for [`Self::ask`].
    #[must_use]
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// Asks the rules about an event whether their condition holds: those about the host, or those about its container, with the
    /// answers of [`Self::selectors`] for that. Calls `found` with those that do, in no order, and tells how many were asked.
    pub fn ask<'a>(
        &'a self,
        view: &View<'_>,
        container: Option<&[Selected]>,
        mut found: impl FnMut(&'a Arc<ActiveRule>),
    ) -> usize {
        let kind = view.event.detail.kind() as usize;
        let mut ask = |rules: &OfKind| rules.ask(view, |rule| found(&self.rules[rule]));
        let Some(chosen) = container else {
            return self.of_host.get(kind).map_or(0, ask);
        };
        let Some(rules) = self.of_containers.get(kind) else {
            return 0;
        };
        let of_selected = rules.of_selected.iter().filter(|(selector, _)| {
            // What can't be told yet is decided on once something was found.
            chosen.get(*selector) != Some(&Selected::No)
        });
        ask(&rules.of_any) + of_selected.map(|(_, rules)| ask(rules)).sum::<usize>()
    }

    /// The rules that add up findings of a rule.
    pub fn scores_of(&self, rule: &str) -> impl Iterator<Item = &Arc<ActiveRule>> {
        self.scores
            .get(rule)
            .into_iter()
            .flatten()
            .map(|index| &self.rules[*index])
    }

    /// Goes on counting what the rules and exceptions of an earlier set counted. Of a set that is in use already nothing
    /// changes.
    pub(super) fn continue_from(&mut self, before: &Self) {
        for rule in self.rules.iter_mut().filter_map(Arc::get_mut) {
            if let Some(same) = before.get(&rule.rule.id) {
                rule.found = Arc::clone(&same.found);
            }
        }
        for exception in self.exceptions.iter_mut().filter_map(Arc::get_mut) {
            let same = before.exceptions.iter().find(|other| {
                (&other.policy, &other.rules, &other.text, &other.reason)
                    == (
                        &exception.policy,
                        &exception.rules,
                        &exception.text,
                        &exception.reason,
                    )
            });
            if let Some(same) = same {
                exception.continue_from(same);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::{
        policy::{
            case::{self, OfCases},
            condition::{Condition, Environment},
            selection::Selections,
            source::Lists,
        },
        proto::v1::EventKind,
    };

    /// The rules of `own` that find an exec in a container of a namespace.
    fn found(set: &RuleSet, selections: &mut Selections, namespace: &str) -> Vec<String> {
        let event = json!({"kind": "exec", "container": {"id": "c", "pod": {"uid": "1", "name": "p", "namespace": namespace}}});
        let event = case::parse(&event).expect("right");
        let container = event.container().expect("in a container");
        let chosen = selections.of(container, set.selectors());
        let mut found = Vec::new();
        set.ask(&View::new(&event, &OfCases), Some(chosen), |rule| {
            found.push(rule.rule.id.clone());
        });
        found.retain(|id| id.starts_with("own."));
        found
    }

    #[test]
    fn rules_are_asked_of_the_workloads_that_they_are_about() {
        let policy = |namespace: &str, rules: &[&str]| {
            let rules: Vec<String> = rules
                .iter()
                .map(|id| {
                    format!("  - {{id: own.{id}, title: T, severity: low, events: [exec], condition: \"true\", message: m, attack: [T1059], description: d, triage: t, benign: [b]}}\n")
                })
                .collect();
            Source {
                name: format!("{namespace}.yaml"),
                text: format!(
                    "apiVersion: watchkeeper.dev/v1\nkind: Policy\nmetadata: {{name: {namespace}}}\nselect: {{namespaces: [{namespace}]}}\nrules:\n{}",
                    rules.concat()
                ),
                lists: Lists::Given(BTreeMap::new()),
            }
        };
        let own = [policy("shop", &["a", "b"]), policy("pay", &["c"])];
        let set = RuleSet::of(&own).expect("right").set;
        assert_eq!(set.selectors().len(), 2, "each once");
        let mut selections = Selections::default();
        // All of them have the same slot: what is known decides.
        for (namespace, expected) in [
            ("shop", &["own.a", "own.b"][..]),
            ("pay", &["own.c"]),
            ("pay", &["own.c"]),
            ("web", &[]),
            ("shop", &["own.a", "own.b"]),
        ] {
            assert_eq!(
                found(&set, &mut selections, namespace),
                expected,
                "{namespace}"
            );
        }
    }

    #[test]
    fn an_event_with_several_reasons_asks_each_rule_once() {
        let question = |rule| {
            let condition = Condition::compile("true", &Environment::default());
            let condition = condition.expect("it is right");
            let form = condition.form(EventKind::FileOpen).expect("of all kinds");
            Question {
                rule,
                form: Arc::clone(form),
            }
        };
        let mut rules = OfKind {
            always: vec![question(3)],
            ..OfKind::default()
        };
        for (reason, of_reason) in [("a", [0, 2]), ("b", [1, 2]), ("c", [2, 4])] {
            let questions = of_reason.map(question).to_vec();
            rules.by_reason.insert(reason.to_owned(), questions);
        }
        for (reasons, expected) in [
            (&[][..], &[3][..]),
            (&["x"], &[3]),
            (&["a"], &[3, 0, 2]),
            (&["a", "a"], &[3, 0, 2]),
            (&["x", "c", "b", "a"], &[3, 2, 4, 1, 0]),
        ] {
            let event =
                json!({"kind": "file-open", "fileOpen": {"path": "/x", "reasons": reasons}});
            let event = case::parse(&event).expect("right");
            let mut found = Vec::new();
            let asked = rules.ask(&View::new(&event, &OfCases), |rule| found.push(rule));
            assert_eq!(found, expected, "{reasons:?}");
            assert_eq!(asked, found.len(), "all of them hold");
        }
    }
}
