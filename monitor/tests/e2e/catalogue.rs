//! Techniques in podman's containers, typed as an attacker would, and the rules that must find them.
//!
//! For each a line goes to standard error, as of the suite of signals: `rule RULE/TECHNIQUE pass`.

use std::io::Write as _;
use std::time::{Duration, Instant};

use watchkeeper::proto::v1::{Alert, Severity};

use crate::harness::agent::Agent;
use crate::harness::podman::Podman;
use crate::harness::watch::container_id;
use crate::harness::{skipped, unique};

use Severity::{Critical, High, Low, Medium};

/// How long an alert may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// Makes every applet of busybox a program of its own name, which the image has only some of.
const APPLETS: &str = "b() { /bin/busybox \"$@\"; }; ";

/// A technique: what is typed in a session, and what must be found.
struct Technique {
    name: &'static str,
    /// Options of `podman run`.
    options: &'static [&'static str],
    /// AGENT stands for the agent's process id.
    script: &'static str,
    rules: &'static [(&'static str, Severity)],
}

const TECHNIQUES: &[Technique] = &[
    Technique {
        name: "reverse-shell-by-socket",
        options: &[],
        script: "b nc -l -p 4401 127.0.0.1 </dev/null >/dev/null & b sleep 1; b timeout 2 /bin/busybox nc 127.0.0.1 4401 -e /bin/sh",
        rules: &[("shell.reverse", Critical)],
    },
    Technique {
        name: "reverse-shell-through-pipes",
        options: &[],
        script: "b nc -l -p 4402 127.0.0.1 </dev/null >/dev/null & b sleep 1; b mkfifo /root/p; \
                 b timeout 3 /bin/busybox cat /root/p | b timeout 3 /bin/sh -i 2>&1 | b timeout 3 /bin/busybox nc 127.0.0.1 4402 > /root/p",
        rules: &[("shell.reverse", Critical)],
    },
    Technique {
        name: "renamed-shell",
        options: &[],
        script: "b cp /bin/busybox /root/sh; /root/sh -c 'exit 0'",
        rules: &[("shell.injected", Medium), ("exec.drifted", High)],
    },
    Technique {
        name: "program-in-tmp",
        options: &[],
        script: "b cp /bin/busybox /tmp/true; /tmp/true",
        rules: &[("exec.from-tmp", Medium), ("exec.drifted", High)],
    },
    Technique {
        name: "unlinked-program",
        options: &[],
        script: "b cp /bin/busybox /root/sleep; (b sleep 1; exec 3</root/sleep; b rm /root/sleep; exec /proc/self/fd/3 1) & wait",
        rules: &[("exec.fileless", Critical)],
    },
    Technique {
        name: "miner-by-content",
        options: &[],
        script: "b cp /bin/busybox /root/true; echo 'donate.v2.xmrig.com --donate-level randomx' >> /root/true; /root/true",
        rules: &[("miner.binary", Critical)],
    },
    Technique {
        name: "miner-by-arguments",
        options: &[],
        script: "/bin/true -o stratum+tcp://pool.example:3333 -u x",
        rules: &[("miner.arguments", High)],
    },
    Technique {
        name: "many-hints-of-a-miner",
        options: &[],
        script: "b cp /bin/busybox /tmp/true; /tmp/true --donate-level=1 --coin=monero -o 192.0.2.1:3333",
        rules: &[("miner.behaviour", High)],
    },
    Technique {
        name: "package-manager",
        options: &[],
        script: "b cp /bin/busybox /sbin/apk; /sbin/apk add nmap",
        rules: &[("exec.package-manager", Medium)],
    },
    Technique {
        name: "download-then-execute",
        options: &[],
        script: "b mkdir -p /root/w; b cp /bin/busybox /root/w/true; b httpd -p 127.0.0.1:4403 -h /root/w; \
                 /bin/busybox wget -q -O /root/x http://127.0.0.1:4403/true; b chmod 755 /root/x; b mv /root/x /root/true; /root/true",
        rules: &[("exec.tool-transfer-run", High)],
    },
    Technique {
        name: "scan",
        options: &[],
        script: "for p in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do \
                 b nc -w 1 127.0.0.1 40$p </dev/null; done",
        rules: &[("net.scan", Medium)],
    },
    Technique {
        name: "shadow-by-applet",
        options: &[],
        script: "b cat /etc/shadow",
        rules: &[("secret.shadow", Medium)],
    },
    Technique {
        name: "shadow-under-another-name",
        options: &[],
        script: "b ln /etc/shadow /root/notes; b cat /root/notes",
        rules: &[("secret.shadow", Medium)],
    },
    Technique {
        name: "key-for-ssh",
        options: &[],
        script: "b mkdir -p /root/.ssh; echo key >> /root/.ssh/authorized_keys",
        rules: &[("persist.ssh-authorized", Medium)],
    },
    Technique {
        name: "program-directory",
        options: &[],
        script: "b cp /bin/busybox /usr/bin/x",
        rules: &[("persist.binary-dir", Medium)],
    },
    Technique {
        name: "kernel-thread-name",
        options: &[],
        script: "b sh -c 'exec -a \"[kworker/0:1]\" /bin/sleep 0' || /bin/busybox ash -c 'exec -a \"[kworker/0:1]\" /bin/sleep 0'",
        rules: &[("tamper.masquerade", Low)],
    },
    Technique {
        name: "log-removed",
        options: &[],
        script: "echo x > /var/log/auth.log; b rm /var/log/auth.log",
        rules: &[("tamper.logs", Medium)],
    },
    Technique {
        name: "injected-program",
        options: &[],
        script: "/bin/id",
        rules: &[("exec.injected", Low), ("shell.injected", Medium)],
    },
    Technique {
        name: "unit-of-systemd",
        options: &[],
        script: "b mkdir -p /etc/systemd/system; echo x > /etc/systemd/system/x.service",
        rules: &[("persist.systemd", Medium)],
    },
    Technique {
        name: "start-of-shells",
        options: &[],
        script: "echo x >> /etc/profile",
        rules: &[("persist.rc", Medium)],
    },
    Technique {
        name: "static-pod",
        options: &[],
        script: "b mkdir -p /etc/kubernetes/manifests; echo x > /etc/kubernetes/manifests/x.yaml",
        rules: &[("persist.static-pod", High)],
    },
    Technique {
        name: "private-key",
        options: &[],
        script: "b mkdir -p /root/.ssh; echo k > /root/.ssh/id_rsa; b cat /root/.ssh/id_rsa",
        rules: &[("secret.ssh-keys", Medium)],
    },
    Technique {
        name: "cloud-credentials",
        options: &[],
        script: "b mkdir -p /root/.aws; echo k > /root/.aws/credentials; b cat /root/.aws/credentials",
        rules: &[("secret.cloud-files", Medium)],
    },
    Technique {
        name: "kubeconfig",
        options: &[],
        script: "b mkdir -p /root/.kube; echo k > /root/.kube/config; b cat /root/.kube/config",
        rules: &[("secret.kubeconfig", Medium)],
    },
    Technique {
        name: "vault-token",
        options: &[],
        script: "echo k > /root/.vault-token; b cat /root/.vault-token",
        rules: &[("secret.vault-token", Medium)],
    },
    Technique {
        name: "service-account-token",
        options: &[],
        script: "d=/var/run/secrets/kubernetes.io/serviceaccount; b mkdir -p $d/..1; echo t > $d/..1/token; b cat $d/..1/token",
        rules: &[("secret.serviceaccount-token", Medium)],
    },
    Technique {
        name: "harvest",
        options: &[],
        script: "b mkdir -p /root/.aws /root/.kube; echo k > /root/.aws/credentials; echo k > /root/.kube/config; echo k > /root/.vault-token; b cat /root/.aws/credentials; b cat /root/.kube/config; b cat /root/.vault-token; b cat /etc/shadow",
        rules: &[("secret.harvest", High)],
    },
    Technique {
        name: "environment-of-another",
        options: &[],
        script: "b cat /proc/1/environ",
        rules: &[("secret.environ", Medium)],
    },
    Technique {
        name: "secret-in-arguments",
        options: &[],
        script: "/bin/true --password=hunter2hunter2",
        rules: &[("secret.in-arguments", Low)],
    },
    Technique {
        name: "cluster-client",
        options: &[],
        script: "b cp /bin/busybox /usr/bin/kubectl; /usr/bin/kubectl get pods",
        rules: &[("exec.kubectl-docker", Medium)],
    },
    Technique {
        name: "ssh-client",
        options: &[],
        script: "b nc -l -p 22 127.0.0.1 </dev/null >/dev/null & b sleep 1; echo x | b nc -w 1 127.0.0.1 22",
        rules: &[("net.ssh", Low)],
    },
    Technique {
        name: "disk-mounted",
        options: &["--privileged"],
        script: "b mkdir -p /mnt; b mount -t proc proc /mnt",
        rules: &[
            ("escape.host-mount", High),
            ("cap.dangerous-container", Medium),
        ],
    },
    Technique {
        name: "host-namespace",
        options: &["--privileged", "--pid", "host"],
        script: "b nsenter -t 2 -m /bin/true",
        rules: &[
            ("escape.host-view", Critical),
            ("escape.namespace-entry", High),
        ],
    },
    Technique {
        name: "monitor-signalled",
        options: &["--privileged", "--pid", "host"],
        script: "b kill -CONT AGENT",
        rules: &[("tamper.monitor", Critical)],
    },
    Technique {
        name: "without-seccomp",
        options: &["--security-opt", "seccomp=unconfined"],
        script: "true",
        rules: &[("cap.no-seccomp", Low)],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn techniques_of_a_session_are_found() {
    if skipped() {
        return;
    }
    let podman = Podman::start();
    let agent = Agent::full(&["--cpu-interval", "1"]);
    let mut failed = Vec::new();
    for technique in TECHNIQUES {
        let container = podman.run(
            &unique(technique.name),
            technique.options,
            &["/bin/sleep", "1000"],
        );
        let prepare = "/bin/busybox mkdir -p /usr/bin /sbin /var/log /etc /root; \
                       [ -e /etc/shadow ] || echo root > /etc/shadow; ";
        container.exec(&["/bin/sh", "-c", prepare]);
        let script = technique.script.replace("AGENT", &agent.pid().to_string());
        let script = format!("{APPLETS}{script}");
        let output = container.exec(&["/bin/sh", "-c", &script]);
        for (rule, severity) in technique.rules {
            let line = match find(&agent, &container.id, rule, *severity).await {
                Ok(()) => format!("rule {rule}/{} pass", technique.name),
                Err(why) => {
                    failed.push(format!("{rule}/{}", technique.name));
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
                    format!("rule {rule}/{} fail {why}; {said}", technique.name)
                }
            };
            // Past the test harness's capture of output; nothing depends on whether anybody reads it.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
        container.remove();
    }
    assert!(
        failed.is_empty(),
        "{} are not found: {failed:?}",
        failed.len()
    );
}

/// Waits for an alert about a container.
async fn find(
    agent: &Agent,
    container: &str,
    rule: &str,
    severity: Severity,
) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let alerts: Vec<Alert> = agent
            .past_alerts()
            .await
            .into_iter()
            .filter(|alert| container_id(alert.container.as_ref()) == container)
            .collect();
        let found = alerts
            .iter()
            .any(|alert| alert.rule_id == rule && alert.severity() >= severity);
        if found {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let others: Vec<&str> = alerts.iter().map(|alert| alert.rule_id.as_str()).collect();
            return Err(format!("only {}", others.join(", ")));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
