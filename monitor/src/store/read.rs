//! Reading a segment: rows become the events and alerts that they were made of.

mod alerts;
mod places;
mod processes;

pub use processes::Line;

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow};
use lru::LruCache;
use rusqlite::{Connection, Row};

use super::{
    detail::{self, Moved, Parts, signed, unsigned},
    segment::{self, Segment},
};
use crate::{
    container::{model::Container, registry::Place},
    event::{Event, Target},
    process::execution::{Execution, Process, ProcessKey},
    proto::v1::{EventKind, event::Detail as Message},
};

/// Rows of each kind that are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");

/// Numbers with what they number.
pub type Numbered<T> = Vec<(u64, Arc<T>)>;

/// See the module.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    /// Id of the boot that all of it is of.
    pub boot_id: Arc<str>,
    lines: LruCache<i64, Arc<Line>>,
    executions: LruCache<i64, Arc<Process>>,
    programs: LruCache<i64, Arc<Execution>>,
    containers: HashMap<i64, Arc<Container>>,
    places: LruCache<i64, Place>,
    details: LruCache<i64, Message>,
    refreshed: Instant,
}

/// Which events to read.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Numbers above this.
    pub after: u64,
    /// Numbers up to this.
    pub until: u64,
    /// Only these places; all when `None`.
    pub places: Option<Vec<i64>>,
    /// Only these kinds; all when empty.
    pub kinds: Vec<i32>,
    /// At most so many.
    pub count: usize,
    /// The last ones, the last first.
    pub backwards: bool,
}

impl Selection {
    /// Numbers and count as SQLite takes them.
    fn bounds(&self) -> [i64; 3] {
        [
            signed(self.after),
            signed(self.until.min(i64::MAX.cast_unsigned())),
            i64::try_from(self.count).unwrap_or(i64::MAX),
        ]
    }
}

impl Reader {
    /// Opens a segment.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn open(segment: &Segment) -> anyhow::Result<Self> {
        let connection = segment.read()?;
        let boot_id = segment::fact(&connection, "boot_id")?.unwrap_or_default();
        Ok(Self {
            connection,
            boot_id: boot_id.into(),
            lines: LruCache::new(REMEMBERED),
            executions: LruCache::new(REMEMBERED),
            programs: LruCache::new(REMEMBERED),
            containers: HashMap::new(),
            places: LruCache::new(REMEMBERED),
            details: LruCache::new(REMEMBERED),
            refreshed: Instant::now(),
        })
    }

    /// The database.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Number of the first and of the last event; `None` where there are none.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn range(&self) -> anyhow::Result<Option<(u64, u64)>> {
        let range = self
            .connection
            .prepare_cached("SELECT min(number), max(number) FROM event")?
            .query_row((), |row| {
                Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
            })?;
        Ok(match range {
            (Some(first), Some(last)) => Some((unsigned(first), unsigned(last))),
            _ => None,
        })
    }

    /// Events in the order of their numbers, or backwards.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn events(&mut self, selection: &Selection) -> anyhow::Result<Numbered<Event>> {
        let mut sql = "SELECT e.number, e.time, e.kind, e.lineage, e.place, e.detail, e.numbers,
                           t.pid, t.start_ticks, t.execution, t.place
                       FROM event e LEFT JOIN target t ON t.number = e.number WHERE e.number > ?1 AND e.number <= ?2"
            .to_owned();
        if let Some(places) = &selection.places {
            sql.push_str(" AND e.place IN (");
            list(&mut sql, places);
            sql.push(')');
        }
        if !selection.kinds.is_empty() {
            // Not by an index: there is none, and the one of places must not be given up for it.
            sql.push_str(" AND +e.kind IN (");
            list(&mut sql, &selection.kinds);
            sql.push(')');
        }
        sql.push_str(if selection.backwards {
            " ORDER BY e.number DESC LIMIT ?3"
        } else {
            " ORDER BY e.number LIMIT ?3"
        });
        let rows: Vec<EventRow> = self
            .connection
            .prepare_cached(&sql)?
            .query_map(selection.bounds(), EventRow::read)?
            .collect::<Result<_, _>>()?;
        rows.into_iter()
            .map(|row| Ok((row.number, Arc::new(self.event(&row)?))))
            .collect()
    }

    fn event(&mut self, row: &EventRow) -> anyhow::Result<Event> {
        let kind = EventKind::try_from(row.kind)
            .map_err(|_| anyhow!("event {} is of no known kind", row.number))?;
        let time = moment(row.time);
        let fixed = match row.detail {
            Some(detail) => Some(self.detail(detail)?),
            None => None,
        };
        let parts = Parts {
            fixed,
            numbers: match &row.numbers {
                Some(text) => detail::numbers_from_text(text)?,
                None => Vec::new(),
            },
        };
        let target = match &row.target {
            Some(target) => Some(self.target(target)?),
            None => None,
        };
        let moved = target.as_ref().map(|target| Moved {
            key: target.key,
            process: target.process.as_ref(),
        });
        let detail = detail::detail(kind, &parts, time, moved)?;
        let line = match row.lineage {
            Some(lineage) => Some(self.line(lineage)?),
            None => None,
        };
        let membership = line.as_ref().and_then(|line| line.membership.as_ref());
        Ok(Event {
            time,
            origin: membership.map(|membership| membership.origin),
            injected_by: membership.and_then(|membership| membership.entered_by.clone()),
            process: line.as_ref().map(|line| Arc::clone(&line.process)),
            ancestors: line
                .as_ref()
                .map_or_else(Vec::new, |line| line.ancestors.clone()),
            place: self.place(row.place)?,
            target: target.filter(|_| kind != EventKind::CgroupAttach),
            detail,
        })
    }

    fn detail(&mut self, id: i64) -> anyhow::Result<Message> {
        if let Some(detail) = self.details.get(&id) {
            return Ok(detail.clone());
        }
        let text: String = self
            .connection
            .prepare_cached("SELECT detail FROM detail WHERE id = ?1")?
            .query_row([id], |row| row.get(0))
            .with_context(|| format!("reading detail {id}"))?;
        let detail = detail::from_json(&text)?;
        self.details.put(id, detail.clone());
        Ok(detail)
    }

    fn target(&mut self, row: &TargetRow) -> anyhow::Result<Target> {
        Ok(Target {
            key: row.key,
            process: match row.execution {
                Some(execution) => Some(self.execution(execution)?),
                None => None,
            },
            place: match row.place {
                Some(place) => self.place(place)?,
                None => Place::Unknown,
            },
        })
    }
}

/// A row of `target`.
struct TargetRow {
    key: ProcessKey,
    execution: Option<i64>,
    place: Option<i64>,
}

/// A row of `event`, with that of `target` where there is one.
struct EventRow {
    number: u64,
    time: i64,
    kind: i32,
    lineage: Option<i64>,
    place: i64,
    detail: Option<i64>,
    numbers: Option<String>,
    target: Option<TargetRow>,
}

impl EventRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let target = match row.get(7)? {
            Some(pid) => Some(TargetRow {
                key: ProcessKey {
                    pid,
                    start_ticks: unsigned(row.get(8)?),
                },
                execution: row.get(9)?,
                place: row.get(10)?,
            }),
            None => None,
        };
        Ok(Self {
            target,
            number: unsigned(row.get(0)?),
            time: row.get(1)?,
            kind: row.get(2)?,
            lineage: row.get(3)?,
            place: row.get(4)?,
            detail: row.get(5)?,
            numbers: row.get(6)?,
        })
    }
}

/// A moment from nanoseconds since the epoch.
#[must_use]
pub fn moment(nanoseconds: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanoseconds.unsigned_abs());
    if nanoseconds < 0 {
        UNIX_EPOCH - distance
    } else {
        UNIX_EPOCH + distance
    }
}

fn list<T: std::fmt::Display>(sql: &mut String, numbers: &[T]) {
    use std::fmt::Write as _;
    for (index, number) in numbers.iter().enumerate() {
        // Writing to a string does not fail.
        let _ = write!(sql, "{}{number}", if index == 0 { "" } else { "," });
    }
}
