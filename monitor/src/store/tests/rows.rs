//! What is written is read again as it was.

use super::*;

#[test]
fn every_event_comes_back_as_it_was() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    let events = every_shape();
    for event in &events {
        history.push(event.clone());
    }
    history.flush();
    let mut reader = Reader::open(&history.store.parts()[0]).expect("opened");
    let read = all(&mut reader);
    assert_eq!(read.len(), events.len());
    let context = context("store");
    for (event, (number, read)) in events.iter().zip(&read) {
        assert_eq!(context.event(*number, read), context.event(*number, event));
    }
    // And without the caches that the first reading filled.
    assert_eq!(&*reader.boot_id, BOOT);
}

#[test]
fn parts_of_details_make_up_the_whole() {
    for event in every_shape() {
        let parts = detail::parts(&event);
        if let Some(fixed) = &parts.fixed {
            let text = detail::to_json(fixed).expect("written");
            assert_eq!(&detail::from_json(&text).expect("read"), fixed, "{text}");
        }
        if let Some(text) = detail::numbers_to_text(&parts.numbers) {
            assert_eq!(
                detail::numbers_from_text(&text).expect("read"),
                parts.numbers
            );
        }
    }
}

#[test]
fn what_comes_again_is_written_once_and_counted() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 10_000);
    for number in 0..500 {
        let mut again = event(number % 5, connection(EventKind::Connect, true));
        if let Detail::Message(_, detail) = &mut again.detail
            && let Message::Connection(connection) = &mut **detail
            && let Some(local) = &mut connection.local
        {
            local.port = 40_000 + number;
        }
        history.push(again);
        if number == 250 {
            history.flush();
        }
    }
    history.flush();
    let mut reader = Reader::open(&history.store.parts()[0]).expect("opened");
    let counted: Vec<(i64, i64)> = reader
        .connection()
        .prepare("SELECT count, last - first FROM detail")
        .and_then(|mut statement| {
            statement
                .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .expect("read");
    assert_eq!(counted.len(), 1);
    assert_eq!(counted[0].0, 500);
    assert!(counted[0].1 > 0);
    let ports: Vec<i64> = reader
        .connection()
        .prepare("SELECT local_port FROM connections ORDER BY number")
        .and_then(|mut statement| statement.query_map((), |row| row.get(0))?.collect())
        .expect("read");
    assert_eq!(ports, (40_000..40_500).collect::<Vec<_>>());
    assert_eq!(all(&mut reader).len(), 500);
    let programs: i64 = reader
        .connection()
        .query_row("SELECT count(*) FROM program", (), |row| row.get(0))
        .expect("read");
    assert!(programs <= 4, "{programs}");
}

#[test]
fn alerts_come_back_with_their_latest_count() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    let made = Arc::new(alert(3, 17));
    let number = history.alerts.push(Arc::clone(&made), 1);
    history.flush();
    made.repeat(SystemTime::now(), 18);
    let id = made.id[..20].to_owned();
    drop(history);

    let history = History::open(directory.path(), LIMITS, 1_000);
    let mut past = Past::new(Arc::clone(&history.store), Narrow::default());
    let (found, read) = past.alert(&id).expect("found");
    assert_eq!(found, number);
    let context = context("store");
    assert_eq!(context.alert(found, &read), context.alert(number, &made));
    assert_eq!(read.tally().count, 2);
    assert_eq!(past.read::<Alert>(0, u64::MAX, 10).items.len(), 1);
    assert!(past.alert("no such id").is_none());
}

#[test]
fn source_of_processes_is_kept() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    let mut forked = event(1, Detail::Exit { status: 0 });
    let mut child = (**forked.process.as_ref().expect("it has one")).clone();
    child.source = Source::Fork;
    child.key = key(9_999);
    child.inside = Some((1, 2));
    forked.process = Some(Arc::new(child));
    history.push(forked.clone());
    history.flush();
    let mut reader = Reader::open(&history.store.parts()[0]).expect("opened");
    let context = context("store");
    let read = all(&mut reader);
    assert_eq!(context.event(1, &read[0].1), context.event(1, &forked));
    let line = reader.last_line(key(9_999)).expect("read").expect("there");
    assert_eq!(line.process.source, Source::Fork);
    assert_eq!(line.ancestors.len(), 2);
    assert!(reader.last_line(key(1_234_567)).expect("read").is_none());
}
