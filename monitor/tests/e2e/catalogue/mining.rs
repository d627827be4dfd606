//! Miners.

use super::Technique;
use watchkeeper::proto::v1::Severity::{Critical, High};

pub(super) const TECHNIQUES: &[Technique] = &[
    Technique::new(
        "miner-by-content",
        "b cp /bin/busybox /root/true; echo 'donate.v2.xmrig.com --donate-level randomx' >> /root/true; /root/true",
        &[("miner.binary", Critical)],
    ),
    Technique::new(
        "miner-by-arguments",
        "/bin/true -o stratum+tcp://pool.example:3333 -u x",
        &[("miner.arguments", High)],
    ),
    Technique::new(
        "many-hints-of-a-miner",
        "b cp /bin/busybox /tmp/true; /tmp/true --donate-level=1 --coin=monero -o 192.0.2.1:3333",
        &[("miner.behaviour", High)],
    ),
    Technique::new(
        "pool-asked-for",
        "b timeout 1 /bin/busybox nslookup pool.supportxmr.com 127.0.0.1",
        &[("miner.pool", High)],
    ),
];
