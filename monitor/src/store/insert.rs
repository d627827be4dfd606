//! Writing into a segment: events and alerts become rows, and what they refer to is written once.
//!
//! What was written is remembered, within a ceiling. What is no longer remembered is written once more where that does
//! no harm, and looked up where it would show (processes, executions, containers).

mod places;
mod processes;

pub use processes::origin;
use processes::{Lineage, Own};

use std::{hash::RandomState, num::NonZeroUsize, sync::Arc};

use lru::LruCache;
use rusqlite::{Connection, params};

use super::{
    detail::{self, signed},
    nanoseconds,
};
use crate::{
    detect::alert::Alert,
    event::{Detail, Event},
    process::execution::ProcessKey,
    proto::v1,
};

/// How many rows of each kind are remembered.
const fn remembered(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("not zero")
}

/// Names an execution within a boot.
type ExecutionKey = (ProcessKey, u64);

/// A kind and the bytes of a detail, which name its row.
type DetailKey = (i32, Box<[u8]>);

/// A row of `detail` that is remembered.
struct DetailRow {
    id: i64,
    /// Times it was seen that the row does not tell yet, and the last of them.
    more: i64,
    last: i64,
}

/// What was written into the segment by now.
pub struct Inserter {
    begun_ns: u64,
    /// Names of programs are made with these, so that nobody can make two programs with one name.
    seeds: [RandomState; 2],
    programs: LruCache<u128, i64>,
    processes: LruCache<ProcessKey, i64>,
    executions: LruCache<ExecutionKey, i64>,
    lineages: LruCache<Lineage, i64>,
    /// By slot.
    containers: LruCache<u32, i64>,
    /// By slot of the container, or 0, and cgroup path.
    places: LruCache<(u32, Arc<str>), i64>,
    details: LruCache<DetailKey, DetailRow>,
    /// Rows of `detail` whose counts are to be written.
    counted: Vec<DetailKey>,
    /// The chunk that is being filled.
    chunk: Option<Chunk>,
}

/// A row of `chunk`.
#[derive(Clone, Copy)]
struct Chunk {
    first: u64,
    last: u64,
    earliest: i64,
    latest: i64,
    events: u32,
}

/// The row that stands for no container, and for no pod.
const NONE: i64 = 0;

/// Events of a chunk.
const CHUNK: u32 = 1_024;

impl Inserter {
    /// Nothing was written yet. The segment was begun at this time, in nanoseconds since boot.
    #[must_use]
    pub fn new(begun_ns: u64) -> Self {
        Self {
            begun_ns,
            seeds: [RandomState::new(), RandomState::new()],
            programs: LruCache::new(remembered(4_096)),
            processes: LruCache::new(remembered(8_192)),
            executions: LruCache::new(remembered(8_192)),
            lineages: LruCache::new(remembered(8_192)),
            containers: LruCache::new(remembered(2_048)),
            places: LruCache::new(remembered(2_048)),
            details: LruCache::new(remembered(8_192)),
            counted: Vec::new(),
            chunk: None,
        }
    }

    /// Writes an event.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn event(
        &mut self,
        connection: &Connection,
        number: u64,
        event: &Event,
    ) -> anyhow::Result<()> {
        let time = nanoseconds(event.time);
        let kind = i32::from(event.detail.kind());
        let place = self.place(connection, &event.place)?;
        let lineage = match &event.process {
            Some(process) => Some(self.lineage(
                connection,
                process,
                &event.ancestors,
                Own {
                    container: event.container(),
                    origin: event.origin,
                    injected_by: event.injected_by.as_ref(),
                },
            )?),
            None => None,
        };
        let parts = detail::parts(event);
        let detail = match &parts.fixed {
            Some(fixed) => Some(self.detail(connection, kind, fixed, time)?),
            None => None,
        };
        connection
            .prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![
                signed(number),
                time,
                kind,
                lineage,
                place,
                detail,
                detail::numbers_to_text(&parts.numbers)
            ])?;
        self.target(connection, number, event)?;
        if let (Detail::Exit { status }, Some(process)) = (&event.detail, &event.process) {
            let id = self.process(connection, process)?;
            connection
                .prepare_cached("UPDATE process SET ended = ?2, status = ?3 WHERE id = ?1")?
                .execute(params![id, time, status])?;
        }
        self.extend_chunk(connection, number, time)
    }

    fn target(
        &mut self,
        connection: &Connection,
        number: u64,
        event: &Event,
    ) -> anyhow::Result<()> {
        let (key, process, place) = match (&event.target, &event.detail) {
            (Some(target), _) => (target.key, &target.process, Some(&target.place)),
            (None, Detail::CgroupAttach { moved, process, .. }) => (*moved, process, None),
            (None, _) => return Ok(()),
        };
        let execution = match process {
            Some(process) => Some(self.execution(connection, process, None)?),
            None => None,
        };
        let place = match place {
            Some(place) => Some(self.place(connection, place)?),
            None => None,
        };
        connection
            .prepare_cached("INSERT INTO target VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                signed(number),
                key.pid,
                signed(key.start_ticks),
                execution,
                place
            ])?;
        Ok(())
    }

    /// Writes an alert. Returns how often it was found, as it is written.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn alert(
        &mut self,
        connection: &Connection,
        number: u64,
        alert: &Alert,
    ) -> anyhow::Result<u32> {
        let event = &alert.event;
        let lineage = self.lineage(
            connection,
            &alert.process,
            &alert.ancestors,
            Own {
                container: event.container(),
                origin: event.origin,
                injected_by: event.injected_by.as_ref(),
            },
        )?;
        let place = self.place(connection, &event.place)?;
        let injected_by = match &alert.injected_by {
            Some(process) => Some(self.execution(connection, process, None)?),
            None => None,
        };
        let rule = &alert.rule;
        let tally = alert.tally();
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO alert VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16,
                 ?17, ?18, ?19, ?20)",
            )?
            .execute(params![
                signed(number),
                alert.id,
                tally.evidence.first().copied().map_or(0, signed),
                nanoseconds(event.time),
                nanoseconds(tally.last_seen),
                tally.count,
                rule.id,
                rule.title,
                alert.severity as i64 + 1,
                alert.attempt,
                rule.policy,
                &*rule.set,
                serde_json::to_string(&rule.attack)?,
                alert.message,
                serde_json::to_string(&alert.facts)?,
                serde_json::to_string(&alert.claimed)?,
                serde_json::to_string(&tally.evidence)?,
                lineage,
                place,
                injected_by,
            ])?;
        Ok(tally.count)
    }

    /// Writes how often an alert was found by now. `false` where it is not in this segment.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn recount(connection: &Connection, alert: &Alert) -> anyhow::Result<bool> {
        let tally = alert.tally();
        let changed = connection
            .prepare_cached("UPDATE alert SET last = ?2, count = ?3, evidence = ?4 WHERE id = ?1")?
            .execute(params![
                alert.id,
                nanoseconds(tally.last_seen),
                tally.count,
                serde_json::to_string(&tally.evidence)?,
            ])?;
        Ok(changed > 0)
    }

    /// Writes what is to be written once for many events. To be called before each commit.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn settle(&mut self, connection: &Connection) -> anyhow::Result<()> {
        for key in std::mem::take(&mut self.counted) {
            if let Some(row) = self.details.peek_mut(&key) {
                write_count(connection, row)?;
                row.more = 0;
            }
        }
        if let Some(chunk) = &self.chunk {
            chunk.write(connection)?;
        }
        Ok(())
    }

    fn extend_chunk(
        &mut self,
        connection: &Connection,
        number: u64,
        time: i64,
    ) -> anyhow::Result<()> {
        let chunk = self.chunk.get_or_insert(Chunk {
            first: number,
            last: number,
            earliest: time,
            latest: time,
            events: 0,
        });
        chunk.last = number;
        chunk.earliest = chunk.earliest.min(time);
        chunk.latest = chunk.latest.max(time);
        chunk.events += 1;
        if chunk.events >= CHUNK {
            chunk.write(connection)?;
            self.chunk = None;
        }
        Ok(())
    }

    fn detail(
        &mut self,
        connection: &Connection,
        kind: i32,
        fixed: &v1::event::Detail,
        time: i64,
    ) -> anyhow::Result<i64> {
        let mut bytes = Vec::with_capacity(fixed.encoded_len());
        fixed.encode(&mut bytes);
        let key = (kind, bytes.into_boxed_slice());
        if let Some(row) = self.details.get_mut(&key) {
            if row.more == 0 {
                self.counted.push(key);
            }
            row.more += 1;
            row.last = row.last.max(time);
            return Ok(row.id);
        }
        connection
            .prepare_cached(
                "INSERT INTO detail (kind, detail, count, first, last) VALUES (?1, ?2, 1, ?3, ?3)",
            )?
            .execute(params![kind, detail::to_json(fixed)?, time])?;
        let id = connection.last_insert_rowid();
        let row = DetailRow {
            id,
            more: 0,
            last: time,
        };
        // The one that makes room may have been counted on.
        if let Some((_, old)) = self.details.push(key, row)
            && old.more > 0
        {
            write_count(connection, &old)?;
        }
        Ok(id)
    }
}

impl Chunk {
    fn write(&self, connection: &Connection) -> anyhow::Result<()> {
        connection
            .prepare_cached("INSERT OR REPLACE INTO chunk VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![
                signed(self.first),
                signed(self.last),
                self.earliest,
                self.latest
            ])?;
        Ok(())
    }
}

fn write_count(connection: &Connection, row: &DetailRow) -> anyhow::Result<()> {
    connection
        .prepare_cached("UPDATE detail SET count = count + ?2, last = max(last, ?3) WHERE id = ?1")?
        .execute(params![row.id, row.more, row.last])?;
    Ok(())
}
