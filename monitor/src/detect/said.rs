//! What a detector says of an event.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use super::alert::Finding;
use crate::{
    event::{Ancestor, Event},
    policy::rule::Rule,
    process::execution::Process,
};

/// See the module.
#[derive(Clone, Debug)]
pub struct Said {
    /// Id of the rule.
    pub rule: &'static str,
    /// One sentence with the particulars.
    pub message: String,
    /// Ancestors, as far as they matter.
    pub ancestors: Vec<Ancestor>,
    /// The process outside the container that put it there.
    pub injected_by: Option<Arc<Process>>,
    /// What was found, by name.
    pub facts: BTreeMap<&'static str, String>,
    /// Fields that the process chooses itself.
    pub claimed: Vec<&'static str>,
    /// Numbers of earlier events that are part of it.
    pub evidence: Vec<u64>,
}

impl Said {
    /// Something about the process of an event.
    #[must_use]
    pub fn of(rule: &'static str, event: &Event, message: String) -> Self {
        Self {
            rule,
            message,
            ancestors: event.ancestors.clone(),
            injected_by: event.injected_by.clone(),
            facts: BTreeMap::new(),
            claimed: Vec::new(),
            evidence: Vec::new(),
        }
    }

    /// The same as finding of a rule.
    #[must_use]
    pub fn finding(self, rule: &Arc<Rule>) -> Finding {
        Finding {
            rule: Arc::clone(rule),
            severity: rule.severity,
            message: self.message,
            ancestors: self.ancestors,
            injected_by: self.injected_by,
            facts: self
                .facts
                .into_iter()
                .map(|(name, fact)| (Cow::from(name), fact))
                .collect(),
            claimed: self.claimed.into_iter().map(Cow::from).collect(),
            evidence: self.evidence,
        }
    }
}
