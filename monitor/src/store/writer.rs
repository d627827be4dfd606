//! Writes history: follows the sequences in memory as any reader does, and commits them in batches.
//!
//! It runs on a thread of its own, and holds up nobody: what memory lets go of before it was written is missing from
//! history, and history says so. Where writing fails (a full disk) it tries again from where it was, until it can go on.

mod absence;
mod ceilings;
mod counts;

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;
use lru::LruCache;
use rusqlite::Connection;
use tokio::{runtime::Handle, sync::watch};

use super::{
    DIVISIONS, Settled, Store,
    gap::{Gap, Missing},
    insert::Inserter,
    nanoseconds,
    numbers::Numbers,
    recent::{Batch, Item, Recent},
    segment::{self, Segment},
};
use crate::{
    detect::alert::Alert,
    event::Event,
    heartbeat::{Heartbeats, Stage},
    process::clock,
};

/// How long events are gathered for a batch.
const GATHER: Duration = Duration::from_millis(200);
/// How often ceilings are looked at, and counts of alerts written.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// How long after a failure it tries again.
const RETRY: Duration = Duration::from_secs(5);
/// Most elements of a batch.
const BATCH: usize = 4_096;
/// Alerts whose counts are watched.
const WATCHED_ALERTS: std::num::NonZeroUsize =
    std::num::NonZeroUsize::new(1_024).expect("not zero");

/// What a writer is made of.
pub struct Parts {
    /// The store.
    pub store: Arc<Store>,
    /// Which numbers are taken.
    pub numbers: Numbers,
    /// The events.
    pub events: Arc<Recent<Event>>,
    /// The alerts.
    pub alerts: Arc<Recent<Alert>>,
    /// Name of this node.
    pub node: String,
    /// Id of this boot.
    pub boot_id: String,
    /// Since when events come: when the sensors were attached.
    pub attached: SystemTime,
    /// Alerts of earlier runs that may be found again, with the segments that have them.
    pub restored: Vec<(u64, Arc<Alert>, Segment)>,
    /// How far heartbeats came.
    pub heartbeats: Arc<Heartbeats>,
}

/// A running writer.
#[derive(Debug)]
pub struct Running {
    stop: watch::Sender<Option<SystemTime>>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Writes what is left, and ends. Since `detached` not everything was seen any more.
    pub fn stop(self, detached: SystemTime) {
        self.stop.send_replace(Some(detached));
        if self.thread.join().is_err() {
            tracing::error!("the thread that writes history panicked");
        }
    }
}

/// Starts the thread.
///
/// # Errors
/// When it can't be created.
pub fn start(parts: Parts, runtime: Handle) -> io::Result<Running> {
    let (stop, stopped) = watch::channel(None);
    // Here and not on the thread: whatever comes from now on is written.
    let writer = Writer::new(parts);
    let thread = std::thread::Builder::new()
        .name("history".to_owned())
        .spawn(move || writer.run(&runtime, stopped))?;
    Ok(Running { stop, thread })
}

/// See the module.
struct Writer {
    store: Arc<Store>,
    numbers: Numbers,
    events: Arc<Recent<Event>>,
    alerts: Arc<Recent<Alert>>,
    node: String,
    boot_id: String,
    attached: SystemTime,
    heartbeats: Arc<Heartbeats>,
    /// Where the next batch begins.
    events_after: u64,
    alerts_after: u64,
    current: Option<Current>,
    /// After a failure: when to try again.
    retry: Option<Instant>,
    /// Why events were missed, where that is known.
    reason: Option<String>,
    /// Alerts by number, with the count that is written and the segment that has them.
    watched: LruCache<u64, WatchedAlert>,
    last_housekeeping: Instant,
    /// Nothing of this run was written yet.
    is_new: bool,
    /// The segment whose first event is known to be the oldest.
    oldest: Option<Segment>,
}

struct WatchedAlert {
    alert: Arc<Alert>,
    count: u32,
    segment: Segment,
}

/// Says that nothing is written any more, where the thread ends otherwise than it should.
struct Guard {
    store: Arc<Store>,
    ended: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.ended {
            let trouble =
                "history is not written any more: its thread has ended; restart the agent";
            self.store.set_trouble(Some(trouble.to_owned()));
        }
        self.store
            .settled
            .send_modify(|settled| settled.stuck = true);
    }
}

/// The segment that is being written.
struct Current {
    segment: Segment,
    connection: Connection,
    inserter: Inserter,
    /// Nanoseconds since boot when it was begun.
    begun_ns: u64,
}

impl Writer {
    fn new(parts: Parts) -> Self {
        let mut watched = LruCache::new(WATCHED_ALERTS);
        for (number, alert, segment) in parts.restored {
            let count = alert.tally().count;
            let found = WatchedAlert {
                alert,
                count,
                segment,
            };
            watched.put(number, found);
        }
        Self {
            events_after: parts.events.last(),
            alerts_after: parts.alerts.last(),
            store: parts.store,
            numbers: parts.numbers,
            events: parts.events,
            alerts: parts.alerts,
            node: parts.node,
            boot_id: parts.boot_id,
            attached: parts.attached,
            heartbeats: parts.heartbeats,
            current: None,
            retry: None,
            reason: None,
            watched,
            last_housekeeping: Instant::now(),
            is_new: true,
            oldest: None,
        }
    }

    fn run(mut self, runtime: &Handle, mut stop: watch::Receiver<Option<SystemTime>>) {
        let mut new_events = self.events.subscribe();
        let mut new_alerts = self.alerts.subscribe();
        let mut guard = Guard {
            store: Arc::clone(&self.store),
            ended: false,
        };
        // The segment is opened at once, so that whoever looks knows whether history is kept. Of this run there is nothing
        // yet; what was before can be read whether it can be opened or not.
        self.attempt(Self::open);
        self.store.settled.send_modify(|settled| {
            (settled.events, settled.alerts) = (self.events_after, self.alerts_after);
        });
        loop {
            let stopping = *stop.borrow();
            if self.retry.is_none_or(|retry| retry <= Instant::now()) || stopping.is_some() {
                while self.attempt(Self::pass) == Some(true) {}
            }
            if self.last_housekeeping.elapsed() >= HOUSEKEEPING && self.retry.is_none() {
                self.last_housekeeping = Instant::now();
                self.attempt(Self::keep_house);
            }
            if let Some(detached) = stopping {
                self.attempt(|writer| writer.close(detached));
                guard.ended = true;
                return;
            }
            let store = Arc::clone(&self.store);
            let waits = self.retry.map_or(HOUSEKEEPING, |retry| {
                retry.saturating_duration_since(Instant::now())
            });
            let stuck = self.retry.is_some();
            runtime.block_on(async {
                tokio::select! {
                    _ = stop.changed() => {}
                    () = tokio::time::sleep(waits) => {}
                    () = store.hurry.notified(), if !stuck => {}
                    // An alert is not streamed before it is written.
                    _ = new_alerts.changed(), if !stuck => {}
                    () = async {
                        let _ = new_events.changed().await;
                        tokio::time::sleep(GATHER).await;
                    }, if !stuck => {}
                }
            });
            // What came meanwhile is in the next batch.
            new_events.mark_unchanged();
            new_alerts.mark_unchanged();
            if self.events.last() > self.events_after {
                new_events.mark_changed();
            }
            if self.alerts.last() > self.alerts_after {
                new_alerts.mark_changed();
            }
        }
    }

    /// Does something that may fail, which is told once, and tried again after a while.
    fn attempt<T>(&mut self, action: impl FnOnce(&mut Self) -> anyhow::Result<T>) -> Option<T> {
        match action(self) {
            Ok(value) => {
                if self.retry.take().is_some() {
                    tracing::info!("history is written again");
                    self.store.set_trouble(None);
                    self.store
                        .settled
                        .send_modify(|settled| settled.stuck = false);
                }
                Some(value)
            }
            Err(error) => {
                self.fail(&error);
                None
            }
        }
    }

    fn fail(&mut self, error: &anyhow::Error) {
        let directory = self.store.directory.display();
        let trouble = format!(
            "history is not written to {directory}: {error:#}; what is there stays readable, and it is tried again every {} s",
            RETRY.as_secs()
        );
        // What the transaction had is undone, and with it the rows that are remembered.
        if let Some(current) = self.current.take()
            && segment::is_damage(error)
        {
            self.store.drop_damaged(&current.segment, error);
        }
        if self.store.trouble().as_ref() != Some(&trouble) {
            tracing::error!("{trouble}");
        }
        self.store
            .figures()
            .failures
            .fetch_add(1, Ordering::Relaxed);
        self.reason = Some(format!("{error:#}"));
        self.store.set_trouble(Some(trouble));
        self.store
            .settled
            .send_modify(|settled| settled.stuck = true);
        self.retry = Some(Instant::now() + RETRY);
    }

    /// Opens the segment to write: the last one where it is whole and of this boot, else a new one.
    fn open(&mut self) -> anyhow::Result<()> {
        if let Some(current) = &self.current {
            let newest = self.store.parts().pop();
            if newest.is_some_and(|part| part == current.segment) {
                return Ok(());
            }
            // Whoever read it found it damaged, and it was set aside.
            self.current = None;
            return self.begin(1);
        }
        let absence = if self.is_new { self.absence() } else { None };
        let last = self.store.parts().pop();
        if let Some(part) = &last {
            let opened = if self.is_new {
                part.append_checked()
            } else {
                part.append()
            };
            match opened {
                Ok(connection) => {
                    let same_boot = segment::fact(&connection, "boot_id")?.as_deref()
                        == Some(self.boot_id.as_str());
                    if same_boot {
                        let begun_ns = segment::fact(&connection, "begun_boot_ns")?
                            .and_then(|text| text.parse().ok())
                            .unwrap_or(0);
                        connection
                            .execute("DELETE FROM meta WHERE name IN ('stopped', 'closed')", ())?;
                        self.tell_of(absence.as_ref(), &connection)?;
                        self.current = Some(Current {
                            segment: part.clone(),
                            connection,
                            inserter: Inserter::new(begun_ns),
                            begun_ns,
                        });
                        return Ok(());
                    }
                    finish(&connection)?;
                }
                Err(error) if segment::is_damage(&error) => {
                    self.store.drop_damaged(part, &error);
                }
                // A full or missing disk is no reason to give a segment up.
                Err(error) => return Err(error),
            }
        }
        // The absence has the number after which this run begins, which no event has.
        self.begin(u64::from(absence.is_none()))?;
        if let Some(current) = self.current.take() {
            self.tell_of(absence.as_ref(), &current.connection)?;
            self.current = Some(current);
        }
        Ok(())
    }

    /// Begins a segment, whose first numbers are by `further` above those that are settled.
    fn begin(&mut self, further: u64) -> anyhow::Result<()> {
        let segment = Segment::new(
            &self.store.directory,
            Segment::next_sequence(&self.store.directory)?,
            self.events_after + further,
            self.alerts_after + further,
        );
        let begun_ns = clock::since_boot();
        let boot = self.boot_id.get(..8).unwrap_or(&self.boot_id);
        let connection = segment.create(&[
            ("store", self.store.name()),
            ("node", &self.node),
            ("agent", env!("CARGO_PKG_VERSION")),
            ("boot_id", &self.boot_id),
            ("boot", boot),
            ("begun_boot_ns", &begun_ns.to_string()),
        ])?;
        self.store.change_parts(|parts| parts.push(segment.clone()));
        self.current = Some(Current {
            segment,
            connection,
            inserter: Inserter::new(begun_ns),
            begun_ns,
        });
        Ok(())
    }

    /// Writes a batch. `true` where there may be more.
    fn pass(&mut self) -> anyhow::Result<bool> {
        let events = self.events.after(Some(self.events_after), BATCH);
        let alerts = self.alerts.after(Some(self.alerts_after), BATCH);
        // Numbers are given whether they are written or not.
        self.numbers
            .keep_ahead(self.events.last(), self.alerts.last())
            .context("taking numbers")?;
        if self.retry.is_none() && events.items.is_empty() && alerts.items.is_empty() {
            return Ok(false);
        }
        self.open()?;
        let began = Instant::now();
        let last_event = last(&events, self.events_after);
        let last_alert = last(&alerts, self.alerts_after);
        let Some(current) = &mut self.current else {
            return Ok(false);
        };
        let missed = events.missed;
        let reason = self
            .reason
            .as_deref()
            .unwrap_or("history was not written fast enough");
        let transaction = current.connection.unchecked_transaction()?;
        for (of, after, missed) in [
            (Missing::Events, self.events_after, missed),
            (Missing::Alerts, self.alerts_after, alerts.missed),
        ] {
            if missed > 0 {
                let gap = Gap {
                    last: after + missed,
                    count: missed,
                    ..Gap::at(after + 1, reason)
                };
                gap.write(&transaction, of)?;
            }
        }
        let mut written = 0;
        let mut heartbeat = None;
        for (number, item) in &events.items {
            match item {
                Item::Value(event) => {
                    current.inserter.event(&transaction, *number, event)?;
                    written += 1;
                    heartbeat = event.detail.heartbeat().or(heartbeat);
                }
                Item::Amended(container) => current.inserter.amend(&transaction, container)?,
            }
        }
        let mut counts = Vec::new();
        for (number, item) in &alerts.items {
            if let Item::Value(alert) = item {
                let count = current.inserter.alert(&transaction, *number, alert)?;
                counts.push((*number, Arc::clone(alert), count));
            }
        }
        current.inserter.settle(&transaction)?;
        transaction.commit()?;

        if let Some(number) = heartbeat {
            self.heartbeats.reached(Stage::Store, number);
        }
        for (number, alert, count) in counts {
            let watched = WatchedAlert {
                alert,
                count,
                segment: current.segment.clone(),
            };
            self.watched.put(number, watched);
        }
        (self.events_after, self.alerts_after) = (last_event, last_alert);
        self.reason = None;
        if missed > 0 || alerts.missed > 0 {
            tracing::warn!(
                "history: {missed} events and {} alerts could not be written in time and are missing",
                alerts.missed
            );
        }
        let figures = self.store.figures();
        let took = began.elapsed();
        let busy = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        figures.events.fetch_add(written, Ordering::Relaxed);
        figures.missed.fetch_add(missed, Ordering::Relaxed);
        figures
            .alerts_missed
            .fetch_add(alerts.missed, Ordering::Relaxed);
        figures.commits.add(took);
        figures.last_commit.set(Some(SystemTime::now()));
        figures.busy_ns.fetch_add(busy, Ordering::Relaxed);
        self.store.settled.send_replace(Settled {
            events: last_event,
            alerts: last_alert,
            stuck: false,
        });
        self.rotate_if_due()?;
        Ok(events.items.len() >= BATCH)
    }

    /// Ends the segment and begins another where it has its share of bytes or of time.
    fn rotate_if_due(&mut self) -> anyhow::Result<()> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        let limits = self.store.limits;
        let bytes: i64 = current
            .connection
            .prepare_cached(
                "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
            )?
            .query_row((), |row| row.get(0))?;
        let age = Duration::from_nanos(clock::since_boot().saturating_sub(current.begun_ns));
        let share = u32::try_from(DIVISIONS).unwrap_or(1);
        let empty = self.events_after < self.first_of_current();
        if bytes.cast_unsigned() < limits.bytes / DIVISIONS && (age < limits.age / share || empty) {
            return Ok(());
        }
        finish(&current.connection)?;
        self.current = None;
        self.begin(1)?;
        self.enforce();
        Ok(())
    }

    fn first_of_current(&self) -> u64 {
        self.store.parts().last().map_or(0, |part| part.first_event)
    }

    fn keep_house(&mut self) -> anyhow::Result<()> {
        if self.current.is_some() {
            self.open()?;
        }
        self.rotate_if_due()?;
        self.enforce();
        self.find_oldest();
        self.recount()
    }

    /// Ends in order.
    fn close(&mut self, detached: SystemTime) -> anyhow::Result<()> {
        self.recount()?;
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        note(&current.connection, "stopped", nanoseconds(detached))?;
        finish(&current.connection)
    }
}

/// Number of the last of a batch.
fn last<T>(batch: &Batch<T>, before: u64) -> u64 {
    batch.items.last().map_or(before, |(number, _)| *number)
}

/// Notes when a segment was ended, and brings all of it into its one file.
fn finish(connection: &Connection) -> anyhow::Result<()> {
    note(connection, "closed", nanoseconds(SystemTime::now()))?;
    note(
        connection,
        "closed_boot_ns",
        clock::since_boot().cast_signed(),
    )?;
    // Readers may keep it from being cut to nothing; it is taken over all the same.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?;
    Ok(())
}

fn note(connection: &Connection, name: &str, value: i64) -> anyhow::Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO meta VALUES (?1, ?2)",
        (name, value.to_string()),
    )?;
    Ok(())
}
