//! What the built-in rules find in the actions of the suite: the technique is performed, and the alert arrives with its rule,
//! severity and pod.
//!
//! For each a line goes to standard error: `rule RULE/ACTION pass` or `rule RULE/ACTION fail WHY`.

use std::time::{Duration, Instant};

use watchkeeper::proto::v1::{Alert, Severity};

use super::case::Facts;
use crate::harness::{agent::Agent, watch::container_id};

/// A rule that an action must be found by.
struct Expected {
    action: &'static str,
    rule: &'static str,
    severity: Severity,
}

const fn is(action: &'static str, rule: &'static str, severity: Severity) -> Expected {
    Expected {
        action,
        rule,
        severity,
    }
}

use Severity::{Critical, High, Medium};

const EXPECTED: &[Expected] = &[
    // Escapes.
    is("setns-host-mnt", "escape.host-view", Critical),
    is("setns-host-net", "escape.namespace-entry", High),
    is("setns-pidfd", "escape.namespace-entry", High),
    is("cgroup-leave", "escape.left-cgroup", Critical),
    is("core-pattern", "escape.core-pattern", Critical),
    is("release-agent", "escape.release-agent", Critical),
    is("uevent-helper", "escape.uevent-helper", Critical),
    is("binfmt-register", "escape.binfmt-misc", Critical),
    is("modprobe-path", "escape.modprobe-path", Critical),
    is("sysrq-trigger", "escape.sysrq", Critical),
    is("open-block-device", "escape.host-device", High),
    is("open-memory", "escape.host-device", High),
    is("mknod", "escape.host-device", High),
    is("mknodat", "escape.host-device", High),
    is("runtime-socket", "escape.runtime-socket", High),
    is("open-by-handle", "escape.handle-open", High),
    is("init-module", "escape.module-load", Critical),
    is("finit-module", "escape.module-load", Critical),
    is("kexec-load", "escape.kexec", Critical),
    is("ptrace-outside", "escape.ptrace-outside", Critical),
    is("pivot-root", "escape.pivot-chroot", Medium),
    is("unshare-user", "escape.usernamespace-caps", Medium),
    is("netlink-nftables", "escape.usernamespace-used", High),
    is("alg-socket", "escape.page-cache-write", High),
    is("exec-setuid-after-alg", "escape.page-cache-root", Critical),
    #[cfg(target_arch = "x86_64")]
    is("setresuid-ia32", "escape.credential-jump", Critical),
    // Privileges.
    is("tcp-connect", "cap.dangerous-container", Medium),
    is("chmod-setuid", "cap.setuid-bit", Medium),
    is("setxattr-capability", "cap.setuid-bit", Medium),
    is("exec-setuid", "cap.setuid-exec", High),
    is("bpf-prog-load", "cap.bpf-use", High),
    is("bpf-map-by-id", "cap.bpf-use", High),
    is("bpf-link-by-id", "cap.bpf-use", High),
    is("perf-event-open", "cap.perf-event", Medium),
    is("userfaultfd", "cap.userfaultfd", Medium),
    is("add-key", "cap.keyctl", Medium),
    is("keyctl-read", "cap.keyctl", Medium),
    is("io-uring-setup", "cap.io-uring", Medium),
    is("io-uring-openat", "cap.io-uring", Medium),
    // Execution.
    is("memfd-exec", "exec.fileless", Critical),
    is("execveat-memfd", "exec.fileless", Critical),
    is("execveat-thread", "exec.fileless", Critical),
    is("execveat-copy", "exec.drifted", High),
    is("ld-preload", "exec.preload", Medium),
    is("ld-audit", "exec.preload", Medium),
    is("exec-setuid", "exec.from-tmp", Medium),
    // Mining.
    is("stratum-subscribe", "miner.stratum", Critical),
    is("stratum-login", "miner.stratum", Critical),
    is("stratum-split", "miner.stratum", Critical),
    is("stratum-subscribe", "miner.behaviour", High),
    is("float-rounding", "miner.randomx", Critical),
    // Credentials, by every way to the file.
    is("shadow-openat", "secret.shadow", Medium),
    is("shadow-openat2", "secret.shadow", Medium),
    is("shadow-symlink", "secret.shadow", Medium),
    is("shadow-dotdot", "secret.shadow", Medium),
    is("shadow-relative", "secret.shadow", Medium),
    is("shadow-proc-root", "secret.shadow", Medium),
    is("shadow-descriptor", "secret.shadow", Medium),
    is("shadow-hard-link", "secret.shadow", Medium),
    is("shadow-bind", "secret.shadow", High),
    is("shadow-thread", "secret.shadow", Medium),
    is("shadow-forked", "secret.shadow", Medium),
    is("shadow-arguments", "secret.shadow", Medium),
    is("shadow-io-uring", "secret.shadow", Medium),
    is("shadow-io-uring-worker", "secret.shadow", Medium),
    is("shadow-io-uring-direct", "secret.shadow", Medium),
    is("kubelet-thread", "secret.kubelet-api", Medium),
    is("kubelet-forked", "secret.kubelet-api", Medium),
    is("proc-mem-write", "secret.environ", Medium),
    // Persistence and tampering.
    is("cron-create", "persist.cron", Medium),
    is("cron-append", "persist.cron", Medium),
    is("renameat", "persist.cron", Medium),
    is("linkat", "persist.cron", Medium),
    is("symlinkat", "persist.cron", Medium),
    is("seccomp-kill", "tamper.seccomp-kills", Medium),
    is("selinux-enforce", "tamper.selinux-off", High),
    is("selinux-denied-often", "tamper.selinux-denials", Medium),
    is("prctl-name", "tamper.masquerade", Medium),
    is("sysctl", "tamper.sysctl", Medium),
    // Network.
    is("raw-socket", "net.raw-socket", Medium),
    is("raw6-socket", "net.raw-socket", Medium),
    is("packet-socket", "net.raw-socket", Medium),
];

/// Actions that rules are expected to find.
pub(super) fn actions() -> impl Iterator<Item = &'static str> {
    EXPECTED.iter().map(|expected| expected.action)
}

/// Looks for the alerts that an action must make. Returns a line for each.
pub(super) async fn judge(
    agent: &Agent,
    action: &str,
    facts: &Facts,
    patience: Duration,
) -> Vec<(String, bool)> {
    let mut lines = Vec::new();
    for expected in EXPECTED.iter().filter(|expected| expected.action == action) {
        let rule = expected.rule;
        let deadline = Instant::now() + patience;
        let why = loop {
            let Err(why) = find(agent, expected, facts).await else {
                break None;
            };
            if Instant::now() >= deadline {
                break Some(why);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        lines.push(match why {
            None => (format!("rule {rule}/{action} pass"), true),
            Some(why) => (format!("rule {rule}/{action} fail {why}"), false),
        });
    }
    lines
}

async fn find(agent: &Agent, expected: &Expected, facts: &Facts) -> Result<(), String> {
    let alerts: Vec<Alert> = agent
        .past_alerts()
        .await
        .into_iter()
        .filter(|alert| container_id(alert.container.as_ref()) == facts.text("container"))
        .collect();
    let found: Vec<&Alert> = alerts
        .iter()
        .filter(|alert| alert.rule_id == expected.rule)
        .collect();
    let Some(alert) = found
        .iter()
        .find(|alert| alert.severity() == expected.severity)
    else {
        let others: Vec<String> = alerts
            .iter()
            .map(|alert| format!("{} {}", alert.rule_id, alert.severity().as_str_name()))
            .collect();
        return Err(format!("not among {}", others.join(", ")));
    };
    let pod = alert
        .container
        .as_ref()
        .and_then(|container| container.pod.as_ref());
    if pod.is_none_or(|pod| pod.uid.is_empty()) {
        return Err("it has no pod".to_owned());
    }
    if alert.message.is_empty() || alert.evidence.is_empty() || alert.policy_set.len() != 64 {
        return Err(format!("it is incomplete: {alert:?}"));
    }
    if alert.attack.is_empty() || !alert.policy.starts_with("builtin/") {
        return Err(format!("it has no technique or policy: {alert:?}"));
    }
    Ok(())
}
