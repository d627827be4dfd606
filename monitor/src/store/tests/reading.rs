//! Finding things on disk: the last, the first, a time, a container.

use super::*;

#[test]
fn the_last_and_the_first_are_found_on_disk() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 10);
    let mut numbers = Vec::new();
    for _ in 0..20 {
        numbers.extend(exits(&history, 10));
        history.flush();
    }
    let last = |last| Range {
        last,
        ..Range::default()
    };
    let first = |first| Range {
        first,
        ..Range::default()
    };
    for count in [1, 9, 10, 11, 150, 200] {
        assert_eq!(
            history.told(last(count)),
            numbers[200 - count..],
            "last {count}"
        );
        assert_eq!(
            history.told(first(count)),
            numbers[..count],
            "first {count}"
        );
    }
    assert_eq!(history.told(last(500)), numbers);
}

#[test]
fn a_clock_that_is_set_back_hides_nothing() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 4_000);
    let now = SystemTime::now();
    let mut expected = Vec::new();
    for number in 0..3_000 {
        // The second thousand is an hour earlier.
        let hour = if number / 1_000 == 1 { 3_600 } else { 0 };
        let time = now + Duration::from_millis(u64::from(number)) - Duration::from_secs(hour);
        let pushed = history.push(Event {
            time,
            ..event(number % 5, Detail::Exit { status: 0 })
        });
        if hour > 0 {
            expected.push(pushed);
        }
    }
    history.flush();
    let mut past = Past::new(Arc::clone(&history.store), Narrow::default());
    let since = now - Duration::from_secs(3_600);
    let until = now - Duration::from_secs(1_000);
    let after = past.before(since).expect("there are some");
    let end = past.up_to(until).expect("there are some");
    let found: Vec<u64> = past
        .read::<Event>(after, end, usize::MAX)
        .items
        .into_iter()
        .filter(|(_, event)| event.time >= since && event.time <= until)
        .map(|(number, _)| number)
        .collect();
    assert_eq!(found, expected);
    assert_eq!(past.before(now + Duration::from_secs(60)), None);
    assert_eq!(past.up_to(now - Duration::from_secs(7_200)), None);
}

#[test]
fn containers_narrow_what_is_read() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    exits(&history, 30);
    history.flush();
    let narrow = Narrow {
        containers: Some(Arc::new(|container: Option<&Container>| {
            container.is_some_and(|container| container.details().description.name == "web-2")
        })),
        kinds: vec![EventKind::Exit.into()],
    };
    let mut past = Past::new(Arc::clone(&history.store), narrow);
    let found = past.read::<Event>(0, u64::MAX, 1_000).items;
    assert_eq!(found.len(), 10);
    let none = Narrow {
        kinds: vec![EventKind::Exec.into()],
        ..Narrow::default()
    };
    let mut past = Past::new(Arc::clone(&history.store), none);
    assert!(past.read::<Event>(0, u64::MAX, 1_000).items.is_empty());
}
