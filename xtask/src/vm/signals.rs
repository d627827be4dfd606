//! What became of each signal of the suite on each kernel, and what the rules found in it; and the records of both that are kept.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// A record that is kept.
struct Record {
    /// Where it is, from the workspace's root.
    path: &'static str,
    /// How lines of the suite begin that it is made of.
    lines: &'static str,
    /// What stands above its table.
    heading: &'static str,
    /// What its rows are.
    rows: &'static str,
}

const RECORDS: [Record; 2] = [
    Record {
        path: "xtask/records/signals.md",
        lines: SIGNAL,
        heading: "# Signals by kernel\n\nEach signal is caused by a process of a container, and must come as an event with the \
                  fields that it should have.\n",
        rows: "signal",
    },
    Record {
        path: "xtask/records/rules.md",
        lines: RULE,
        heading: "# Rules by kernel\n\nEach technique is performed by a process of a container, and must be found by the rule, with \
                  its severity; in machines without a runtime by a program that plays containers, else in podman's. The column of \
                  podman is of the last `cargo xtask test`.\n",
        rows: "rule/technique",
    },
];

/// How what the suite says of a signal begins, after the mark of the harness.
pub(crate) const SIGNAL: &str = "signal ";

/// The same of what it says of a rule.
pub(crate) const RULE: &str = "rule ";

/// What became of one signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The event came, with the fields that it should have.
    Pass,
    /// It did not, or had others.
    Fail(String),
    /// The kernel has nothing to cause or to see it.
    NotOffered(String),
}

/// The signals of one kernel.
#[derive(Debug, Default)]
pub(crate) struct Signals(BTreeMap<String, Verdict>);

impl Signals {
    /// Takes a line of the suite, without the word before it: `tcp-connect pass`.
    pub(crate) fn take(&mut self, line: &str) {
        let Some((name, rest)) = line.split_once(' ') else {
            return;
        };
        let (word, why) = rest.split_once(' ').unwrap_or((rest, ""));
        let verdict = match word {
            "pass" => Verdict::Pass,
            "fail" => Verdict::Fail(why.to_owned()),
            "not-offered" => Verdict::NotOffered(why.to_owned()),
            _ => return,
        };
        self.0.insert(name.to_owned(), verdict);
    }

    /// How many there were of each; `what` names them.
    pub(crate) fn summary(&self, what: &str) -> String {
        let count =
            |is: fn(&Verdict) -> bool| self.0.values().filter(|verdict| is(verdict)).count();
        format!(
            "{} {what} pass, {} fail, {} are not offered",
            count(|verdict| *verdict == Verdict::Pass),
            count(|verdict| matches!(verdict, Verdict::Fail(_))),
            count(|verdict| matches!(verdict, Verdict::NotOffered(_))),
        )
    }

    /// Those that are not as they should be, a line each.
    pub(crate) fn remarks(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(|(name, verdict)| match verdict {
            Verdict::Pass => None,
            Verdict::Fail(why) => Some(format!("{name} fails: {why}")),
            Verdict::NotOffered(why) => Some(format!("{name} is not offered: {why}")),
        })
    }
}

/// What the end-to-end tests find on this host, kept as a machine's console is.
pub(crate) struct OfHost(File);

impl OfHost {
    /// Where it is kept in the directory of consoles.
    pub(crate) const NAME: &str = "host.log";

    /// Begins it anew. The tests add their lines themselves.
    pub(crate) fn begin(logs: &Path) -> Result<Self> {
        fs::create_dir_all(logs).with_context(|| format!("could not make {}", logs.display()))?;
        let path = logs.join(Self::NAME);
        fs::write(&path, "").with_context(|| format!("could not write {}", path.display()))?;
        let file = File::options().append(true).open(&path);
        let mut file = file.with_context(|| format!("could not open {}", path.display()))?;
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")
            .context("could not read the kernel's release")?;
        writeln!(file, "vm: booted {} (podman)", release.trim())?;
        Ok(Self(file))
    }

    /// Says that the tests came to their end.
    pub(crate) fn end(mut self) -> Result<()> {
        Ok(writeln!(self.0, "vm: success")?)
    }
}

/// Writes the table of signals and kernels from the consoles in `logs`, one for each kernel that was booted last; what a kernel
/// does not offer is explained below it.
pub(crate) fn record(root: &Path, logs: &Path) -> Result<()> {
    let files = fs::read_dir(logs).with_context(|| format!("could not list {}", logs.display()))?;
    let mut consoles = Vec::new();
    for file in files.filter_map(Result::ok).map(|file| file.path()) {
        if file.extension().is_some_and(|extension| extension == "log") {
            let console = fs::read_to_string(&file)
                .with_context(|| format!("could not read {}", file.display()))?;
            consoles.push(console);
        }
    }
    for record in &RECORDS {
        let mut kernels: Vec<_> = consoles
            .iter()
            .filter_map(|console| of_console(console, record.lines))
            .collect();
        kernels.sort_by_key(|(release, _)| super::kernel::numbers(release));
        let path = root.join(record.path);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("could not make {}", directory.display()))?;
        }
        fs::write(&path, table(record, &kernels))
            .with_context(|| format!("could not write {}", path.display()))?;
        println!("a record is in {}", record.path);
    }
    Ok(())
}

/// Release and signals of a console, from lines that begin so; `None` where the machine did not come to its end.
fn of_console(console: &str, prefix: &str) -> Option<(String, Signals)> {
    let mut release = None;
    let mut signals = Signals::default();
    let mut ended = false;
    for line in console.lines().filter_map(|line| line.strip_prefix("vm: ")) {
        if let Some(booted) = line.strip_prefix("booted ") {
            release = Some(booted.to_owned());
        } else if let Some(signal) = line.strip_prefix(prefix) {
            signals.take(signal);
        } else {
            ended |= line == "success" || line.starts_with("failure: not every signal");
        }
    }
    release
        .filter(|_| ended && !signals.0.is_empty())
        .map(|release| (release, signals))
}

fn table(record: &Record, kernels: &[(String, Signals)]) -> String {
    let mut text = format!(
        "{}Written by `cargo xtask vm --record`; a small `n` is explained below.\n\n",
        record.heading
    );
    let names: std::collections::BTreeSet<&String> = kernels
        .iter()
        .flat_map(|(_, signals)| signals.0.keys())
        .collect();
    // Writing to a string does not fail.
    let _ = write!(text, "| {} |", record.rows);
    for (release, _) in kernels {
        let _ = write!(text, " {release} |");
    }
    let _ = write!(text, "\n| --- |{}\n", " --- |".repeat(kernels.len()));
    let mut notes = String::new();
    for name in names {
        let _ = write!(text, "| {name} |");
        for (release, signals) in kernels {
            let word = match signals.0.get(name) {
                Some(Verdict::Pass) => "pass",
                Some(Verdict::Fail(why)) => {
                    let _ = writeln!(notes, "- {name} fails on {release}: {why}");
                    "**fail**"
                }
                Some(Verdict::NotOffered(why)) => {
                    let _ = writeln!(notes, "- {name} is not offered by {release}: {why}");
                    "n"
                }
                None => "",
            };
            let _ = write!(text, " {word} |");
        }
        text.push('\n');
    }
    if !notes.is_empty() {
        let _ = write!(text, "\n{notes}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_counts_once_the_machine_came_to_its_end() {
        let console = "x\nvm: booted 6.1.0\nvm: signal tcp-connect pass\n";
        assert!(of_console(console, SIGNAL).is_none());
        let (release, signals) =
            of_console(&format!("{console}vm: success\n"), SIGNAL).expect("ended");
        assert_eq!(release, "6.1.0");
        assert_eq!(
            signals.summary("signals"),
            "1 signals pass, 0 fail, 0 are not offered"
        );
    }

    #[test]
    fn lines_become_a_table() {
        let mut signals = Signals::default();
        for line in [
            "tcp-connect pass",
            "ptrace-attach fail no event",
            "loginuid not-offered no audit",
            "nonsense",
            "x y z",
        ] {
            signals.take(line);
        }
        assert_eq!(
            signals.summary("signals"),
            "1 signals pass, 1 fail, 1 are not offered"
        );
        let remarks: Vec<_> = signals.remarks().collect();
        assert_eq!(
            remarks,
            [
                "loginuid is not offered: no audit",
                "ptrace-attach fails: no event"
            ]
        );
        let table = table(&RECORDS[0], &[("6.1.0".to_owned(), signals)]);
        assert!(table.contains("| tcp-connect | pass |"), "{table}");
        assert!(table.contains("| loginuid | n |"), "{table}");
        assert!(
            table.ends_with("- ptrace-attach fails on 6.1.0: no event\n"),
            "{table}"
        );
    }
}
