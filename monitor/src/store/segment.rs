//! Segments: the files that history is kept in, and how each is opened.
//!
//! A segment holds everything its events refer to, so that the oldest can be removed whole, and any can be copied and
//! opened by itself.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use crate::proto::{kind_name, v1::EventKind};

/// The schema; see `schema.sql`.
pub const SCHEMA: &str = include_str!("schema.sql");
/// Version of the schema. Segments from [`OLDEST`] on are brought to it; those of other versions are set aside.
pub const VERSION: i64 = OLDEST + STEPS.len() as i64;
/// The earliest version that is taken over.
const OLDEST: i64 = 2;
/// What each version since then changed in tables.
const STEPS: [&str; 2] = [
    // Gaps have times.
    "ALTER TABLE gap ADD COLUMN since INTEGER; ALTER TABLE gap ADD COLUMN until INTEGER;
     ALTER TABLE alert_gap ADD COLUMN since INTEGER; ALTER TABLE alert_gap ADD COLUMN until INTEGER;",
    // Pods have what the API server knows of them.
    "ALTER TABLE pod ADD COLUMN workload TEXT; ALTER TABLE pod ADD COLUMN namespace_labels TEXT;",
];
/// "WKPH", which marks the files.
const APPLICATION: i64 = 0x574B_5048;
/// How long a statement waits for another connection's lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// One file of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Segments are numbered in the order in which they were begun.
    pub sequence: u64,
    /// No event of it has a lower number.
    pub first_event: u64,
    /// Nor an alert.
    pub first_alert: u64,
    /// The file.
    pub path: PathBuf,
}

impl Segment {
    /// The segment of a directory with this number, which begins with these numbers. They are part of its name, so that it
    /// need not be opened to know what it has.
    #[must_use]
    pub fn new(directory: &Path, sequence: u64, first_event: u64, first_alert: u64) -> Self {
        Self {
            sequence,
            first_event,
            first_alert,
            path: directory.join(format!(
                "segment-{sequence:010}-{first_event}-{first_alert}.sqlite"
            )),
        }
    }

    /// A number that no segment of a directory has, nor one that was set aside.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn next_sequence(directory: &Path) -> io::Result<u64> {
        let mut highest = 0;
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            let sequence = name
                .to_str()
                .and_then(|name| name.strip_prefix("segment-")?.split('-').next())
                .and_then(|digits| digits.parse().ok());
            highest = highest.max(sequence.unwrap_or(0));
        }
        Ok(highest + 1)
    }

    /// The segments of a directory, the oldest first.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn list(directory: &Path) -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name();
            let numbers: Option<Vec<u64>> = name
                .to_str()
                .and_then(|name| name.strip_prefix("segment-")?.strip_suffix(".sqlite"))
                .and_then(|numbers| {
                    numbers
                        .split('-')
                        .map(|number| number.parse().ok())
                        .collect()
                });
            if let Some([sequence, first_event, first_alert]) = numbers.as_deref() {
                found.push(Self::new(directory, *sequence, *first_event, *first_alert));
            }
        }
        found.sort_unstable_by_key(|segment| segment.sequence);
        Ok(found)
    }

    /// Makes the file, with the schema and nothing in it.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn create(&self, facts: &[(&str, &str)]) -> anyhow::Result<Connection> {
        // SQLite would make it readable for everybody.
        fs::OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&self.path)
            .with_context(|| format!("making {}", self.path.display()))?;
        let made = self.fill(facts);
        if made.is_err() {
            // Half of a segment is of no use.
            let _ = self.remove();
        }
        made
    }

    fn fill(&self, facts: &[(&str, &str)]) -> anyhow::Result<Connection> {
        let mut connection = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // A commit survives the end of the agent; one of the last seconds may not survive the end of the node.
        connection.pragma_update(None, "synchronous", "normal")?;
        let transaction = connection.transaction()?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.execute_batch(SCHEMA)?;
        for (name, value) in facts {
            transaction.execute("INSERT INTO meta VALUES (?1, ?2)", (name, value))?;
        }
        for number in 1.. {
            let Ok(kind) = EventKind::try_from(number) else {
                break;
            };
            transaction.execute(
                "INSERT INTO kind VALUES (?1, ?2)",
                (number, kind_name(kind)),
            )?;
        }
        transaction.commit()?;
        Ok(connection)
    }

    /// Opens the file to go on writing.
    ///
    /// # Errors
    /// When it is of another version, or can't be opened.
    pub fn append(&self) -> anyhow::Result<Connection> {
        let mut connection = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        renew(&mut connection)
            .with_context(|| format!("bringing {} to a new schema", self.path.display()))?;
        check(&connection)?;
        connection.pragma_update(None, "synchronous", "normal")?;
        Ok(connection)
    }

    /// The same, and reads all of it to see that it is whole.
    ///
    /// # Errors
    /// When it is damaged, of another version, or can't be opened.
    pub fn append_checked(&self) -> anyhow::Result<Connection> {
        let connection = self.append()?;
        let verdict: String =
            connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
        if verdict != "ok" {
            return Err(Unfit(format!("the file is damaged: {verdict}")).into());
        }
        Ok(connection)
    }

    /// Brings the file to this version of the schema, where it is of the one before.
    ///
    /// # Errors
    /// When it can't be opened or written.
    pub fn renew(&self) -> anyhow::Result<()> {
        if steps_from(version(&self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)?)?).is_some() {
            self.append()?;
        }
        Ok(())
    }

    /// Opens the file to read.
    ///
    /// # Errors
    /// When it is damaged, of another version, or can't be opened.
    pub fn read(&self) -> anyhow::Result<Connection> {
        let connection = self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        check(&connection)?;
        Ok(connection)
    }

    fn connect(&self, access: OpenFlags) -> anyhow::Result<Connection> {
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)
            .with_context(|| format!("opening {}", self.path.display()))?;
        connection.busy_timeout(PATIENCE)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    }

    /// The files that make it up.
    fn files(&self) -> [PathBuf; 3] {
        ["", "-wal", "-shm"].map(|suffix| {
            let mut name = self.path.clone().into_os_string();
            name.push(suffix);
            name.into()
        })
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files()
            .iter()
            .filter_map(|path| fs::metadata(path).ok())
            .map(|metadata| metadata.len())
            .sum()
    }

    /// Removes it. Whoever reads it goes on reading.
    ///
    /// # Errors
    /// When it is there and can't be removed.
    pub fn remove(&self) -> io::Result<()> {
        for path in self.files() {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Renames it, so that it is no longer part of history but can be looked into. Returns its new name.
    ///
    /// # Errors
    /// When it can't be renamed.
    pub fn set_aside(&self) -> io::Result<PathBuf> {
        let aside = self.path.with_extension("damaged");
        fs::rename(&self.path, &aside)?;
        let [_, wal, shm] = self.files();
        // What had not been taken over into the file; it may hold what is missing there.
        let _ = fs::rename(wal, self.path.with_extension("damaged-wal"));
        let _ = fs::remove_file(shm);
        Ok(aside)
    }
}

/// Files that were set aside, the oldest first.
///
/// # Errors
/// When the directory can't be read.
pub fn set_aside_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(directory)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "damaged")
        })
        .collect();
    found.sort_unstable();
    Ok(found)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings a segment of an earlier version to this one. Views are made anew: nothing is in them.
fn renew(connection: &mut Connection) -> anyhow::Result<()> {
    let Some(steps) = steps_from(version(connection)?) else {
        return Ok(());
    };
    let transaction = connection.transaction()?;
    let views: Vec<String> = transaction
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'view'")?
        .query_map((), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for view in views {
        transaction.execute_batch(&format!("DROP VIEW {view}"))?;
    }
    for step in steps {
        transaction.execute_batch(step)?;
    }
    for statement in SCHEMA.split_inclusive(";\n") {
        if let Some(start) = statement.find("CREATE VIEW ") {
            transaction.execute_batch(&statement[start..])?;
        }
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}

/// What has to change in a segment of a version to bring it to this one; `None` where that can't be done, or needn't.
fn steps_from(version: i64) -> Option<&'static [&'static str]> {
    let first = usize::try_from(version.checked_sub(OLDEST)?).ok()?;
    STEPS.get(first..).filter(|steps| !steps.is_empty())
}

/// Sees that it is one of ours.
fn check(connection: &Connection) -> anyhow::Result<()> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if pragma("application_id")? != APPLICATION {
        return Err(Unfit("it is no history of Watchkeeper".to_owned()).into());
    }
    let version = version(connection)?;
    if steps_from(version).is_some() {
        // Its content is not at fault: the next agent that can write to it brings it on.
        bail!("its schema has version {version}, and it could not be brought to {VERSION}");
    }
    if version != VERSION {
        let reason = format!("its schema has version {version}, and not {VERSION}");
        return Err(Unfit(reason).into());
    }
    Ok(())
}

/// A fact about a segment.
///
/// # Errors
/// When it can't be read.
pub fn fact(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// A file whose content is no segment, or not one of ours.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unfit(String);

/// Whether an error means that a file's content is at fault, and not the disk or the moment.
#[must_use]
pub fn is_damage(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Unfit>().is_some()
        || error.chain().any(|cause| {
            cause
                .downcast_ref::<rusqlite::Error>()
                .and_then(rusqlite::Error::sqlite_error_code)
                .is_some_and(|code| {
                    matches!(
                        code,
                        rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase
                    )
                })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::gap::{Gap, Missing};

    #[test]
    fn segments_are_found_in_order_and_nothing_else_is() {
        let directory = tempfile::tempdir().expect("temporary directory");
        for sequence in [12, 3] {
            Segment::new(directory.path(), sequence, 1, 1)
                .create(&[("store", "x")])
                .expect("made");
        }
        for other in [
            "segment-.sqlite",
            "segment-x.sqlite",
            "numbers",
            "segment-0000000020-5-5.damaged",
        ] {
            fs::write(directory.path().join(other), "").expect("written");
        }
        let found = Segment::list(directory.path()).expect("read");
        let sequences: Vec<_> = found.iter().map(|segment| segment.sequence).collect();
        assert_eq!(sequences, [3, 12]);
        let next = Segment::next_sequence(directory.path()).expect("read");
        assert_eq!(next, 21, "one that was set aside keeps its number");
        assert_eq!(set_aside_files(directory.path()).expect("read").len(), 1);
    }

    #[test]
    fn what_is_no_segment_is_refused_and_can_be_set_aside() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let segment = Segment::new(directory.path(), 1, 1, 1);
        drop(segment.create(&[]).expect("made"));
        assert!(segment.append_checked().is_ok());
        let whole = fs::read(&segment.path).expect("read");

        let mut damaged = whole.clone();
        damaged
            .iter_mut()
            .skip(4_096)
            .for_each(|byte| *byte ^= 0x5a);
        fs::write(&segment.path, damaged).expect("written");
        let error = segment.append_checked().expect_err("damaged");
        assert!(is_damage(&error), "{error:#}");

        fs::write(
            &segment.path,
            b"not a database, but something that is long enough to be one",
        )
        .expect("written");
        assert!(is_damage(&segment.read().expect_err("no database")));

        let mut newer = whole;
        newer[60..64].copy_from_slice(&7u32.to_be_bytes());
        fs::write(&segment.path, newer).expect("written");
        let error = segment.read().expect_err("another version");
        assert!(error.to_string().contains("version 7"), "{error:#}");

        assert!(is_damage(&error), "{error:#}");
        let aside = segment.set_aside().expect("renamed");
        assert!(aside.exists() && !segment.path.exists());
        assert!(Segment::list(directory.path()).expect("read").is_empty());
    }

    #[test]
    fn a_segment_of_an_earlier_version_is_taken_over() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let segment = Segment::new(directory.path(), 1, 1, 1);
        let connection = segment.create(&[]).expect("made");
        // As it was: without times, and with a view of its own.
        connection
            .execute_batch(
                "DROP VIEW losses; DROP VIEW pods; DROP VIEW containers; DROP VIEW alerts;
                 ALTER TABLE pod DROP COLUMN workload; ALTER TABLE pod DROP COLUMN namespace_labels;
                 ALTER TABLE gap DROP COLUMN since; ALTER TABLE gap DROP COLUMN until;
                 ALTER TABLE alert_gap DROP COLUMN since; ALTER TABLE alert_gap DROP COLUMN until;
                 CREATE VIEW losses AS SELECT first, reason FROM gap;
                 INSERT INTO gap VALUES (7, 8, 2, 'a full disk');
                 PRAGMA user_version = 2;",
            )
            .expect("changed");
        drop(connection);
        let error = segment.read().expect_err("not brought on yet");
        assert!(!is_damage(&error), "{error:#}");

        segment.renew().expect("brought on");
        let gaps = Gap::between(&segment.read().expect("read"), Missing::Events, 0, 100);
        let gaps = gaps.expect("read");
        assert_eq!((gaps[0].first, gaps[0].absence), (7, None));
        let class: String = segment
            .read()
            .expect("read")
            .query_row("SELECT class FROM losses", (), |row| row.get(0))
            .expect("read");
        assert_eq!(class, "history");
        for view in ["pods", "containers", "alerts"] {
            segment
                .read()
                .expect("read")
                .query_row(&format!("SELECT count(workload) FROM {view}"), (), |_| {
                    Ok(())
                })
                .expect(view);
        }
    }

    /// The schema is documentation, too: every view can be read.
    #[test]
    fn every_view_can_be_read() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let connection = Segment::new(directory.path(), 1, 1, 1)
            .create(&[])
            .expect("made");
        let views: Vec<String> = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'view'")
            .and_then(|mut statement| statement.query_map((), |row| row.get(0))?.collect())
            .expect("listed");
        assert!(views.len() >= 11, "{views:?}");
        for view in views {
            let count: i64 = connection
                .query_row(&format!("SELECT count(*) FROM {view}"), (), |row| {
                    row.get(0)
                })
                .unwrap_or_else(|error| panic!("{view}: {error}"));
            assert_eq!(count, 0);
        }
    }
}
