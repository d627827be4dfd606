//! SQL and exports.

use super::*;

fn ask(history: &History, sql: &str) -> anyhow::Result<Vec<Vec<rusqlite::types::Value>>> {
    let mut session = Session::open(
        &history.store.parts(),
        Duration::from_secs(2),
        &Arc::default(),
    )?;
    let mut rows = Vec::new();
    session.run(
        sql,
        |_| {},
        |row| {
            rows.push(row);
            ControlFlow::Continue(())
        },
    )?;
    Ok(rows)
}

fn number(history: &History, sql: &str) -> i64 {
    match ask(history, sql).expect(sql)[0][0] {
        rusqlite::types::Value::Integer(number) => number,
        ref other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn sql_sees_all_segments_as_one_and_what_was_carried_once() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let limits = Limits {
        bytes: MIN_BYTES,
        ..LIMITS
    };
    let history = History::open(directory.path(), limits, 100_000);
    let total = 12_000;
    for round in 0..total / 1_000 {
        for number in 0..1_000 {
            let path = format!("/srv/{round}/{number}/{}", "x".repeat(400));
            let opened = Message::FileOpen(v1::FileOpen {
                path,
                ..v1::FileOpen::default()
            });
            history.push(event(number % 20, message(EventKind::FileOpen, opened)));
        }
        history.flush();
    }
    assert!(history.store.parts().len() > 2);
    let count = |what: &str| number(&history, &format!("SELECT count(*) FROM {what}"));
    assert_eq!(count("events"), total);
    assert_eq!(count("files WHERE path LIKE '/srv/3/%'"), 1_000);
    // 20 processes, their 20 parents and the runtime.
    assert_eq!(count("processes"), 41);
    assert_eq!(count("containers"), 3);
    assert_eq!(count("pods"), 3);
    assert_eq!(
        count("(SELECT DISTINCT exec_id FROM executions)"),
        count("executions")
    );
    assert_eq!(
        count("executions WHERE pod = 'shop/shop-1'"),
        count("executions WHERE container = 'web-1'")
    );
}

#[test]
fn sql_can_not_write_open_other_files_or_run_for_ever() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    exits(&history, 5);
    history.alerts.push(Arc::new(alert(1, 1)), 1);
    history.flush();
    let part = history.store.parts()[0].clone();
    let other = directory.path().join("other.sqlite");
    for sql in [
        "DELETE FROM s1.event".to_owned(),
        "INSERT INTO s1.gap VALUES (1, 2, 3, 'x')".to_owned(),
        "UPDATE s1.alert SET count = 0".to_owned(),
        "DROP VIEW s1.events".to_owned(),
        "CREATE TABLE s1.x (y)".to_owned(),
        "CREATE TEMP TABLE x (y)".to_owned(),
        "DELETE FROM temp.copy".to_owned(),
        format!("ATTACH '{}' AS other", other.display()),
        format!("VACUUM INTO '{}'", other.display()),
        "DETACH s1".to_owned(),
        "PRAGMA query_only = 0".to_owned(),
        "PRAGMA s1.journal_mode = delete".to_owned(),
        "PRAGMA writable_schema = 1".to_owned(),
        "BEGIN IMMEDIATE".to_owned(),
        "SELECT load_extension('x')".to_owned(),
        "SELECT 1; DELETE FROM s1.event".to_owned(),
        "EXPLAIN DELETE FROM s1.event".to_owned(),
        "".to_owned(),
        "SELECT".to_owned(),
        "SELECT * FROM nothing".to_owned(),
        "SELECT randomblob(1000000000)".to_owned(),
        "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT count(*) FROM t".to_owned(),
        "SELECT count(*) FROM events a, events b, events c, events d, events e, events f, events g, events h, events i, \
         events j, events k".to_owned(),
    ] {
        let began = std::time::Instant::now();
        let error = ask(&history, &sql).expect_err(&sql);
        assert!(!error.to_string().is_empty(), "{sql}");
        assert!(began.elapsed() < Duration::from_secs(30), "{sql}");
    }
    assert!(!other.exists());
    let mut reader = Reader::open(&part).expect("opened");
    assert_eq!(all(&mut reader).len(), 5);
    assert_eq!(number(&history, "SELECT sum(count) FROM alerts"), 1);
    assert_eq!(number(&history, "SELECT count(*) FROM losses"), 0);
}

#[test]
fn an_export_is_a_history_of_its_own() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let history = History::open(directory.path(), LIMITS, 1_000);
    for event in every_shape() {
        history.push(event);
    }
    history.alerts.push(Arc::new(alert(1, 1)), 1);
    history.alerts.push(Arc::new(alert(2, 1)), 1);
    history.flush();
    let mut past = Past::new(Arc::clone(&history.store), Narrow::default());
    let settled = *history.store.settled().borrow();
    let exported = export(
        &history.store,
        &mut past,
        (0, settled.events),
        &[("node", "node")],
        &|event| event.container().is_some(),
        &|alert| alert.message.contains("finding 2"),
        &|| false,
    )
    .expect("exported");
    let expected: Vec<_> = every_shape()
        .into_iter()
        .filter(|event| event.container().is_some())
        .collect();
    assert_eq!(
        (exported.events, exported.alerts),
        (expected.len() as u64, 1)
    );
    let segment = Segment {
        sequence: 0,
        first_event: 0,
        first_alert: 0,
        path: exported.path.clone(),
    };
    let mut reader = Reader::open(&segment).expect("opened");
    let context = context("store");
    let read = all(&mut reader);
    for ((number, read), (_, original)) in read.iter().zip(
        past.read::<Event>(0, settled.events, 1_000)
            .items
            .iter()
            .filter(|(_, event)| event.container().is_some()),
    ) {
        assert_eq!(
            context.event(*number, read),
            context.event(*number, original)
        );
    }
    assert_eq!(read.len(), expected.len());
    drop(exported);
    assert!(!segment.path.exists(), "it is the client's now");
    assert_eq!(Segment::list(directory.path()).expect("listed").len(), 1);
}
