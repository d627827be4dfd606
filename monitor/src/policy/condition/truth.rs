//! What is true or false of an event: questions, how they are joined, and the order in which they are asked.

use super::node::Scope;

type Question = Box<dyn Fn(&Scope<'_>) -> bool + Send + Sync>;

/// Questions as a condition joins them.
pub(super) enum Test {
    Ask(Question),
    Not(Box<Self>),
    /// Both hold; the second is only asked where the first does.
    And(Box<[Self; 2]>),
    /// One holds; the second is only asked where the first does not.
    Or(Box<[Self; 2]>),
    /// The second holds where the first does, and the third where it does not.
    Choice(Box<[Self; 3]>),
}

impl Test {
    pub(super) fn new(question: impl Fn(&Scope<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self::Ask(Box::new(question))
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self::And(Box::new([self, other]))
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self::Or(Box::new([self, other]))
    }

    pub(super) fn choose(self, yes: Self, no: Self) -> Self {
        Self::Choice(Box::new([self, yes, no]))
    }
}

impl std::ops::Not for Test {
    type Output = Self;

    fn not(self) -> Self {
        Self::Not(Box::new(self))
    }
}

/// The same questions in a row, each of which says where to go on: what joins them costs nothing when they are asked.
pub(super) struct Questions {
    steps: Box<[Step]>,
    first: usize,
}

struct Step {
    question: Question,
    /// The step after this one where the question's answer is yes, or one of the ends.
    yes: usize,
    no: usize,
}

/// Ends, which are no steps.
const HOLDS: usize = usize::MAX;
const FAILS: usize = usize::MAX - 1;

impl Questions {
    pub(super) fn hold(&self, scope: &Scope<'_>) -> bool {
        let mut next = self.first;
        while let Some(step) = self.steps.get(next) {
            next = if (step.question)(scope) {
                step.yes
            } else {
                step.no
            };
        }
        next == HOLDS
    }
}

impl From<Test> for Questions {
    fn from(test: Test) -> Self {
        let mut steps = Vec::new();
        let first = link(test, HOLDS, FAILS, &mut steps);
        Self {
            steps: steps.into(),
            first,
        }
    }
}

/// Adds the steps of a test, after which it goes on at `yes` or `no`, and tells which is the first.
fn link(test: Test, yes: usize, no: usize, steps: &mut Vec<Step>) -> usize {
    // Those that are asked later have to be known before.
    match test {
        Test::Ask(question) => {
            steps.push(Step { question, yes, no });
            steps.len() - 1
        }
        Test::Not(test) => link(*test, no, yes, steps),
        Test::And(both) => {
            let [one, other] = *both;
            let other = link(other, yes, no, steps);
            link(one, other, no, steps)
        }
        Test::Or(either) => {
            let [one, other] = *either;
            let other = link(other, yes, no, steps);
            link(one, yes, other, steps)
        }
        Test::Choice(parts) => {
            let [asked, one, other] = *parts;
            let one = link(one, yes, no, steps);
            let other = link(other, yes, no, steps);
            link(asked, one, other, steps)
        }
    }
}
