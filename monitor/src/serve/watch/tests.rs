//! Streams of a sequence that is in memory only; `store::tests` has those that begin on disk.

use proptest::prelude::*;
use tokio_stream::StreamExt as _;

use super::*;
use crate::store::{
    Settled,
    gap::Missing,
    read::{Numbered, Reader, Selection},
    segment::Segment,
};

/// Every number, and "lost n".
struct Numbers {
    only_even: bool,
    until: u64,
}

impl Messages for Numbers {
    type Value = u64;
    type Message = String;
    const CURSOR: char = 'n';

    fn is_undecided(&self, _: &u64) -> bool {
        false
    }
    fn wants(&self, _: u64, value: &u64) -> bool {
        *value <= self.until && (!self.only_even || value.is_multiple_of(2))
    }
    fn is_past_end(&self, value: &u64) -> bool {
        *value > self.until
    }
    fn narrow(&self) -> Narrow {
        Narrow::default()
    }
    fn message(&self, told: Told<'_, u64>) -> String {
        match told {
            Told::Value(_, value, _) => value.to_string(),
            Told::Lost(lost) => format!("lost {}", lost.count),
            Told::Amended(_) => "amended".to_owned(),
            Told::Heartbeat(_) => "heartbeat".to_owned(),
        }
    }
}

fn context() -> Context {
    Context {
        node: String::new(),
        boot_id: String::new(),
        store: "run".to_owned(),
    }
}

impl Kept for u64 {
    fn first(_: &Segment) -> u64 {
        0
    }
    fn settled(settled: &Settled) -> u64 {
        settled.events
    }
    fn read(_: &mut Reader, _: &Selection) -> anyhow::Result<Numbered<Self>> {
        Ok(Vec::new())
    }
    const MISSING: Missing = Missing::Events;
    const BY_TIME: bool = false;
    const DURABLE: bool = false;
}

/// A sequence that is nowhere but in memory.
fn in_memory(recent: &Arc<Recent<u64>>) -> Sequence<u64> {
    Sequence {
        recent: Arc::clone(recent),
        store: None,
        subscribers: Arc::default(),
    }
}

fn everything() -> Numbers {
    Numbers {
        only_even: false,
        until: u64::MAX,
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime")
        .block_on(future)
}

fn collect(recent: &Arc<Recent<u64>>, range: Range, numbers: Numbers) -> Vec<String> {
    run(async {
        stream(in_memory(recent), &context(), range, numbers)
            .map(|message| message.expect("no status"))
            .collect()
            .await
    })
}

fn filled(numbers: std::ops::RangeInclusive<u64>, ceiling: usize) -> Arc<Recent<u64>> {
    let recent = Arc::new(Recent::new(ceiling, usize::MAX));
    for number in numbers {
        recent.push(Arc::new(number), 1);
    }
    recent
}

#[test]
fn without_follow_the_past_is_told_and_the_stream_ends() {
    let recent = filled(1..=4, 100);
    assert_eq!(
        collect(&recent, Range::default(), everything()),
        ["1", "2", "3", "4"]
    );
    let empty = Arc::new(Recent::new(1, 1));
    assert!(collect(&empty, Range::default(), everything()).is_empty());
}

#[test]
fn limit_takes_the_newest_that_are_wanted() {
    let recent = filled(1..=10, 100);
    let range = Range {
        last: 2,
        ..Range::default()
    };
    let even = Numbers {
        only_even: true,
        until: u64::MAX,
    };
    assert_eq!(collect(&recent, range, even), ["8", "10"]);
    let range = Range {
        last: 50,
        ..Range::default()
    };
    assert_eq!(collect(&recent, range, everything()).len(), 10);
}

#[test]
fn a_cursor_goes_on_after_its_element() {
    let recent = filled(1..=5, 100);
    let range = Range {
        cursor: "run-n3".to_owned(),
        ..Range::default()
    };
    assert_eq!(collect(&recent, range, everything()), ["4", "5"]);
}

#[test]
fn gaps_are_told() {
    let recent = filled(1..=10, 4);
    let range = Range {
        cursor: "run-n3".to_owned(),
        ..Range::default()
    };
    assert_eq!(
        collect(&recent, range, everything()),
        ["lost 3", "7", "8", "9", "10"]
    );
    let range = Range {
        cursor: "earlier-n3".to_owned(),
        ..Range::default()
    };
    assert_eq!(collect(&recent, range, everything())[0], "lost 0");
}

#[test]
fn the_end_in_time_ends_even_a_followed_stream() {
    let recent = filled(1..=10, 100);
    let range = Range {
        follow: true,
        ..Range::default()
    };
    let numbers = Numbers {
        only_even: false,
        until: 3,
    };
    assert_eq!(collect(&recent, range, numbers), ["1", "2", "3"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Wherever the past ends and the live part begins, a follower gets everything once and in order.
    #[test]
    fn history_and_live_make_up_the_sequence(past in 0..600u64, live in 1..600u64) {
        let recent = filled(1..=past, usize::MAX);
        let range = Range { follow: true, ..Range::default() };
        let total = usize::try_from(past + live).expect("small");
        let seen: Vec<String> = run(async {
            let mut stream = stream(in_memory(&recent), &context(), range, everything());
            let pushing = Arc::clone(&recent);
            let writer = tokio::spawn(async move {
                for number in past + 1..=past + live {
                    pushing.push(Arc::new(number), 1);
                    if number % 7 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            });
            let mut seen = Vec::new();
            while seen.len() < total {
                seen.push(stream.next().await.expect("goes on").expect("no status"));
            }
            writer.await.expect("written");
            seen
        });
        let expected: Vec<String> = (1..=past + live).map(|number| number.to_string()).collect();
        prop_assert_eq!(seen, expected);
    }
}
