//! Asking the rules of an event allocates nothing, so that it costs the same whatever else the node does.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    hint::black_box,
    sync::Arc,
};

use watchkeeper::{
    detect::{evaluator::Evaluator, listeners::Listeners},
    policy::set::RuleSet,
};

mod harmless;

thread_local! {
    /// How often the thread took memory: tests run on several.
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts.
struct Counting;

fn count() {
    // A thread that ends has no such variable any more.
    let _ = TAKEN.try_with(|taken| taken.set(taken.get() + 1));
}

// SAFETY: every call is passed to the system's allocator as it comes. Counting does not allocate: the variable is initialised when
// this is compiled, and has no destructor that would have to be registered.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps what `alloc` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps what `alloc_zeroed` asks for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps what `realloc` asks for, and the memory is the system's.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps what `dealloc` asks for, and the memory is the system's.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often something takes memory.
fn taken(work: impl FnOnce()) -> u64 {
    let before = TAKEN.get();
    work();
    TAKEN.get() - before
}

#[test]
fn what_is_allocated_is_counted() {
    assert_eq!(taken(|| drop(black_box(Box::new(1)))), 1);
    assert_eq!(taken(|| drop(black_box(vec![0_u8; 10]))), 1);
    assert_eq!(
        taken(|| {
            let mut grows = Vec::with_capacity(1);
            grows.extend(black_box([1, 2]));
            black_box(grows);
        }),
        2
    );
    assert_eq!(taken(|| ()), 0);
}

#[test]
fn a_harmless_event_is_judged_without_allocating() {
    let set = RuleSet::of(&[])
        .expect("the built-in policies are right")
        .set;
    let mut evaluator = Evaluator::new(Arc::new(set), Listeners::of_the_past());
    let mut found = Vec::new();
    for (kind, event) in harmless::events() {
        // The first one of a workload is remembered, and regular expressions make room for their work.
        evaluator.evaluate(&event, 1, &mut found);
        let taken = taken(|| {
            for number in 2..100 {
                evaluator.evaluate(&event, number, &mut found);
            }
        });
        assert_eq!(taken, 0, "{kind}");
        assert!(found.is_empty(), "{kind}: {found:?}");
    }
}
