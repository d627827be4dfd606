//! What the whole built-in catalogue costs on one event of each common kind, none of which it finds anything in.
//!
//! Run by `cargo xtask bench --policies`, which keeps the figures. By itself: `cargo bench --bench policy`.

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;
use watchkeeper::{
    detect::{evaluator::Evaluator, listeners::Listeners},
    policy::{case, set::RuleSet},
};

/// Events of a healthy workload, by the name that the figure has.
fn events() -> [(&'static str, serde_json::Value); 8] {
    let container = json!({"id": "c", "name": "web", "image": "quay.io/shop/web:1", "pod": {"uid": "1", "name": "web-0", "namespace": "shop"},
        "capBounding": ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"], "userNamespace": 1});
    let process = json!({"pid": 100, "exe": "/usr/sbin/nginx", "argv": ["nginx", "-g", "daemon off;"], "cwd": "/", "origin": "descendant",
        "seccomp": 2, "file": {"layer": "image"}, "namespaces": {"mnt": 2, "user": 1},
        "credentials": {"uid": 101, "euid": 101, "capBounding": ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"]}});
    let ancestors =
        json!([{"pid": 99, "exe": "/usr/sbin/nginx"}, {"pid": 98, "exe": "/usr/bin/tini"}]);
    let of = |kind: &str, name: &str, detail: serde_json::Value| {
        let mut event = json!({"kind": kind, "container": container, "process": process, "ancestors": ancestors});
        if !name.is_empty() {
            event[name] = detail;
        }
        event
    };
    let remote = json!({"address": "10.1.2.3", "port": 5432});
    [
        ("exec", of("exec", "", json!(null))),
        ("exit", of("exit", "exit", json!({"code": 0}))),
        (
            "connect",
            of(
                "connect",
                "connection",
                json!({"protocol": "tcp", "remote": remote, "remoteName": "db.shop.svc.cluster.local", "outcome": "established"}),
            ),
        ),
        (
            "close",
            of(
                "close",
                "connection",
                json!({"protocol": "tcp", "remote": remote, "bytesSent": "1000", "bytesReceived": "20000", "outbound": true}),
            ),
        ),
        (
            "dns",
            of(
                "dns",
                "dns",
                json!({"protocol": "udp", "name": "db.shop.svc.cluster.local", "type": "A"}),
            ),
        ),
        (
            "file-open",
            of(
                "file-open",
                "fileOpen",
                json!({"path": "/run/secrets/kubernetes.io/serviceaccount/token", "pathInFilesystem": "/..1/token", "access": ["read"],
                    "reasons": ["service-account-token"], "filesystem": "tmpfs"}),
            ),
        ),
        (
            "file-change",
            of(
                "file-change",
                "fileChange",
                json!({"call": {"name": "renameat2"}, "path": "/var/log/nginx/access.log", "newPath": "/var/log/nginx/access.log.1", "reasons": ["logs"]}),
            ),
        ),
        (
            "credential-change",
            of(
                "credential-change",
                "credentialChange",
                json!({"call": {"name": "setuid"}, "before": {"euid": 0}, "after": {"euid": 101}}),
            ),
        ),
    ]
}

fn catalogue(criterion: &mut Criterion) {
    let set = RuleSet::of(&[])
        .expect("the built-in policies are tested")
        .set;
    let mut evaluator = Evaluator::new(Arc::new(set), Listeners::of_the_past());
    let mut group = criterion.benchmark_group("catalogue");
    for (name, json) in events() {
        let event = case::parse(&json).expect("the events are right");
        let mut found = Vec::new();
        evaluator.evaluate(&event, 1, &mut found);
        assert!(found.is_empty(), "{name}: {found:?}");
        group.bench_function(name, |bencher| {
            bencher.iter(|| evaluator.evaluate(black_box(&event), 1, &mut found));
        });
    }
    group.finish();
}

fn loading(criterion: &mut Criterion) {
    criterion.bench_function("load", |bencher| {
        bencher.iter(|| RuleSet::of(&[]).expect("the built-in policies are tested"));
    });
}

criterion_group!(benches, catalogue, loading);
criterion_main!(benches);
