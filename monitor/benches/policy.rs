//! What the whole built-in catalogue costs on one event of each common kind, none of which it finds anything in.
//!
//! Run by `cargo xtask bench --policies`, which keeps the figures. By itself: `cargo bench --bench policy`.

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use watchkeeper::{
    detect::{evaluator::Evaluator, listeners::Listeners},
    policy::set::RuleSet,
};

#[path = "../tests/harmless/mod.rs"]
mod harmless;

fn catalogue(criterion: &mut Criterion) {
    let set = RuleSet::of(&[])
        .expect("the built-in policies are tested")
        .set;
    let mut evaluator = Evaluator::new(Arc::new(set), Listeners::of_the_past());
    let mut group = criterion.benchmark_group("catalogue");
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

criterion_group!(benches, catalogue, loading);
criterion_main!(benches);
