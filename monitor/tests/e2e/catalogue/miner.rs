//! A real miner: Monero's daemon makes blocks of a chain of its own, for which it computes RandomX.

use watchkeeper::proto::v1::{Alert, Severity};

use super::{find, say};
use crate::harness::agent::Agent;
use crate::harness::podman::Podman;
use crate::harness::watch::container_id;
use crate::harness::{debian, skipped, unique};

/// It shares its processor with a program that always runs: a task is looked at when it leaves the processor.
const DAEMON: &str = "taskset -c 0 yes >/dev/null & exec taskset -c 0 monerod --regtest --offline --fixed-difficulty 100000 \
                      --data-dir /srv/chain --non-interactive";

/// Waits until the daemon answers, then lets it compute for some seconds: a block takes longer.
const MINE: &str = r#"
until curl --silent --output /dev/null http://127.0.0.1:18081/get_height; do sleep 0.2; done
curl --silent --max-time 12 http://127.0.0.1:18081/json_rpc --data '{"jsonrpc": "2.0", "id": "0", "method": "generateblocks",
    "params": {"amount_of_blocks": 100, "starting_nonce": 0, "wallet_address":
    "48edfHu7V9Z84YzzMa6fUueoELZ9ZRXq9VetWzYGzKt52XU5xvqgzYnDK9URnRoJMk1j8nLwEVsaSWJ4fhdUyZijBGUicoD"}}'
true
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_real_miner_is_found_by_its_arithmetic() {
    if skipped() {
        return;
    }
    let podman = Podman::with_images(debian::store());
    let agent = Agent::full(&[]);
    let entry = ["/bin/sh", "-c", DAEMON];
    let container = podman.run_image(debian::NAME, &unique("miner"), &[], &entry);
    let output = container.exec(&["/bin/sh", "-c", MINE]);
    let is_about = |alert: &Alert| container_id(alert.container.as_ref()) == container.id;
    for (rule, severity) in [
        ("miner.randomx", Severity::Critical),
        ("miner.behaviour", Severity::High),
    ] {
        let found = find(&agent, is_about, rule, severity).await;
        let why = found.as_ref().err();
        say(&format!("{rule}/real-miner"), why);
        assert_eq!(why, None, "{rule}: {output:?}\n{}", container.logs());
    }
}
