//! Shells and programs.

use super::Technique;
use watchkeeper::proto::v1::Severity::{Critical, High, Low, Medium};

pub(super) const TECHNIQUES: &[Technique] = &[
    Technique::new(
        "reverse-shell-by-socket",
        "b nc -l -p 4401 127.0.0.1 </dev/null >/dev/null & b sleep 1; b timeout 2 /bin/busybox nc 127.0.0.1 4401 -e /bin/sh",
        &[("shell.reverse", Critical)],
    ),
    Technique::new(
        "reverse-shell-through-pipes",
        "b nc -l -p 4402 127.0.0.1 </dev/null >/dev/null & b sleep 1; b mkfifo /root/p; \
                 b timeout 3 /bin/busybox cat /root/p | b timeout 3 /bin/sh -i 2>&1 | b timeout 3 /bin/busybox nc 127.0.0.1 4402 > /root/p",
        &[("shell.reverse", Critical)],
    ),
    Technique::new(
        "renamed-shell",
        "b cp /bin/busybox /root/sh; /root/sh -c 'exit 0'",
        &[("shell.injected", Medium), ("exec.drifted", High)],
    ),
    Technique::new(
        "program-in-tmp",
        "b cp /bin/busybox /tmp/true; /tmp/true",
        &[("exec.from-tmp", Medium), ("exec.drifted", High)],
    ),
    Technique::new(
        "unlinked-program",
        "b cp /bin/busybox /root/sleep; (b sleep 1; exec 3</root/sleep; b rm /root/sleep; exec /proc/self/fd/3 1) & wait",
        &[("exec.fileless", Critical)],
    ),
    Technique::new(
        "package-manager",
        "b cp /bin/busybox /sbin/apk; /sbin/apk add nmap",
        &[("exec.package-manager", Medium)],
    ),
    Technique::new(
        "download-then-execute",
        "b mkdir -p /root/w; b cp /bin/busybox /root/w/true; b httpd -p 127.0.0.1:4403 -h /root/w; \
                 /bin/busybox wget -q -O /root/x http://127.0.0.1:4403/true; b chmod 755 /root/x; b mv /root/x /root/true; /root/true",
        &[
            ("exec.tool-transfer", Low),
            ("exec.tool-transfer-run", High),
        ],
    ),
    Technique::new(
        "injected-program",
        "/bin/id",
        &[("exec.injected", Low), ("shell.injected", Medium)],
    ),
    Technique::new(
        "cluster-client",
        "b cp /bin/busybox /usr/bin/kubectl; /usr/bin/kubectl get pods",
        &[("exec.kubectl-docker", Medium)],
    ),
    Technique::new(
        "program-by-the-loader",
        "b cp /bin/dash /root/notes; b chmod 644 /root/notes; /lib64/ld-linux-x86-64.so.2 /root/notes -c 'exit 0'",
        &[("exec.loader", Medium)],
    ),
    Technique::new(
        "decoded-and-run",
        "/bin/sh -c 'echo ZXhpdCAwCg== | /bin/busybox base64 -d | /bin/sh'",
        &[("exec.interpreter-oneliner", Low)],
    ),
    Technique::new(
        "fetched-and-run",
        "b mkdir -p /root/w; echo exit > /root/w/x; b httpd -p 127.0.0.1:4404 -h /root/w; \
         /bin/sh -c '/bin/busybox wget -q -O - http://127.0.0.1:4404/x | /bin/sh'",
        &[("exec.interpreter-oneliner", Low)],
    ),
];
