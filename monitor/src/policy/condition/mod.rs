//! Conditions: expressions of CEL (<https://cel.dev>) over the fields of an event, checked when they are loaded.
//!
//! The `cel` crate parses; what it parsed is checked against the types of the fields here, and made into closures that
//! read an event where it lies. Nothing is allocated to evaluate one, and nothing can fail: a field that an event does
//! not have is as if it had its type's default value, which is what protobuf says of fields that are not set.
//!
//! Of CEL there are: literals, lists of literals, names, `!`, `&&`, `||`, `?:`, comparisons, `in`, `+`, `-` and `*` of ints (which
//! stop at the ends of their range), `size`, `startsWith`, `endsWith`, `contains`, `matches`, `has`, `exists`, `all`, an index into
//! a list of strings or a map. In addition: `path.matchesPath("**/.ssh/**")`, `name.withinDomain("example.com")`,
//! `address.inNetwork("10.0.0.0/8")`, `path.baseName()`; each also takes a list.

mod answers;
mod check;
pub mod environment;
pub mod fields;
mod functions;
mod message;
mod node;
mod parse;
pub mod schema;
pub mod subject;
pub mod value;
pub mod view;

use check::compile;
pub use environment::Environment;
pub use message::{Message, shown};
use node::{Kind, Scope, Test};
pub use view::View;

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
    test: Test,
}

impl std::fmt::Debug for Condition {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Condition")
    }
}

impl Condition {
    /// Checks a condition.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub fn compile(source: &str, environment: &Environment) -> Result<Self, Vec<Mistake>> {
        let node = compile(source, environment)?;
        let test = match node.kind {
            Kind::ConstBool(false) => {
                return Err(vec![Mistake::new(0, "it can never hold".to_owned())]);
            }
            Kind::ConstBool(true) => Box::new(|_: &Scope<'_>| true) as Test,
            Kind::Bool(test) => test,
            other => {
                return Err(vec![Mistake::new(
                    0,
                    format!("a condition is true or false, and this is {}", other.name()),
                )]);
            }
        };
        Ok(Self { test })
    }

    /// Whether it holds for an event.
    #[must_use]
    pub fn holds(&self, view: &View<'_>) -> bool {
        (self.test)(&Scope { view, local: None })
    }
}

#[cfg(test)]
mod tests;
