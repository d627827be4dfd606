//! Events of a healthy workload, of which the built-in rules raise nothing: for measuring what rules cost. The token of the service
//! account that is read counts for the threshold of a rule.

use serde_json::json;
use watchkeeper::{event::Event, policy::case};

/// One event of each common kind, by its kind, and one of a program with many arguments.
pub fn events() -> [(&'static str, Event); 9] {
    let container = json!({"id": "c", "name": "web", "image": "quay.io/shop/web:1", "pod": {"uid": "1", "name": "web-0", "namespace": "shop"},
        "capBounding": ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"], "userNamespace": 1});
    let process = json!({"pid": 100, "exe": "/usr/sbin/nginx", "argv": ["nginx", "-g", "daemon off;"], "cwd": "/", "origin": "descendant",
        "seccomp": 2, "file": {"layer": "image"}, "namespaces": {"mnt": 2, "user": 1},
        "credentials": {"uid": 101, "euid": 101, "capBounding": ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"]}});
    let ancestors =
        json!([{"pid": 99, "exe": "/usr/sbin/nginx"}, {"pid": 98, "exe": "/usr/bin/tini"}]);
    let of = |kind: &'static str, name: &str, detail: serde_json::Value| {
        let mut event = json!({"kind": kind, "container": container, "process": process, "ancestors": ancestors});
        if !name.is_empty() {
            event[name] = detail;
        }
        let event = case::parse(&event).expect("the events are right");
        (kind, event)
    };
    let options: Vec<String> = (0..40)
        .map(|number| format!("-Dshop.cache.region{number}=cache-{number}:11211"))
        .collect();
    let argv: Vec<&str> = ["/opt/java/bin/java", "-server"]
        .into_iter()
        .chain(options.iter().map(String::as_str))
        .chain(["-cp", "/app/shop.jar:/app/netty.jar", "example.shop.Main"])
        .collect();
    let mut server = process.clone();
    server["exe"] = json!(argv[0]);
    server["argv"] = json!(argv);
    let remote = json!({"address": "10.1.2.3", "port": 5432});
    [
        of("exec", "", json!(null)),
        ("exec with 45 arguments", of("exec", "process", server).1),
        of("exit", "exit", json!({"code": 0})),
        of(
            "connect",
            "connection",
            json!({"protocol": "tcp", "remote": remote, "remoteName": "db.shop.svc.cluster.local", "outcome": "established"}),
        ),
        of(
            "close",
            "connection",
            json!({"protocol": "tcp", "remote": remote, "bytesSent": "1000", "bytesReceived": "20000", "outbound": true}),
        ),
        of(
            "dns",
            "dns",
            json!({"protocol": "udp", "name": "db.shop.svc.cluster.local", "type": "A"}),
        ),
        of(
            "file-open",
            "fileOpen",
            json!({"path": "/run/secrets/kubernetes.io/serviceaccount/token", "pathInFilesystem": "/..1/token", "access": ["read"],
                    "reasons": ["service-account-token"], "filesystem": "tmpfs"}),
        ),
        of(
            "file-change",
            "fileChange",
            json!({"call": {"name": "renameat2"}, "path": "/var/log/nginx/access.log", "newPath": "/var/log/nginx/access.log.1", "reasons": ["logs"]}),
        ),
        of(
            "credential-change",
            "credentialChange",
            json!({"call": {"name": "setuid"}, "before": {"euid": 0}, "after": {"euid": 101}}),
        ),
    ]
}
