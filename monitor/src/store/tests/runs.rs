//! From run to run of the agent: where one ended the next goes on, and what is missing is told.

use super::*;

#[test]
fn a_run_goes_on_where_the_one_before_ended() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    let first = exits(&history, 5);
    let cursor = context(history.store.name()).cursor(convert::EVENT_CURSOR, 3);
    drop(history);

    let history = History::open(directory.path(), LIMITS, 1_000);
    let second = exits(&history, 3);
    let told = history.told(Range {
        cursor,
        ..Range::default()
    });
    assert_eq!(told[..2], first[3..]);
    assert!(
        told[2].starts_with("lost 0: the agent did not run from "),
        "{told:?}"
    );
    assert_eq!(told[3..], second);
    assert_eq!(history.store.parts().len(), 1, "the same segment");
    drop(history);

    let history = History::of_boot(directory.path(), LIMITS, 1_000, "ffff");
    exits(&history, 1);
    history.flush();
    assert_eq!(
        history.store.parts().len(),
        2,
        "another boot, another segment"
    );
    assert_eq!(history.told(Range::default()).len(), 5 + 1 + 3 + 1 + 1);
}

#[test]
fn what_a_killed_agent_had_not_written_is_told() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let copy = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    exits(&history, 5);
    history.flush();
    // As a kill leaves it.
    for entry in fs::read_dir(directory.path()).expect("read") {
        let entry = entry.expect("read");
        fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
    }
    let history = History::open(copy.path(), LIMITS, 1_000);
    let number = exits(&history, 1);
    let told = history.told(Range::default());
    assert_eq!(told.len(), 7, "{told:?}");
    assert!(told[5].contains("the agent was killed after "), "{told:?}");
    assert_eq!(told[6], number[0]);
}

#[test]
fn where_its_segment_was_set_aside_the_writer_begins_another() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    exits(&history, 5);
    history.flush();
    let first = history.store.parts()[0].clone();
    // As a reader does that finds it damaged.
    history
        .store
        .drop_damaged(&first, &anyhow::anyhow!("it is damaged"));
    let numbers = exits(&history, 5);
    history.flush();
    let parts = history.store.parts();
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].sequence, 2);
    let mut past = Past::new(Arc::clone(&history.store), Narrow::default());
    let read = past.read::<Event>(5, u64::MAX, 100).items;
    let read: Vec<String> = read.iter().map(|(number, _)| number.to_string()).collect();
    assert_eq!(read, numbers);
}

#[test]
fn numbers_are_not_given_again_where_the_file_with_them_is_lost() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    exits(&history, 5);
    drop(history);
    fs::remove_file(directory.path().join("numbers")).expect("removed");
    let history = History::open(directory.path(), LIMITS, 1_000);
    let numbers = exits(&history, 5);
    let told = history.told(Range::default());
    assert_eq!(told.len(), 11, "{told:?}");
    assert_eq!(told[6..], numbers);
}

#[test]
fn missing_alerts_are_told() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 4);
    for number in 0..2_000 {
        history.alerts.push(Arc::new(alert(number % 7, 1)), 1);
    }
    history.flush();
    let mut past = Past::new(Arc::clone(&history.store), Narrow::default());
    let mut after = 0;
    let (mut told, mut missing) = (0, 0);
    while after < 2_000 {
        let slice = past.read::<Alert>(after, 2_000, 100);
        told += slice.items.len() as u64;
        missing += slice.gaps.iter().map(|gap| gap.count).sum::<u64>();
        after = slice.scanned;
    }
    assert_eq!(told + missing, 2_000);
    assert!(missing > 0);
}

#[test]
fn another_agent_with_the_same_history_is_refused() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let first = Store::open(directory.path(), LIMITS).expect("free");
    let error = Store::open(directory.path(), LIMITS).expect_err("taken");
    assert!(error.to_string().contains("another agent"), "{error:#}");
    drop(first);
    assert!(Store::open(directory.path(), LIMITS).is_ok());
}
