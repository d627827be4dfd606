//! Conditions: expressions of CEL (<https://cel.dev>) over the fields of an event, checked when they are loaded.
//!
//! The `cel` crate parses; what it parsed is checked against the types of the fields here, and made into questions that
//! read an event where it lies. Nothing is allocated to evaluate one, and nothing can fail: a field that an event does
//! not have is as if it had its type's default value, which is what protobuf says of fields that are not set.
//!
//! Of CEL there are: literals, lists of literals, names, `!`, `&&`, `||`, `?:`, comparisons, `in`, `+`, `-` and `*` of ints (which
//! stop at the ends of their range), `size`, `startsWith`, `endsWith`, `contains`, `matches`, `has`, `exists`, `all`, an index into
//! a list of strings or a map. In addition: `path.matchesPath("**/.ssh/**")`, `name.withinDomain("example.com")`,
//! `address.inNetwork("10.0.0.0/8")`, `path.baseName()`; each also takes a list.

mod answers;
mod beginnings;
mod check;
pub mod environment;
pub mod fields;
mod functions;
mod literals;
mod message;
mod node;
mod parse;
pub mod schema;
pub mod subject;
mod truth;
pub mod value;
pub mod view;

use std::{collections::BTreeSet, sync::Arc};

use check::compile;
pub use environment::Environment;
pub use message::{Message, ShownField};
use node::{Kind, Node, Scope};
use truth::{Questions, Test};
pub use view::View;

use crate::proto::v1::EventKind;

/// Something wrong in a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where, in bytes from the beginning of the text.
    pub at: usize,
    /// What is wrong, and what to do, in one line.
    pub message: String,
}

impl Mistake {
    /// A mistake.
    #[must_use]
    pub fn new(at: usize, message: String) -> Self {
        Self { at, message }
    }
}

/// A condition that was checked.
pub struct Condition {
    forms: Vec<Arc<Form>>,
}

/// A condition, as far as it matters for events of a kind.
pub struct Form {
    /// `None` for all kinds.
    kind: Option<EventKind>,
    questions: Questions,
    reasons: Option<BTreeSet<String>>,
}

impl std::fmt::Debug for Condition {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Condition")
    }
}

impl std::fmt::Debug for Form {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Form of {:?}", self.kind)
    }
}

impl Condition {
    /// Checks a condition.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub fn compile(source: &str, environment: &Environment) -> Result<Self, Vec<Mistake>> {
        compile(source, environment, None).map(Self::from)
    }

    /// Checks a condition that is asked of the kinds of events of the environment, each of which has only some of the fields: for
    /// each it is as short as it can be. It does not hold for events of other kinds.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub fn by_kind(source: &str, environment: &Environment) -> Result<Self, Vec<Mistake>> {
        if let [kind] = environment.events.as_slice() {
            return compile(source, environment, schema::kind(kind)).map(Self::from);
        }
        Self::compile(source, environment)?;
        let kinds = environment
            .events
            .iter()
            .filter_map(|name| schema::kind(name));
        // What is right for all kinds together is wrong for one only where it can't hold for it.
        let form = |kind| compile(source, environment, Some(kind)).ok();
        let forms: Vec<_> = kinds.filter_map(form).map(Arc::new).collect();
        if forms.is_empty() {
            return Err(never());
        }
        Ok(Self { forms })
    }

    /// Whether it holds for an event.
    #[must_use]
    pub fn holds(&self, view: &View<'_>) -> bool {
        self.form(view.event.detail.kind())
            .is_some_and(|form| form.holds(view))
    }

    /// What it is for events of a kind; `None` where it can't hold for them.
    #[must_use]
    pub fn form(&self, kind: EventKind) -> Option<&Arc<Form>> {
        self.forms
            .iter()
            .find(|form| form.kind.is_none_or(|of| of == kind))
    }
}

impl From<Form> for Condition {
    fn from(form: Form) -> Self {
        Self {
            forms: vec![Arc::new(form)],
        }
    }
}

impl Form {
    fn of(node: Node, kind: Option<EventKind>) -> Result<Self, Vec<Mistake>> {
        let test = match node.kind {
            Kind::ConstBool(false) => return Err(never()),
            Kind::ConstBool(true) => Test::new(|_| true),
            Kind::Bool(test) => test,
            other => {
                return Err(vec![Mistake::new(
                    0,
                    format!("a condition is true or false, and this is {}", other.name()),
                )]);
            }
        };
        Ok(Self {
            kind,
            questions: test.into(),
            reasons: node.reasons,
        })
    }

    /// Whether it holds for an event of its kind.
    #[must_use]
    pub fn holds(&self, view: &View<'_>) -> bool {
        self.questions.hold(&Scope { view, local: None })
    }

    /// The reasons to watch a file, one of which an event must have for it to hold; `None` where it can hold without.
    #[must_use]
    pub fn reasons(&self) -> Option<&BTreeSet<String>> {
        self.reasons.as_ref()
    }
}

fn never() -> Vec<Mistake> {
    vec![Mistake::new(0, "it can never hold".to_owned())]
}

#[cfg(test)]
mod tests;
