//! Capabilities and other privileges.

use super::Technique;
use watchkeeper::proto::v1::Severity::{High, Low, Medium};

pub(super) const TECHNIQUES: &[Technique] = &[
    Technique::new("without-seccomp", "true", &[("cap.no-seccomp", Low)])
        .with(&["--security-opt", "seccomp=unconfined"]),
    Technique::new(
        "more-than-the-container-has",
        "",
        &[("cap.unexpected", High)],
    )
    .after("nsenter -t PID -m -p -- /bin/true"),
    Technique::new(
        "setuid-program",
        "echo 'u:x:1000:1000::/:/bin/sh' > /etc/passwd; b cp /bin/busybox /opt/true; b chmod 4755 /opt/true; b su u -c /opt/true",
        &[("cap.setuid-bit", Medium), ("cap.setuid-exec", High)],
    ),
];
