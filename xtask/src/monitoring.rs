//! Prometheus, to check and play the shipped alerting rules with, and for the end-to-end tests that scrape an agent.
//!
//! It is unpacked in the cache and never installed: Debian's package starts a service that listens on every address.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::report::Outcome;
use crate::{command, paths, unpack};

/// The variable that tells the end-to-end tests where Prometheus is.
pub(crate) const PROMETHEUS: &str = "WATCHKEEPER_PROMETHEUS";

const PURPOSE: &str = "test the shipped monitoring";

/// Where the rules are, from the workspace's root.
const DIRECTORY: &str = "deploy/monitoring";
const RULES: &str = "watchkeeper.rules.yaml";
const RULE_TESTS: &str = "watchkeeper.rules.test.yaml";

/// The program, which is fetched when it is missing.
pub(crate) fn prometheus() -> Result<PathBuf> {
    Ok(unpack::root("prometheus", PURPOSE)?.join("usr/bin/prometheus"))
}

/// Checks the alerting rules and plays their unit tests; every rule has to be in one.
pub(crate) fn check() -> Result<Outcome> {
    let directory = paths::repository().join(DIRECTORY);
    let promtool = prometheus()?.with_file_name("promtool");
    for arguments in [["check", "rules", RULES], ["test", "rules", RULE_TESTS]] {
        let mut promtool = Command::new(&promtool);
        promtool.args(arguments).current_dir(&directory);
        println!("{}", command::line(&promtool));
        if !command::status(&mut promtool, "check the alerting rules")?.success() {
            return Ok(Outcome::Failed);
        }
    }
    let read = |name: &str| {
        let path = directory.join(name);
        fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))
    };
    let (rules, tests) = (read(RULES)?, read(RULE_TESTS)?);
    let untested = untested(&rules, &tests);
    if untested.is_empty() {
        return Ok(Outcome::Passed);
    }
    eprintln!("in no test of {RULE_TESTS}: {}", untested.join(", "));
    Ok(Outcome::Failed)
}

/// Alerts of the rules whose name no test expects.
fn untested<'a>(rules: &'a str, tests: &str) -> Vec<&'a str> {
    let expected = |name: &str| {
        tests.contains(&format!("alertname: {name}\n"))
            || tests.contains(&format!("alertname=\"{name}\""))
    };
    rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .filter(|name| !expected(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_rule_without_a_test_is_told() {
        let rules = "rules:\n  - alert: One\n  - alert: Two\n  - alert: Three\n";
        let tests = "- alertname: One\n- expr: ALERTS{alertname=\"Three\"}\n";
        assert_eq!(untested(rules, tests), ["Two"]);
    }

    /// What Grafana refuses or shows wrongly: panels without a data source, over one another, or of the same number.
    #[test]
    fn the_dashboard_is_one_that_grafana_takes() {
        let path = paths::repository().join(DIRECTORY).join("dashboard.json");
        let text = fs::read_to_string(&path).expect("it is in the repository");
        let dashboard: Value = serde_json::from_str(&text).expect("it is JSON");
        // Grafana 10 writes 38 and 39, and takes older ones.
        assert!(
            dashboard["schemaVersion"]
                .as_u64()
                .is_some_and(|version| version <= 39)
        );
        let variables: Vec<_> = array(&dashboard["templating"]["list"])
            .map(|variable| text_of(&variable["name"]))
            .collect();
        assert_eq!(variables, ["datasource", "node"]);
        let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
        for panel in array(&dashboard["panels"]) {
            let title = text_of(&panel["title"]);
            assert!(
                ids.insert(panel["id"].as_u64().expect("a number")),
                "{title}"
            );
            let at = |side: &str| panel["gridPos"][side].as_u64().expect("a number");
            assert!(at("x") + at("w") <= 24, "{title} is too wide");
            for row in at("y")..at("y") + at("h") {
                for column in at("x")..at("x") + at("w") {
                    assert!(cells.insert((row, column)), "{title} lies over another");
                }
            }
            if text_of(&panel["type"]) == "row" {
                continue;
            }
            let mut letters = BTreeSet::new();
            assert!(array(&panel["targets"]).next().is_some(), "{title}");
            for target in array(&panel["targets"]) {
                assert_eq!(
                    text_of(&target["datasource"]["uid"]),
                    "${datasource}",
                    "{title}"
                );
                assert!(letters.insert(text_of(&target["refId"])), "{title}");
                let expression = text_of(&target["expr"]);
                assert!(
                    expression.contains("instance=~\"$node\""),
                    "{title}: {expression}"
                );
            }
        }
    }

    fn array(value: &Value) -> impl Iterator<Item = &Value> {
        value.as_array().expect("an array").iter()
    }

    fn text_of(value: &Value) -> &str {
        value.as_str().expect("a text")
    }
}
