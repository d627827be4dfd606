//! What the whole built-in catalogue costs on one event of each common kind, none of which it finds anything in; and what it costs
//! beside many rules about other workloads.
//!
//! Run by `cargo xtask bench --policies`, which keeps the figures. By itself: `cargo bench --bench policy`.

use std::{collections::BTreeMap, fmt::Write as _, hint::black_box, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use watchkeeper::{
    detect::{evaluator::Evaluator, listeners::Listeners},
    policy::{
        set::RuleSet,
        source::{Lists, Source},
    },
};

#[path = "../tests/harmless/mod.rs"]
mod harmless;

fn catalogue(criterion: &mut Criterion) {
    measure(criterion, "catalogue", &[]);
}

/// Fifty workloads of other namespaces have ten rules each, about every kind that is measured.
fn other_workloads(criterion: &mut Criterion) {
    let policies: Vec<Source> = (0..50).map(of_workload).collect();
    measure(
        criterion,
        "catalogue and 500 rules of other workloads",
        &policies,
    );
}

fn of_workload(number: u32) -> Source {
    let mut text = format!(
        "apiVersion: watchkeeper.dev/v1\nkind: Policy\nmetadata: {{name: team-{number}}}\nselect: {{namespaces: [team-{number}]}}\nrules:\n"
    );
    for rule in 0..10 {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "  - {{id: team{number}.rule{rule}, title: T, severity: low, events: [exec, exit, connect, close, dns, file-open, file-change, credential-change], \
             condition: process.exe.startsWith(\"/opt/{rule}/\"), message: m, attack: [T1059], description: d, triage: t, benign: [b]}}"
        );
    }
    Source {
        name: format!("team-{number}.yaml"),
        text,
        lists: Lists::Given(BTreeMap::new()),
    }
}

fn measure(criterion: &mut Criterion, name: &str, policies: &[Source]) {
    let set = RuleSet::of(policies).expect("the policies are right").set;
    let mut evaluator = Evaluator::new(Arc::new(set), Listeners::of_the_past());
    let mut group = criterion.benchmark_group(name);
    for (name, event) in harmless::events() {
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

criterion_group!(benches, catalogue, other_workloads, loading);
criterion_main!(benches);
