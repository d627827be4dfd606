//! What has happened, for whoever asks: the last moments in memory, and the last hours on disk.
//!
//! Events and alerts each make up a sequence of numbers. [`recent`] has its end, in memory, where it grows; a thread of
//! its own ([`writer`]) reads it there like everybody else, and writes it to disk in batches. Who asks for what memory no
//! longer has is given it from there ([`past`]), with what is missing ([`gap`]).
//!
//! On disk history is a row of [`segment`]s, SQLite files whose form is `schema.sql`: [`insert`] writes them, [`read`]
//! reads them, [`detail`] knows the form that an event's particulars have there.

pub mod detail;
pub mod export;
pub mod figures;
pub mod gap;
pub mod insert;
pub mod numbers;
pub mod past;
pub mod query;
pub mod read;
pub mod recent;
pub mod segment;
#[cfg(test)]
mod tests;
pub mod writer;

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};
use tokio::sync::{Notify, watch};

use figures::Figures;
use numbers::Numbers;
use segment::Segment;

/// How much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all segments together.
    pub bytes: u64,
    /// How old the newest event of a segment may be.
    pub age: Duration,
}

/// Into how many segments history is divided, by size and by age.
pub const DIVISIONS: u64 = 8;
/// Most segments: each start of the node begins one, and SQL looks at all of them at once.
pub const MAX_SEGMENTS: usize = 48;
/// The least size of history: below it segments are too small to be worth their overhead.
pub const MIN_BYTES: u64 = 16 << 20;

/// How far history has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Events up to this are on disk, or known to be missing there.
    pub events: u64,
    /// Alerts likewise.
    pub alerts: u64,
    /// Nothing is written at the moment: there is no use in waiting.
    pub stuck: bool,
}

/// History on disk, as readers share it.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    limits: Limits,
    /// Names the store in cursors.
    name: String,
    parts: RwLock<Vec<Segment>>,
    settled: watch::Sender<Settled>,
    hurry: Notify,
    /// Why nothing is written.
    trouble: RwLock<Option<String>>,
    figures: Figures,
    /// Holds the lock; there is no lock file that could be left behind.
    _lock: File,
}

/// A store that was opened, and what its writer needs.
#[derive(Debug)]
pub struct Opened {
    /// For readers.
    pub store: Store,
    /// Which numbers are taken.
    pub numbers: Numbers,
    /// Events of this run have higher numbers than this.
    pub last_event: u64,
    /// Alerts likewise.
    pub last_alert: u64,
}

impl Store {
    /// Opens the history of a directory, which is made if missing.
    ///
    /// # Errors
    /// When the directory can't be used, or another agent uses it. A damaged segment is no error: it is set aside.
    pub fn open(directory: &Path, limits: Limits) -> anyhow::Result<Opened> {
        let doing = || {
            format!(
                "keeping history in {}: name another directory with --history-dir, or use --history-size 0",
                directory.display()
            )
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(doing)?;
        let lock = File::open(directory).with_context(doing)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => bail!(
                "keeping history in {}: another agent does so; use another --history-dir",
                directory.display()
            ),
            Err(error) => return Err(io::Error::from(error)).with_context(doing),
        }
        let (numbers, last_event, last_alert) = Numbers::open(directory).with_context(doing)?;
        // What an agent that was killed had not sent.
        export::remove_left_over(directory);
        let parts = Segment::list(directory).with_context(doing)?;
        for part in &parts {
            if let Err(error) = part.renew() {
                // Whoever reads or writes it finds out whether that is for good.
                tracing::warn!("history of an earlier version: {error:#}");
            }
        }
        // Where the file with the numbers was lost, those of the segments are not given again.
        let beyond = |first: u64, taken: u64| if first > taken { first + LOST } else { taken };
        let (last_event, last_alert) = match parts.last() {
            Some(part) => (
                beyond(part.first_event, last_event),
                beyond(part.first_alert, last_alert),
            ),
            None => (last_event, last_alert),
        };
        let store = Self {
            directory: directory.to_path_buf(),
            limits,
            name: numbers.store().to_owned(),
            parts: RwLock::new(parts),
            // Nothing is, until the writer has seen what there is.
            settled: watch::Sender::new(Settled::default()),
            hurry: Notify::new(),
            trouble: RwLock::default(),
            figures: Figures::default(),
            _lock: lock,
        };
        store.measure();
        Ok(Opened {
            store,
            numbers,
            last_event,
            last_alert,
        })
    }

    /// Names the store in cursors.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// How much is kept.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Numbers about it.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The segments, the oldest first.
    #[must_use]
    pub fn parts(&self) -> Vec<Segment> {
        self.parts
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Why nothing is written, where that is so.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How far history has come.
    #[must_use]
    pub fn settled(&self) -> watch::Receiver<Settled> {
        self.settled.subscribe()
    }

    /// What is to be told of an answer, where not all up to these numbers is in it.
    #[must_use]
    pub fn lacks(&self, event: u64, alert: u64) -> Option<String> {
        let settled = *self.settled.borrow();
        (settled.events < event || settled.alerts < alert).then(|| {
            self.trouble().unwrap_or_else(|| {
                "what happened in the last moments is not written yet".to_owned()
            })
        })
    }

    /// Waits until history has come as far as `wanted` says, for at most `patience`.
    pub async fn wait(&self, patience: Duration, wanted: impl FnMut(&Settled) -> bool) {
        let mut settled = self.settled.subscribe();
        let mut wanted = wanted;
        // Who has waited long enough takes what there is.
        let _ = tokio::time::timeout(
            patience,
            settled.wait_for(|settled| settled.stuck || wanted(settled)),
        )
        .await;
    }

    /// Has everything up to these numbers written now, and waits for it.
    pub async fn flush(&self, event: u64, alert: u64) {
        /// A full batch takes tens of milliseconds.
        const PATIENCE: Duration = Duration::from_secs(10);
        self.hurry.notify_one();
        self.wait(PATIENCE, |settled| {
            settled.events >= event && settled.alerts >= alert
        })
        .await;
    }

    /// Takes a damaged segment out of history.
    pub fn drop_damaged(&self, segment: &Segment, error: &anyhow::Error) {
        let mut parts = self.parts.write().unwrap_or_else(PoisonError::into_inner);
        let before = parts.len();
        parts.retain(|part| part != segment);
        if parts.len() < before {
            set_aside(segment, error);
        }
    }

    fn change_parts(&self, change: impl FnOnce(&mut Vec<Segment>)) {
        change(&mut self.parts.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.write().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Bytes of all segments.
    fn measure(&self) -> u64 {
        let bytes = self.parts().iter().map(|part| part.bytes()).sum();
        self.figures.bytes.store(bytes, Ordering::Relaxed);
        bytes
    }
}

/// More numbers than a segment has.
const LOST: u64 = 1 << 40;

fn set_aside(segment: &Segment, error: &anyhow::Error) {
    match segment.set_aside() {
        Ok(aside) => tracing::error!(
            "a part of history can't be read and is set aside as {}: {error:#}",
            aside.display()
        ),
        Err(failed) => tracing::error!(
            "a part of history, {}, can't be read ({error:#}) and can't be set aside: {failed}",
            segment.path.display()
        ),
    }
    let Some(directory) = segment.path.parent() else {
        return;
    };
    // They are kept for whoever wants to look into them, but not without end.
    let mut aside = segment::set_aside_files(directory).unwrap_or_default();
    while aside.len() > MAX_ASIDE {
        let oldest = aside.remove(0);
        let _ = fs::remove_file(oldest.with_extension("damaged-wal"));
        let _ = fs::remove_file(oldest);
    }
}

/// Most damaged segments that are kept.
const MAX_ASIDE: usize = 2;

/// Nanoseconds since the epoch; negative before it.
#[must_use]
pub fn nanoseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |before| -before)
        }
    }
}
