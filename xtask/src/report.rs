//! The steps of a test run: what each is called, what came of it, how long it took, and the sums at the end.

use std::time::{Duration, Instant};

use anyhow::Result;

/// What came of a step.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// It did what it should.
    Passed,
    /// It did not; what it printed says why.
    Failed,
    /// It could not be done here, for this reason.
    Skipped(String),
}

/// Steps so far.
#[derive(Default)]
pub(crate) struct Report {
    steps: Vec<(String, Outcome, Duration)>,
}

impl Report {
    /// Does one step under a heading. An error counts as a failure and is printed.
    pub(crate) fn step(&mut self, name: &str, action: impl FnOnce() -> Result<Outcome>) {
        println!("\n=== {name}");
        let start = Instant::now();
        let result = action();
        self.add(name, result, start.elapsed());
    }

    /// Adds a step that was done elsewhere. An error counts as a failure and is printed.
    pub(crate) fn add(&mut self, name: &str, result: Result<Outcome>, time: Duration) {
        let outcome = result.unwrap_or_else(|error| {
            eprintln!("error: {name}: {error:#}");
            Outcome::Failed
        });
        if let Outcome::Skipped(reason) = &outcome {
            println!("skipped: {reason}");
        }
        self.steps.push((name.to_owned(), outcome, time));
    }

    /// How many steps failed.
    pub(crate) fn failed(&self) -> usize {
        self.count(|outcome| *outcome == Outcome::Failed)
    }

    /// A table of the steps and, alone on the last line, their sums.
    pub(crate) fn summary(&self) -> String {
        let width = self
            .steps
            .iter()
            .map(|(name, ..)| name.chars().count())
            .max()
            .unwrap_or(0);
        let mut text = String::from("\n=== summary\n");
        for (name, outcome, time) in &self.steps {
            let outcome = match outcome {
                Outcome::Passed => "passed".to_owned(),
                Outcome::Failed => "FAILED".to_owned(),
                // The first line of a reason names it; the rest was printed when it happened.
                Outcome::Skipped(reason) => {
                    format!("skipped: {}", reason.lines().next().unwrap_or_default())
                }
            };
            text.push_str(&format!(
                "{name:width$}  {:>7.1} s  {outcome}\n",
                time.as_secs_f64()
            ));
        }
        let passed = self.count(|outcome| *outcome == Outcome::Passed);
        let skipped = self.count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        text.push_str(&format!(
            "\n{passed} passed, {} failed, {skipped} skipped\n",
            self.failed()
        ));
        text
    }

    fn count(&self, which: impl Fn(&Outcome) -> bool) -> usize {
        self.steps
            .iter()
            .filter(|(_, outcome, _)| which(outcome))
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_holds_the_sums_and_an_error_is_a_failure() {
        let mut report = Report::default();
        report.step("a", || Ok(Outcome::Passed));
        report.step("b", || anyhow::bail!("broken"));
        report.step("long name", || {
            Ok(Outcome::Skipped("needs root\nmore".to_owned()))
        });
        let summary = report.summary();
        assert_eq!(report.failed(), 1);
        assert!(summary.contains("skipped: needs root\n"), "{summary}");
        assert_eq!(
            summary.lines().last(),
            Some("1 passed, 1 failed, 1 skipped")
        );
    }
}
