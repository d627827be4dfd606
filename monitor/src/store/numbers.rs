//! Numbers that are never given twice, whatever becomes of the agent: those up to a ceiling are taken before they are
//! used, and a run begins where the one before had its ceiling.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use uuid::Uuid;

/// How many numbers are taken at a time.
pub const STEP: u64 = 1 << 20;
/// Numbers fit into SQLite's integers.
const MAX: u64 = 1 << 62;

/// The file that says which numbers are taken, of both sequences. It is written over in place, so that a full disk does
/// not keep it from being written.
#[derive(Debug)]
pub struct Numbers {
    file: File,
    store: String,
    events: u64,
    alerts: u64,
}

impl Numbers {
    /// Opens the file of a directory, or makes one, and takes numbers for this run. Returns with it the numbers after which
    /// events and alerts of this run begin.
    ///
    /// # Errors
    /// When the file can't be read or written.
    pub fn open(directory: &Path) -> io::Result<(Self, u64, u64)> {
        let path = directory.join("numbers");
        let before = match fs::read_to_string(&path) {
            Ok(text) => parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // What can't be read is as good as a new store: its cursors are known for what they are.
        let (store, events, alerts) = before.unwrap_or_else(|| (new_name(), 0, 0));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)?;
        let mut numbers = Self {
            file,
            store,
            events,
            alerts,
        };
        numbers.take(events, alerts)?;
        Ok((numbers, events, alerts))
    }

    /// Names the store in cursors: eight hexadecimal digits.
    #[must_use]
    pub fn store(&self) -> &str {
        &self.store
    }

    /// Takes more numbers where these, the last that were given, come near the ceiling.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn keep_ahead(&mut self, event: u64, alert: u64) -> io::Result<()> {
        let near = |last: u64, ceiling: u64| last + STEP / 2 >= ceiling;
        if near(event, self.events) || near(alert, self.alerts) {
            self.take(event.max(self.events), alert.max(self.alerts))?;
        }
        Ok(())
    }

    fn take(&mut self, events: u64, alerts: u64) -> io::Result<()> {
        let (events, alerts) = (events + STEP, alerts + STEP);
        let text = format!("{} {events:020} {alerts:020}\n", self.store);
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.sync_data()?;
        (self.events, self.alerts) = (events, alerts);
        Ok(())
    }
}

/// A name for a store that cursors of no other have.
#[must_use]
pub fn new_name() -> String {
    // The last digits of a UUID of version 7 are random.
    let digits = Uuid::now_v7().simple().to_string();
    digits[digits.len() - 8..].to_owned()
}

fn parse(text: &str) -> Option<(String, u64, u64)> {
    let mut words = text.split_whitespace();
    let store = words
        .next()
        .filter(|store| store.len() == 8 && store.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let mut number = || words.next()?.parse().ok().filter(|number| *number < MAX);
    Some((store.to_owned(), number()?, number()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_given_twice() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (mut numbers, events, alerts) = Numbers::open(directory.path()).expect("opened");
        assert_eq!((events, alerts), (0, 0));
        let store = numbers.store().to_owned();
        let mut last = events;
        for _ in 0..10 {
            last += STEP / 3;
            numbers.keep_ahead(last, 5).expect("written");
        }
        drop(numbers);
        let (numbers, events, alerts) = Numbers::open(directory.path()).expect("opened");
        assert!(events > last, "{events} {last}");
        assert!(alerts > 5);
        assert_eq!(numbers.store(), store);
    }

    #[test]
    fn a_damaged_file_makes_a_new_store() {
        let directory = tempfile::tempdir().expect("temporary directory");
        for content in [
            "",
            "x",
            "0123456g 1 1",
            "01234567 1",
            "01234567 1 99999999999999999999",
        ] {
            fs::write(directory.path().join("numbers"), content).expect("written");
            let (numbers, events, _) = Numbers::open(directory.path()).expect("opened");
            assert_eq!(events, 0, "{content}");
            assert_ne!(numbers.store(), "01234567", "{content}");
        }
    }
}
