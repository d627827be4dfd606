//! The set of policies in force: rules ready to be asked, found by the kind of event.

use std::{collections::HashMap, path::Path, sync::Arc};

use super::{
    case::Case,
    loader,
    rule::{ActiveRule, Exception, Logic},
    source::{self, Problem, Source},
};
use crate::{policy::condition::schema::KINDS, proto::v1::EventKind};

/// See the module.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<Arc<ActiveRule>>,
    /// Places in `rules`: of those about containers, by kind of event.
    of_containers: Vec<Vec<usize>>,
    /// Those about the host.
    of_host: Vec<Vec<usize>>,
    /// Those that add up findings, by the rules whose findings they are.
    scores: HashMap<String, Vec<usize>>,
    exceptions: Vec<Arc<Exception>>,
    /// Names it.
    digest: Arc<str>,
    /// Files that it was made of.
    files: Vec<String>,
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
        let mut of_containers = vec![Vec::new(); KINDS.len() + 1];
        let mut of_host = of_containers.clone();
        let mut scores: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, rule) in rules.iter().enumerate() {
            match &rule.logic {
                Logic::Condition(..) => {}
                Logic::Detector(_) => continue,
                Logic::Score(score) => {
                    for (part, _) in &score.of {
                        scores.entry(part.clone()).or_default().push(index);
                    }
                    continue;
                }
            }
            let by_kind = if rule.selector.host {
                &mut of_host
            } else {
                &mut of_containers
            };
            for event in &rule.events {
                // Kinds are counted from 1.
                if let Some(kind) = KINDS.iter().position(|kind| kind == event) {
                    by_kind[kind + 1].push(index);
                }
            }
        }
        Self {
            rules: rules.into_iter().map(Arc::new).collect(),
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

    /// The rules with a condition about a kind of event: those about containers, or those about the host.
    pub fn about(&self, kind: EventKind, host: bool) -> impl Iterator<Item = &Arc<ActiveRule>> {
        let index = if host {
            &self.of_host
        } else {
            &self.of_containers
        };
        index
            .get(kind as usize)
            .into_iter()
            .flatten()
            .map(|rule| &self.rules[*rule])
    }

    /// The rules that add up findings of a rule.
    pub fn scores_of(&self, rule: &str) -> impl Iterator<Item = &Arc<ActiveRule>> {
        self.scores
            .get(rule)
            .into_iter()
            .flatten()
            .map(|index| &self.rules[*index])
    }

    /// Carries on what was counted for the exceptions of an earlier set.
    pub fn continue_from(&self, before: &Self) {
        for exception in &self.exceptions {
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
