//! A real Prometheus with the shipped alerting rules scrapes an agent: what rules and dashboard ask for is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use promql_parser::parser::{self, Expr};
use promql_parser::util::visitor::{ExprVisitor, walk_expr};
use serde_json::Value;

use crate::harness::agent::Agent;
use crate::harness::cgroup::Cgroup;
use crate::harness::prometheus::Prometheus;
use crate::harness::{eventually, skipped};

/// Switches the kernel's counting of runs of eBPF programs on as an administrator does. Dropping it leaves it as it was.
struct Counting(String);

impl Counting {
    const SWITCH: &'static str = "/proc/sys/kernel/bpf_stats_enabled";

    fn on() -> Self {
        let before = fs::read_to_string(Self::SWITCH).expect("this kernel can count");
        fs::write(Self::SWITCH, "1").expect("root can switch it on");
        Self(before)
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        // Nothing more can be done about it.
        let _ = fs::write(Self::SWITCH, self.0.trim());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_dashboard_ask_for_what_an_agent_tells() {
    if skipped() {
        return;
    }
    let _counting = Counting::on();
    // A runtime and an API server that do not answer, and a container that may not do much.
    let agent = Agent::start(&[
        "--metrics-listen",
        "127.0.0.1:0",
        "--cri-socket",
        "/nonexistent/watchkeeper.sock",
        "--kubeconfig",
        "/nonexistent/kubeconfig",
        "--budget",
        "process=5",
    ]);
    let id = "c0ffee".repeat(11);
    let container = Cgroup::make(&format!("/docker-{}.scope", &id[..64]));
    let flood = "n=0; while [ $n -lt 100 ]; do /bin/true; n=$((n + 1)); done";
    let status = container.command("/bin/sh").args(["-c", flood]).status();
    assert!(status.is_ok_and(|status| status.success()));

    let rules = deployed("watchkeeper.rules.yaml");
    let address = agent.metrics_address();
    let prometheus = Prometheus::start("watchkeeper", &address.to_string(), &rules);
    eventually("the agent is scraped", || {
        let targets = prometheus.ask("targets", &[("state", "active")]);
        let target = &targets["activeTargets"][0];
        let error = target["lastError"].as_str().unwrap_or_default();
        assert!(
            error.is_empty(),
            "Prometheus can't read the metrics: {error}"
        );
        (target["health"] == "up").then_some(())
    });
    let rules = eventually("every rule is evaluated", || {
        let rules = alerting_rules(&prometheus);
        let is_new = rules.iter().any(|rule| rule["health"] == "unknown");
        (!is_new).then_some(rules)
    });
    assert!(!rules.is_empty());
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        for part in ["summary", "description", "runbook"] {
            assert!(rule["annotations"][part].is_string(), "no {part}: {rule}");
        }
        let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{rule}"
        );
    }

    let mut selectors = BTreeSet::new();
    for rule in &rules {
        selectors.extend(selectors_of(rule["query"].as_str().expect("a text")));
    }
    let of_rules = selectors.len();
    for expression in dashboard() {
        prometheus.query(&expression);
        selectors.extend(selectors_of(&expression));
    }
    assert!(
        of_rules > 10 && selectors.len() > of_rules + 10,
        "{selectors:?}"
    );
    for selector in selectors {
        // What another program tells is not to be had here.
        if selector.starts_with("kube_") {
            continue;
        }
        eventually(&format!("{selector} is told"), || {
            (!prometheus.query(&selector).is_empty()).then_some(())
        });
    }

    // Of a node on which nothing is wrong but that, nothing else is said.
    let silent = [
        "WatchkeeperKubernetesNotAnswering",
        "WatchkeeperRuntimeNotAnswering",
    ];
    eventually(
        "it is seen that runtime and API server do not answer",
        || {
            let active = alerts(&prometheus);
            silent
                .iter()
                .all(|alert| active.contains(*alert))
                .then_some(())
        },
    );
    let expected = [&silent[..], &["WatchkeeperContainersOverBudget"]].concat();
    // What was so before the first scrape is over at the next evaluation.
    eventually("nothing else is said", || {
        let others = alerts(&prometheus);
        let mut others = others
            .iter()
            .filter(|alert| !expected.contains(&alert.as_str()));
        others.next().is_none().then_some(())
    });
    drop(agent);
    eventually("it is seen that the agent is down", || {
        alerts(&prometheus)
            .contains("WatchkeeperAgentDown")
            .then_some(())
    });
}

/// A shipped file.
fn deployed(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring");
    directory
        .join(name)
        .canonicalize()
        .expect("it is in the repository")
}

/// The alerting rules that Prometheus has loaded.
fn alerting_rules(prometheus: &Prometheus) -> Vec<Value> {
    let answer = prometheus.ask("rules", &[("type", "alert")]);
    let groups = answer["groups"].as_array().expect("groups");
    groups
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("rules"))
        .cloned()
        .collect()
}

/// Names of the alerts that are pending or firing.
fn alerts(prometheus: &Prometheus) -> BTreeSet<String> {
    let answer = prometheus.ask("alerts", &[]);
    let alerts = answer["alerts"].as_array().expect("alerts");
    alerts
        .iter()
        .map(|alert| alert["labels"]["alertname"].as_str().expect("a text"))
        .map(str::to_owned)
        .collect()
}

/// The expressions of the dashboard, as Grafana asks them when all nodes are chosen.
fn dashboard() -> Vec<String> {
    let text = fs::read_to_string(deployed("dashboard.json")).expect("it can be read");
    let dashboard: Value = serde_json::from_str(&text).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
        .map(|target| target["expr"].as_str().expect("a text"))
        .map(|expression| {
            expression
                .replace("$node", ".+")
                .replace("$__rate_interval", "4s")
        })
        .collect()
}

/// The selectors of series in an expression: each a metric with what its labels have to be.
fn selectors_of(expression: &str) -> BTreeSet<String> {
    struct Selectors(BTreeSet<String>);
    impl ExprVisitor for Selectors {
        type Error = std::convert::Infallible;
        fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Self::Error> {
            match expression {
                Expr::VectorSelector(selector) => self.0.insert(selector.to_string()),
                Expr::MatrixSelector(selector) => self.0.insert(selector.vs.to_string()),
                _ => false,
            };
            Ok(true)
        }
    }
    let tree = parser::parse(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
    let mut selectors = Selectors(BTreeSet::new());
    let Ok(_) = walk_expr(&mut selectors, &tree);
    selectors.0
}
