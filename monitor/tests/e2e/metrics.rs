//! Metrics over HTTP.

use watchkeeper::proto::v1::EventKind;

use crate::harness::agent::{Agent, watchkeeper};
use crate::harness::{eventually, skipped};

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_status_tells() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&["--metrics-listen", "127.0.0.1:0"]);
    std::process::Command::new("true")
        .status()
        .expect("true runs");
    let execs = "watchkeeper_events_total{kind=\"exec\"}";
    eventually("an exec is counted", || {
        (agent.metrics()[execs] > 0).then_some(())
    });
    let status = agent.status().await;
    let metrics = agent.metrics();
    for sensor in &status.sensors {
        let state = |name: &str| {
            metrics[&format!(
                "watchkeeper_sensor_state{{sensor=\"{}\",state=\"{name}\"}}",
                sensor.name
            )]
        };
        let states = ["active", "failed", "disabled", "not-offered"].map(state);
        let mut expected = [0; 4];
        expected[usize::try_from(i32::from(sensor.state()) - 1).expect("a state")] = 1;
        assert_eq!(states, expected, "{sensor:?}");
    }
    let counters = status.counters.expect("there are counters");
    assert_eq!(
        metrics["watchkeeper_processes_limit"],
        counters.process_ceiling
    );
    let kernel = format!(
        "watchkeeper_build_info{{version=\"{}\",kernel=\"{}\"}}",
        status.version, status.kernel
    );
    assert_eq!(metrics[&kernel], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_begin_with_zero_and_who_follows_is_counted() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&["--metrics-listen", "127.0.0.1:0"]);
    let metrics = agent.metrics();
    for counter in [
        "alerts_total{rule=\"shell.injected\",severity=\"medium\"}",
        "rule_matches_total{rule=\"shell.injected\"}",
        "events_lost_total{class=\"process\",lane=\"telemetry\",reason=\"ring full\"}",
        "events_lost_total{class=\"process\",lane=\"critical\",reason=\"ring full\"}",
        "events_lost_total{class=\"process\",lane=\"none\",reason=\"detection overloaded\"}",
        "enrichment_answers_total{runtime=\"cri\",result=\"failed\"}",
        "subscriber_missed_total{stream=\"alerts\"}",
        "history_failures_total",
        "history_events_missed_total",
    ] {
        assert_eq!(metrics[&format!("watchkeeper_{counter}")], 0, "{counter}");
    }
    let absent = |part: &str| !metrics.keys().any(|name| name.contains(part));
    assert!(absent("runtime_connected"), "no runtime is wanted");
    assert!(absent("program_runs"), "nobody has the kernel count");
    let followers = || agent.metrics()["watchkeeper_subscribers{stream=\"events\"}"];
    eventually("only the agent itself follows", || {
        (followers() == 0).then_some(())
    });
    let watch = agent.live_events(EventKind::Exec).await;
    eventually("the client is counted", || (followers() == 1).then_some(()));
    drop(watch);
    eventually("the client is not counted any more", || {
        (followers() == 0).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn other_requests_and_a_taken_address_are_told_so() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&["--metrics-listen", "127.0.0.1:0"]);
    let missing = agent.ask_for_metrics("GET /");
    assert!(missing.starts_with("HTTP/1.1 404 "), "{missing}");
    assert!(missing.ends_with("there is nothing here but /metrics\n"));
    let refused = agent.ask_for_metrics("DELETE /metrics");
    assert!(refused.starts_with("HTTP/1.1 405 "), "{refused}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it has one").to_string();
    let state = tempfile::tempdir().expect("a temporary directory can be made");
    let output = watchkeeper()
        .args(["agent", "--metrics-listen", &address, "--state-dir"])
        .arg(state.path())
        .output()
        .expect("it runs");
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    let expected =
        format!("listening for requests of metrics on {address}: Address already in use");
    assert!(error.contains(&expected), "{error}");
}
