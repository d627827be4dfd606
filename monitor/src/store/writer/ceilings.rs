//! Keeping history within its ceilings: the oldest goes first.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use rusqlite::OptionalExtension as _;

use super::{
    super::{
        DIVISIONS, MAX_SEGMENTS, nanoseconds,
        read::moment,
        segment::{self, Segment},
    },
    Writer,
};
use crate::process::clock;

impl Writer {
    /// Removes the oldest segments where history is larger or older than it may be.
    pub(super) fn enforce(&self) {
        let limits = self.store.limits;
        // Room for the segment that is being written.
        let most = limits.bytes - limits.bytes / DIVISIONS;
        loop {
            let parts = self.store.parts();
            // The last one is being written.
            let Some((oldest, [_, ..])) = parts.split_first() else {
                self.store.measure();
                return;
            };
            let closed: u64 = parts[..parts.len() - 1]
                .iter()
                .map(|part| part.bytes())
                .sum();
            let aside_files = segment::set_aside_files(&self.store.directory).unwrap_or_default();
            let aside: u64 = aside_files
                .iter()
                .filter_map(|path| fs::metadata(path).ok())
                .map(|metadata| metadata.len())
                .sum();
            // What is of no use for questions goes first.
            if closed + aside > most
                && let Some(oldest) = aside_files.first()
                && fs::remove_file(oldest).is_ok()
            {
                continue;
            }
            let too_many = parts.len() > MAX_SEGMENTS;
            if closed + aside <= most && !too_many && !self.is_too_old(oldest) {
                self.store.measure();
                return;
            }
            self.store.change_parts(|parts| {
                parts.remove(0);
            });
            if let Err(error) = oldest.remove() {
                tracing::error!("history: removing {}: {error}", oldest.path.display());
            }
        }
    }

    /// Finds out since when there is history, where the oldest segment is another than before.
    pub(super) fn find_oldest(&mut self) {
        let parts = self.store.parts();
        if parts.first() == self.oldest.as_ref() {
            return;
        }
        // A segment may have no events, and a damaged one is found by whoever needs it.
        let found = parts.iter().find_map(|part| {
            let first: Option<i64> = part
                .read()
                .and_then(|connection| {
                    let sql = "SELECT earliest FROM chunk ORDER BY first LIMIT 1";
                    Ok(connection.query_row(sql, (), |row| row.get(0)).optional()?)
                })
                .unwrap_or_default();
            Some((part, moment(first?)))
        });
        let figures = self.store.figures();
        figures.oldest_event.set(found.map(|(_, time)| time));
        // Until the oldest segment has an event, it is looked for again.
        self.oldest = found
            .map(|(part, _)| part.clone())
            .filter(|part| Some(part) == parts.first());
    }

    /// Whether all of a segment is older than history reaches. Within a boot that does not hang on the wall clock.
    pub(super) fn is_too_old(&self, segment: &Segment) -> bool {
        let age = || -> anyhow::Result<Duration> {
            let connection = segment.read()?;
            let fact = |name| -> anyhow::Result<Option<i64>> {
                Ok(segment::fact(&connection, name)?.and_then(|text| text.parse().ok()))
            };
            let same_boot =
                segment::fact(&connection, "boot_id")?.as_deref() == Some(self.boot_id.as_str());
            let (now, closed) = if same_boot {
                (clock::since_boot().cast_signed(), fact("closed_boot_ns")?)
            } else {
                (nanoseconds(SystemTime::now()), fact("closed")?)
            };
            let age = now.saturating_sub(closed.unwrap_or(now));
            Ok(Duration::from_nanos(u64::try_from(age).unwrap_or(0)))
        };
        match age() {
            Ok(age) => age > self.store.limits.age,
            Err(error) => {
                if segment::is_damage(&error) {
                    self.store.drop_damaged(segment, &error);
                }
                false
            }
        }
    }
}
