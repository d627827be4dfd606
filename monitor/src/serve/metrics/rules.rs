//! The policies in force, and what their rules find.

use std::fmt;

use super::{super::sources::Sources, writer::Writer};
use crate::policy::{file::Severity, rule::ActiveRule, set::RuleSet};

pub(super) fn write(sources: &Sources, writer: &mut Writer<'_>) -> fmt::Result {
    let set = sources.policies.set();
    policies(sources, &set, writer)?;
    evaluation(sources, writer)?;
    findings(&set, writer)
}

fn policies(sources: &Sources, set: &RuleSet, writer: &mut Writer<'_>) -> fmt::Result {
    let policies = &sources.policies;
    writer.info(
        "policy_set",
        "The policies in force.",
        &[("digest", &**set.digest())],
    )?;
    writer.gauge("policy_rules", "Rules in force.", set.rules().len())?;
    let (loads, failures) = policies.loads();
    writer.counters(
        "policy_loads",
        "How often policies were taken over from their files, and how often they were refused.",
        [("taken", loads), ("refused", failures)]
            .map(|(result, count)| ([("result", result)], count)),
    )?;
    writer.gauge(
        "policy_problems",
        "What is wrong with the policy files as they are now; 0 when they are in force.",
        policies.problems().len(),
    )?;
    let hits: u64 = set
        .exceptions()
        .iter()
        .map(|exception| exception.hits().0)
        .sum();
    writer.counter(
        "policy_excepted",
        "Findings that exceptions kept from becoming alerts.",
        hits,
    )
}

fn evaluation(sources: &Sources, writer: &mut Writer<'_>) -> fmt::Result {
    let detection = &sources.detection;
    writer.counter(
        "rule_evaluations",
        "Conditions of rules that were asked of an event.",
        detection.conditions(),
    )?;
    writer.counter(
        "rule_evaluation_seconds",
        "Time that judging events took: rules, detectors, exceptions and folding of repeats.",
        detection.evaluation().as_secs_f64(),
    )?;
    writer.counter(
        "executable_inspection_seconds",
        "Time that looking into executables took, to recognise shells and miners by their content.",
        detection.inspection().as_secs_f64(),
    )
}

fn findings(set: &RuleSet, writer: &mut Writer<'_>) -> fmt::Result {
    // The others only serve rules that build on them.
    let rules = || set.rules().iter().filter(|rule| !rule.silent);
    writer.counters(
        "rule_matches",
        "Findings of a rule, repeats of an alert included.",
        rules().map(|rule| ([("rule", rule.rule.id.as_str())], rule.found.findings())),
    )?;
    let alerts = rules().flat_map(|rule| {
        severities(rule).map(|severity| {
            let labels = [
                ("rule", rule.rule.id.as_str()),
                ("severity", severity.name()),
            ];
            (labels, rule.found.alerts(severity))
        })
    });
    writer.counters(
        "alerts",
        "Alerts raised, by rule and severity. One whose severity rises is raised again.",
        alerts,
    )
}

/// The severities that a rule says it can have, and others that it has had: a detector has its own.
fn severities(rule: &ActiveRule) -> impl Iterator<Item = Severity> {
    Severity::ALL.into_iter().filter(|severity| {
        *severity == rule.rule.severity
            || rule.raise.iter().any(|raise| raise.to == *severity)
            || rule.found.alerts(*severity) > 0
    })
}
