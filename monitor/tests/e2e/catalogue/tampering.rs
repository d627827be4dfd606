//! Persistence, and hiding.

use super::Technique;
use watchkeeper::proto::v1::Severity::{Critical, High, Low, Medium};

pub(super) const TECHNIQUES: &[Technique] = &[
    Technique::new(
        "key-for-ssh",
        "b mkdir -p /root/.ssh; echo key >> /root/.ssh/authorized_keys",
        &[("persist.ssh-authorized", Medium)],
    ),
    Technique::new(
        "program-directory",
        "b cp /bin/busybox /usr/bin/x",
        &[("persist.binary-dir", Medium)],
    ),
    Technique::new(
        "unit-of-systemd",
        "b mkdir -p /etc/systemd/system; echo x > /etc/systemd/system/x.service",
        &[("persist.systemd", Medium)],
    ),
    Technique::new(
        "start-of-shells",
        "echo x >> /etc/profile",
        &[("persist.rc", Medium)],
    ),
    Technique::new(
        "static-pod",
        "b mkdir -p /etc/kubernetes/manifests; echo x > /etc/kubernetes/manifests/x.yaml",
        &[("persist.static-pod", High)],
    ),
    Technique::new(
        "kernel-thread-name",
        "b sh -c 'exec -a \"[kworker/0:1]\" /bin/sleep 0' || /bin/busybox ash -c 'exec -a \"[kworker/0:1]\" /bin/sleep 0'",
        &[("tamper.masquerade", Low)],
    ),
    Technique::new(
        "log-removed",
        "echo x > /var/log/auth.log; b rm /var/log/auth.log",
        &[("tamper.logs", Medium)],
    ),
    Technique::new(
        "monitor-signalled",
        "b kill -CONT AGENT",
        &[("tamper.monitor", Critical)],
    )
    .with(&["--privileged", "--pid", "host"]),
    Technique::new(
        "libraries-renamed",
        "b mkdir -p /lib/x; for i in $(b seq 40); do echo x > /lib/x/$i; done; \
         for i in $(b seq 40); do b mv /lib/x/$i /lib/x/$i.locked; done",
        &[("tamper.bulk-removal", High)],
    ),
    Technique::new(
        "keys-removed",
        "b mkdir -p /root/.ssh; for i in $(b seq 40); do echo x > /root/.ssh/$i; done; b rm -r /root/.ssh",
        &[("tamper.bulk-removal", High)],
    ),
];
