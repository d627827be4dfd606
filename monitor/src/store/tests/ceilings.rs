//! What history does with too much, and with what is damaged.

use super::*;

#[test]
fn history_keeps_to_its_size_and_tells_what_it_let_go() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let limits = Limits {
        bytes: MIN_BYTES,
        ..LIMITS
    };
    let mut history = History::open(directory.path(), limits, 100_000);
    let mut last = 0;
    for round in 0..40 {
        for number in 0..1_000 {
            let path = format!("/srv/{round}/{number}/{}", "x".repeat(400));
            let opened = Message::FileOpen(v1::FileOpen {
                path,
                ..v1::FileOpen::default()
            });
            last = history.push(event(number % 5, message(EventKind::FileOpen, opened)));
        }
        history.flush();
    }
    history
        .writer
        .take()
        .expect("it runs")
        .stop(SystemTime::now());
    let parts = history.store.parts();
    assert!(parts.len() > 3 && parts[0].sequence > 1, "{parts:?}");
    let on_disk: u64 = parts.iter().map(|part| part.bytes()).sum();
    let wal: u64 = 8 << 20;
    assert!(on_disk < limits.bytes + wal, "{on_disk}");

    let mut past = Past::new(Arc::clone(&history.store), Narrow::default());
    let slice = past.read::<Event>(0, u64::MAX, 10);
    assert_eq!(slice.gaps.len(), 1);
    assert!(slice.gaps[0].reason.contains("does not reach back"));
    let mut after = past.beginning::<Event>().expect("there is one");
    let mut count = 0;
    while after < last {
        let slice = past.read::<Event>(after, last, 1_000);
        assert_eq!(slice.gaps, []);
        count += slice.items.len() as u64;
        after = slice.scanned;
    }
    assert_eq!(
        count,
        last - parts[0].first_event + 1,
        "all that is kept is there"
    );
}

#[test]
fn a_damaged_segment_is_set_aside_and_the_others_stay() {
    let directory = tempfile::tempdir().expect("temporary directory");
    for boot in ["a", "b", "c"] {
        let history = History::of_boot(directory.path(), LIMITS, 1_000, boot);
        exits(&history, 5);
    }
    let second = Segment::list(directory.path())
        .expect("listed")
        .swap_remove(1);
    let length = fs::metadata(&second.path).expect("there").len();
    let mut content = fs::read(&second.path).expect("read");
    content[8_192..usize::try_from(length).expect("small")].fill(0xa5);
    fs::write(&second.path, content).expect("written");

    let history = History::of_boot(directory.path(), LIMITS, 1_000, "c");
    let told = history.told(Range::default());
    let values = told
        .iter()
        .filter(|told| told.parse::<u64>().is_ok())
        .count();
    assert_eq!(values, 10, "{told:?}");
    assert!(told.iter().any(|told| told.contains("damaged")), "{told:?}");
    assert!(second.path.with_extension("damaged").exists());
    assert_eq!(history.store.parts().len(), 2);
}

/// More than memory holds, faster than it can be written: what is committed stays, what is missing is counted.
#[test]
fn a_burst_of_long_arguments_is_kept_or_counted() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let limits = Limits {
        bytes: 64 << 20,
        ..LIMITS
    };
    let mut history = History::open(directory.path(), limits, 4_096);
    let total: u64 = 50_000;
    for number in 0..total {
        let mut executed = event(u32::try_from(number % 7).expect("small"), Detail::Exec);
        let mut process = process(
            ProcessKey {
                pid: 5_000,
                start_ticks: number,
            },
            None,
            "/usr/bin/thing",
        );
        let arguments = format!("thing\0{number}{}", "x".repeat(4_000));
        Arc::make_mut(&mut process.program).argv = Arguments::new(arguments.as_bytes());
        executed.process = Some(Arc::new(process));
        history.push(executed);
    }
    history.flush();
    history
        .writer
        .take()
        .expect("it runs")
        .stop(SystemTime::now());
    let figures = history.store.figures();
    let (written, missed) = (
        figures.events.load(Ordering::Relaxed),
        figures.missed.load(Ordering::Relaxed),
    );
    assert_eq!(written + missed, total);
    let bytes: u64 = history.store.parts().iter().map(|part| part.bytes()).sum();
    assert!(bytes < limits.bytes + (16 << 20), "{bytes}");
    let told = history.told(Range::default());
    let values = told
        .iter()
        .filter(|told| told.parse::<u64>().is_ok())
        .count() as u64;
    let oldest = history.store.parts()[0].first_event;
    let lost: u64 = told
        .iter()
        .filter_map(|told| {
            told.strip_prefix("lost ")?
                .split(':')
                .next()?
                .parse::<u64>()
                .ok()
        })
        .sum();
    assert_eq!(
        values + lost,
        total - (oldest - 1),
        "all since the oldest that is kept"
    );
}
