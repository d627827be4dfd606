//! What was found in a workload, past the test harness's capture of output.
//!
//! For each rule that found something a line `quiet WORKLOAD SECONDS s RULE SEVERITY COUNT PER-HOUR/h`, and
//! `quiet WORKLOAD SECONDS s none` where none did; COUNT is of alerts. Below them, what each alert says.

use std::collections::BTreeMap;
use std::io::Write as _;

use watchkeeper::proto::v1::{Alert, Severity};

use super::Finished;

/// Writes the lines of a workload.
pub(crate) fn write(workload: &Finished, alerts: &[&Alert]) {
    let mut counts: BTreeMap<(&str, Severity), u64> = BTreeMap::new();
    for alert in alerts {
        let key = (alert.rule_id.as_str(), alert.severity());
        *counts.entry(key).or_default() += 1;
    }
    let seconds = workload.took.as_secs().max(1);
    let start = format!("quiet {} {seconds} s", workload.name);
    let mut stderr = std::io::stderr();
    // Nothing depends on whether anybody reads it.
    if counts.is_empty() {
        let _ = writeln!(stderr, "{start} none");
    }
    for ((rule, severity), count) in counts {
        let (severity, rate) = (word(severity), count * 3600 / seconds);
        let _ = writeln!(stderr, "{start} {rule} {severity} {count} {rate}/h");
    }
    for alert in alerts {
        let _ = writeln!(stderr, "    {}", describe(workload.name, alert));
    }
}

/// One line about an alert that should not have been.
pub(crate) fn describe(name: &str, alert: &Alert) -> String {
    let exe = alert.process.as_ref().map_or("", |process| &process.exe);
    let (rule, severity) = (&alert.rule_id, word(alert.severity()));
    format!("{name}: {rule} {severity} by {exe}: {}", alert.message)
}

/// A severity as the rules have it.
fn word(severity: Severity) -> String {
    let name = severity.as_str_name();
    name.trim_start_matches("SEVERITY_").to_lowercase()
}
