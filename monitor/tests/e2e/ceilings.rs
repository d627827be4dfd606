//! What the agent takes as a whole has a ceiling, too.

use std::process::Command;

use crate::harness::agent::Agent;
use crate::harness::{eventually, skipped};

/// Programs that are run before it is looked again.
const AT_A_TIME: u64 = 500;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_disk_is_let_go_of_where_memory_is_short() {
    if skipped() {
        return;
    }
    // Less than what it needs for its tables alone.
    let agent = Agent::start(&["--memory-limit", "16MiB", "--metrics-listen", "127.0.0.1:0"]);
    let mut run = 0;
    let metrics = eventually("events are let go of", || {
        for _ in 0..AT_A_TIME {
            let ended = Command::new("/usr/bin/true").status();
            assert!(ended.is_ok_and(|status| status.success()));
        }
        run += AT_A_TIME;
        let metrics = agent.metrics();
        (metrics["watchkeeper_memory_let_go_total{what=\"events\"}"] > 0).then_some(metrics)
    });
    assert_eq!(metrics["watchkeeper_memory_limit_bytes"], 16 << 20);
    // All of it is there all the same, and nothing was lost.
    let kept = eventually("all programs are in history", || {
        let sql = "SELECT count(*) FROM executions WHERE exe = '/usr/bin/true'";
        let text = agent.query(&["sql", "-o", "csv", sql]);
        let count: u64 = text.lines().nth(1)?.trim().parse().ok()?;
        (count >= run).then_some(count)
    });
    assert_eq!(kept, run);
    let missed = agent.metrics()["watchkeeper_history_events_missed_total"];
    assert_eq!(missed, 0);
    agent.query(&["health", "--live"]);
}
