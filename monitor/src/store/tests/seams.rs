//! The seam between disk, memory and what is live.

use super::*;

/// Readers go on while it is written, and see each event once.
#[test]
fn two_readers_and_a_writer_do_not_disturb_each_other() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let limits = Limits {
        bytes: MIN_BYTES,
        ..LIMITS
    };
    let history = History::open(directory.path(), limits, 5_000);
    let context = context(history.store.name());
    let total = 20_000;
    let readers: Vec<_> = (0..2)
        .map(|reader| {
            let range = Range {
                follow: true,
                first: total,
                ..Range::default()
            };
            let entered = history.runtime.enter();
            let mut stream = watch::stream(history.sequence(), &context, range, Everything);
            drop(entered);
            history.runtime.spawn(async move {
                let mut told = Vec::new();
                while let Some(message) = stream.next().await {
                    told.push(message.expect("no status"));
                    if reader == 1 && told.len() % 500 == 0 {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
                told
            })
        })
        .collect();
    let mut numbers = Vec::new();
    for _ in 0..20 {
        numbers.extend(exits(&history, 1_000));
        history.flush();
    }
    for reader in readers {
        let told = history
            .runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(60), reader).await })
            .expect("in time")
            .expect("no panic");
        assert_eq!(told, numbers);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    /// Wherever a client begins, whatever memory holds, and however fast it reads: it is told everything once and in order.
    #[test]
    fn history_and_live_make_up_the_sequence(
        past in 0..400u32,
        live in 1..400u32,
        in_memory in 20..500usize,
        begin in 0.0..1.0f64,
        pause in 0..40usize,
    ) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let history = History::open(directory.path(), LIMITS, in_memory);
        let mut numbers = Vec::new();
        let burst = u32::try_from(in_memory).expect("small").min(100);
        let mut push = |count: u32| {
            let mut left = count;
            while left > 0 {
                let now = left.min(burst);
                numbers.extend(exits(&history, now));
                // Memory never lets go of what is not written.
                history.flush();
                left -= now;
            }
        };
        push(past);
        let after = (f64::from(past) * begin) as u64;
        let context = context(history.store.name());
        let total = (u64::from(past + live) - after) as usize;
        let range = Range {
            after: Some(after),
            follow: true,
            first: total,
            ..Range::default()
        };
        let entered = history.runtime.enter();
        let mut stream = watch::stream(history.sequence(), &context, range, Everything);
        drop(entered);
        let reader = history.runtime.spawn(async move {
            let mut told = Vec::new();
            while let Some(message) = stream.next().await {
                told.push(message.expect("no status"));
                if pause > 0 && told.len() % pause == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            told
        });
        push(live);
        let told = history
            .runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(60), reader).await })
            .expect("in time")
            .expect("no panic");
        let from = usize::try_from(after).expect("small");
        prop_assert_eq!(&told[..], &numbers[from..]);
    }

    /// A client that follows while memory lets go of more than is written is told each event once and in order, or how many are
    /// missing.
    #[test]
    fn a_follower_is_told_everything_or_how_much_is_missing(
        bursts in prop::collection::vec((1..200u32, 0..30u64), 1..12),
        pause in 0..20u64,
    ) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let history = History::open(directory.path(), LIMITS, 50);
        let total: u64 = bursts.iter().map(|(burst, _)| u64::from(*burst)).sum();
        let context = context(history.store.name());
        let range = Range { after: Some(0), follow: true, ..Range::default() };
        let entered = history.runtime.enter();
        let mut stream = watch::stream(history.sequence(), &context, range, Everything);
        drop(entered);
        let reader = history.runtime.spawn(async move {
            let (mut counted, mut last) = (0, 0);
            while counted < total {
                let told = stream.next().await.expect("it goes on").expect("no status");
                if let Some(lost) = told.strip_prefix("lost ") {
                    let count = lost.split(':').next().and_then(|count| count.parse::<u64>().ok());
                    counted += count.expect("a count");
                } else {
                    let number: u64 = told.parse().expect("a number");
                    assert!(number > last, "{number} after {last}");
                    (counted, last) = (counted + 1, number);
                }
                if counted % 64 == 0 {
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
            }
            counted
        });
        for (burst, wait) in bursts {
            exits(&history, burst);
            std::thread::sleep(Duration::from_millis(wait));
        }
        let counted = history
            .runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(30), reader).await })
            .expect("in time")
            .expect("no panic");
        prop_assert_eq!(counted, total);
    }

    /// Where memory lets go of more than is written, what is missing is counted.
    #[test]
    fn what_could_not_be_written_is_counted(bursts in prop::collection::vec(1..300u32, 1..6)) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let history = History::open(directory.path(), LIMITS, 50);
        for burst in &bursts {
            exits(&history, *burst);
            std::thread::sleep(Duration::from_millis(u64::from(*burst)));
        }
        history.flush();
        let total: u32 = bursts.iter().sum();
        let mut counted = 0;
        for told in history.told(Range { after: Some(0), ..Range::default() }) {
            counted += match told.strip_prefix("lost ") {
                Some(lost) => lost.split(':').next().and_then(|count| count.parse().ok()).expect("a count"),
                None => 1,
            };
        }
        prop_assert_eq!(counted, u64::from(total));
    }
}
