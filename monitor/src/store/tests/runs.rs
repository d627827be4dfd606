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
        told[2].starts_with("lost 0: the agent did not run: it was stopped"),
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
    assert!(told[5].contains("it was killed"), "{told:?}");
    assert_eq!(told[6], number[0]);
}

/// The absences that are told of to whoever reads these times.
fn absences(history: &History, since: SystemTime, until: Option<SystemTime>) -> Vec<v1::Lost> {
    let range = Range {
        since: Some(since),
        until,
        ..Range::default()
    };
    let context = context(history.store.name());
    let told: Vec<Option<v1::Lost>> = history.runtime.block_on(async {
        watch::stream(history.sequence(), &context, range, Gaps)
            .map(|message| message.expect("no status"))
            .collect()
            .await
    });
    told.into_iter().flatten().collect()
}

/// What is lost, and nothing else.
struct Gaps;

impl Messages for Gaps {
    type Value = Event;
    type Message = Option<v1::Lost>;
    const CURSOR: char = convert::EVENT_CURSOR;

    fn wants(&self, _: u64, _: &Event) -> bool {
        false
    }
    fn is_undecided(&self, _: &Event) -> bool {
        false
    }
    fn is_past_end(&self, _: &Event) -> bool {
        false
    }
    fn narrow(&self) -> Narrow {
        Narrow::default()
    }
    fn message(&self, told: Told<'_, Event>) -> Option<v1::Lost> {
        match told {
            Told::Lost(lost) => Some(lost),
            _ => None,
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Two runs, the later one of this boot: when the first one ended, what is left of it, and the second run.
fn two_runs(directory: &Path, boot: &str, is_killed: bool) -> (SystemTime, History) {
    let copy = directory.join("killed");
    let history = History::open(directory, LIMITS, 1_000);
    let mut last = event(1, Detail::Exit { status: 0 });
    let ended = SystemTime::now() - 3 * SECOND;
    last.time = ended;
    history.push(last);
    history.flush();
    if !is_killed {
        drop(history);
        return (ended, History::of_boot(directory, LIMITS, 1_000, boot));
    }
    // As a kill leaves it.
    fs::create_dir(&copy).expect("made");
    for name in fs::read_dir(directory).expect("read") {
        let name = name.expect("read").file_name();
        let from = directory.join(&name);
        if from.is_file() {
            fs::copy(from, copy.join(name)).expect("copied");
        }
    }
    drop(history);
    (ended, History::of_boot(&copy, LIMITS, 1_000, boot))
}

#[test]
fn an_absence_has_a_beginning_and_an_end_whatever_ended_the_run() {
    for (boot, is_killed, reason) in [
        (BOOT, false, "it was stopped"),
        (BOOT, true, "it was killed"),
        (
            "ffff",
            false,
            "it was stopped, and the node was started anew",
        ),
        ("ffff", true, "the node was started anew without"),
    ] {
        let directory = tempfile::tempdir().expect("temporary directory");
        let before = SystemTime::now();
        let (last_seen, history) = two_runs(directory.path(), boot, is_killed);
        let told = absences(&history, last_seen - SECOND, None);
        let [lost] = &told[..] else {
            panic!("one is told of: {told:?}");
        };
        assert!(lost.reason.contains(reason), "{lost:?}");
        let moment = |time: &Option<prost_types::Timestamp>| {
            SystemTime::try_from(time.expect("it has a time")).expect("of our days")
        };
        let (since, until) = (moment(&lost.since), moment(&lost.until));
        if is_killed {
            assert_eq!(since, last_seen);
        } else {
            assert!(since >= before, "when it was told to stop");
        }
        assert!((since..=SystemTime::now()).contains(&until));

        // Whoever asks for a part of that time hears of it, and whoever asks for another does not.
        let within = since + until.duration_since(since).unwrap_or_default() / 2;
        assert_eq!(absences(&history, within, None), told);
        assert_eq!(absences(&history, within, Some(within)), told);
        assert!(absences(&history, until + SECOND, None).is_empty());
        let earlier = absences(&history, since - 2 * SECOND, Some(since - SECOND));
        assert!(earlier.is_empty(), "{earlier:?}");
    }
}

#[test]
fn an_absence_is_told_to_readers_of_alerts_too_and_once_in_sql() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (_, history) = two_runs(directory.path(), BOOT, false);
    history.flush();
    let mut past = Past::new(Arc::clone(&history.store), Narrow::default());
    let slice = past.read::<Alert>(0, history.alerts.last(), 100);
    assert_eq!(slice.gaps.len(), 1, "{slice:?}");
    assert!(slice.gaps[0].absence.is_some(), "{slice:?}");
    let part = history.store.parts().pop().expect("there is one");
    let connection = part.read().expect("read");
    let rows: Vec<(String, f64, bool)> = connection
        .prepare("SELECT class, seconds, time < until FROM losses")
        .and_then(|mut statement| {
            statement
                .query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect()
        })
        .expect("read");
    assert_eq!(rows.len(), 1, "{rows:?}");
    let (class, seconds, in_order) = &rows[0];
    assert_eq!(class, "all");
    assert!(*seconds > 0.0 && *in_order, "{rows:?}");
}

/// A run that is killed before it wrote an event was there all the same: the time after it is no part of the absence before.
#[test]
fn absences_do_not_overlap() {
    let directory = tempfile::tempdir().expect("temporary directory");
    drop(History::open(directory.path(), LIMITS, 1_000));
    for boot in [BOOT, "ffff"] {
        drop(History::of_boot(directory.path(), LIMITS, 1_000, boot));
        // As if it had been killed.
        let parts = Segment::list(directory.path()).expect("read");
        let connection = parts[parts.len() - 1].append().expect("opened");
        connection
            .execute("DELETE FROM meta WHERE name = 'stopped'", ())
            .expect("changed");
    }
    let history = History::of_boot(directory.path(), LIMITS, 1_000, "ffff");
    let told = absences(&history, SystemTime::UNIX_EPOCH, None);
    assert_eq!(told.len(), 3, "{told:?}");
    let at = |time: Option<prost_types::Timestamp>| time.map(|time| (time.seconds, time.nanos));
    for pair in told.windows(2) {
        assert!(at(pair[0].until) <= at(pair[1].since), "{told:?}");
    }
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
