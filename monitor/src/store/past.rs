//! Reading what is on disk, from segment to segment: for streams that begin before memory does.
//!
//! Everything here blocks, and belongs on a thread that may.

use std::{fmt, sync::Arc, time::SystemTime};

use rusqlite::params;

use super::{
    Settled, Store,
    detail::{signed, unsigned},
    gap::{Gap, Missing},
    nanoseconds,
    read::{Line, Numbered, Reader, Selection},
    segment::{self, Segment},
};
use crate::{
    container::model::Container, detect::alert::Alert, event::Event, process::execution::ProcessKey,
};

/// What a sequence is made of.
pub trait Kept: Sized + Send + Sync + 'static {
    /// The least number that a segment may have.
    fn first(part: &Segment) -> u64;
    /// How far it is on disk.
    fn settled(settled: &Settled) -> u64;
    /// Reads from a segment.
    ///
    /// # Errors
    /// When that can't be read.
    fn read(reader: &mut Reader, selection: &Selection) -> anyhow::Result<Numbered<Self>>;
    /// What is missing where elements of it are.
    const MISSING: Missing;
    /// Its times are those of its numbers, but for clocks that were set: it can be found by time.
    const BY_TIME: bool;
    /// Whether it must be on disk before anybody hears of it.
    const DURABLE: bool;
}

impl Kept for Event {
    fn first(part: &Segment) -> u64 {
        part.first_event
    }
    fn settled(settled: &Settled) -> u64 {
        settled.events
    }
    fn read(reader: &mut Reader, selection: &Selection) -> anyhow::Result<Numbered<Self>> {
        reader.events(selection)
    }
    const MISSING: Missing = Missing::Events;
    const BY_TIME: bool = true;
    const DURABLE: bool = false;
}

impl Kept for Alert {
    fn first(part: &Segment) -> u64 {
        part.first_alert
    }
    fn settled(settled: &Settled) -> u64 {
        settled.alerts
    }
    fn read(reader: &mut Reader, selection: &Selection) -> anyhow::Result<Numbered<Self>> {
        reader.alerts(selection)
    }
    const MISSING: Missing = Missing::Alerts;
    const BY_TIME: bool = false;
    const DURABLE: bool = true;
}

/// Whether what happened in a container, or outside of any, is wanted.
pub type ContainerFilter = dyn Fn(Option<&Container>) -> bool + Send + Sync;

/// What of history is wanted, as far as the files can tell; the reader is to look again.
#[derive(Clone, Default)]
pub struct Narrow {
    /// Where it happened; anywhere when `None`.
    pub containers: Option<Arc<ContainerFilter>>,
    /// Kinds of events; all when empty.
    pub kinds: Vec<i32>,
}

impl fmt::Debug for Narrow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Narrow")
            .field("containers", &self.containers.is_some())
            .field("kinds", &self.kinds)
            .finish()
    }
}

/// Part of a sequence.
#[derive(Debug)]
pub struct Slice<T> {
    /// Elements with their numbers.
    pub items: Numbered<T>,
    /// What is missing between them.
    pub gaps: Vec<Gap>,
    /// Up to this number everything was looked at.
    pub scanned: u64,
    /// Id of the boot that it is of.
    pub boot_id: Option<Arc<str>>,
}

/// What is told of history that a ceiling removed.
const NO_LONGER_KEPT: &str = "history does not reach back so far any more";

/// What is told of a damaged segment.
const SET_ASIDE: &str = "a damaged part of history was set aside";

/// A reader of history.
#[derive(Debug)]
pub struct Past {
    store: Arc<Store>,
    narrow: Narrow,
    /// Segments that were read, by their number; the last one of few.
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    part: Segment,
    reader: Reader,
    /// Places that are wanted, where that is not all.
    places: Option<Vec<i64>>,
}

impl Past {
    /// A reader of what is wanted.
    #[must_use]
    pub fn new(store: Arc<Store>, narrow: Narrow) -> Self {
        Self {
            store,
            narrow,
            open: Vec::new(),
        }
    }

    /// The number to begin after, so that all that is kept follows.
    #[must_use]
    pub fn beginning<T: Kept>(&self) -> Option<u64> {
        let parts = self.store.parts();
        parts.first().map(|part| T::first(part).saturating_sub(1))
    }

    /// The number to begin after, so that all events of `since` and later follow, and the absence of an agent that was not over
    /// by then; `None` where none on disk is so late.
    #[must_use]
    pub fn before(&mut self, since: SystemTime) -> Option<u64> {
        let since = nanoseconds(since);
        self.store.parts().iter().find_map(|part| {
            self.ask(
                part,
                "SELECT min(first) FROM (SELECT first FROM chunk WHERE latest >= ?1
                 UNION ALL SELECT first FROM gap WHERE until >= ?1)",
                since,
            )
            .map(|first| first.saturating_sub(1))
        })
    }

    /// The number up to which events on disk may be of `until` or earlier, or the absence of an agent began by then; `None` where
    /// all are later.
    #[must_use]
    pub fn up_to(&mut self, until: SystemTime) -> Option<u64> {
        let until = nanoseconds(until);
        self.store.parts().iter().rev().find_map(|part| {
            self.ask(
                part,
                "SELECT max(last) FROM (SELECT last FROM chunk WHERE earliest <= ?1
                 UNION ALL SELECT last FROM gap WHERE since <= ?1)",
                until,
            )
        })
    }

    /// When the first event on disk was.
    #[must_use]
    pub fn oldest_event(&mut self) -> Option<SystemTime> {
        self.store.parts().iter().find_map(|part| {
            self.ask(
                part,
                "SELECT earliest FROM chunk WHERE first >= ?1 ORDER BY first LIMIT 1",
                0,
            )
            .map(|time| super::read::moment(signed(time)))
        })
    }

    /// When the first alert on disk was.
    #[must_use]
    pub fn oldest_alert(&mut self) -> Option<SystemTime> {
        self.store.parts().iter().find_map(|part| {
            self.ask(part, "SELECT min(time) FROM alert WHERE number >= ?1", 0)
                .map(|time| super::read::moment(signed(time)))
        })
    }

    /// A number that a segment has.
    fn ask(&mut self, part: &Segment, sql: &str, value: i64) -> Option<u64> {
        let ask = |reader: &Reader| -> anyhow::Result<Option<i64>> {
            Ok(reader
                .connection()
                .prepare_cached(sql)?
                .query_row(params![value], |row| row.get(0))?)
        };
        let open = self.at(part).ok()?;
        ask(&open.reader).ok().flatten().map(unsigned)
    }

    /// At most `count` elements with numbers above `after` and up to `until`, of one segment.
    pub fn read<T: Kept>(&mut self, after: u64, until: u64, count: usize) -> Slice<T> {
        let parts = self.store.parts();
        let index = parts.partition_point(|part| T::first(part) <= after + 1);
        let nothing = |scanned: u64, gap: Option<&str>| Slice {
            items: Vec::new(),
            gaps: gap
                .map(|reason| Gap::at(after + 1, reason))
                .into_iter()
                .collect(),
            scanned,
            boot_id: None,
        };
        let Some(part) = index.checked_sub(1).and_then(|index| parts.get(index)) else {
            let before = parts.first().map_or(until, |part| T::first(part) - 1);
            return nothing(before.min(until).max(after), Some(NO_LONGER_KEPT));
        };
        let end = parts
            .get(index)
            .map_or(u64::MAX, |next| T::first(next) - 1)
            .min(until);
        // Only what is damaged is taken out between others.
        let hole = parts
            .get(index)
            .is_some_and(|next| next.sequence != part.sequence + 1);
        let is_last = index == parts.len();
        match self.read_part(part, is_last, after, end, count) {
            Ok(mut slice) => {
                if hole && slice.scanned == end {
                    slice.gaps.push(Gap::at(end, SET_ASIDE));
                }
                slice
            }
            Err(error) if segment::is_damage(&error) => {
                self.open.clear();
                self.store.drop_damaged(part, &error);
                nothing(end, Some(SET_ASIDE))
            }
            Err(error) => {
                self.open.clear();
                let removed = !part.path.exists();
                if !removed {
                    tracing::error!("reading history: {}: {error:#}", part.path.display());
                }
                let reason = if removed {
                    NO_LONGER_KEPT
                } else {
                    "a part of history can't be read"
                };
                nothing(end, Some(reason))
            }
        }
    }

    fn read_part<T: Kept>(
        &mut self,
        part: &Segment,
        is_last: bool,
        after: u64,
        end: u64,
        count: usize,
    ) -> anyhow::Result<Slice<T>> {
        let narrow = self.narrow.clone();
        // A stream does not come back.
        self.open.retain(|open| open.part.sequence >= part.sequence);
        let open = self.at(part)?;
        // Further containers come while it is written, and more becomes known of those that are there.
        if is_last {
            open.reader.refresh();
            open.narrow(&narrow)?;
        }
        let items = T::read(
            &mut open.reader,
            &Selection {
                after,
                until: end,
                places: open.places.clone(),
                kinds: narrow.kinds,
                count,
                backwards: false,
            },
        )?;
        let scanned = match items.last() {
            Some((last, _)) if items.len() >= count => *last,
            _ => end,
        };
        let gaps = Gap::between(open.reader.connection(), T::MISSING, after, scanned)?;
        Ok(Slice {
            items,
            gaps,
            scanned,
            boot_id: Some(Arc::clone(&open.reader.boot_id)),
        })
    }

    /// An alert by its id, or the beginning of it: the newest.
    #[must_use]
    pub fn alert(&mut self, id: &str) -> Option<(u64, Arc<Alert>)> {
        self.store.parts().iter().rev().find_map(|part| {
            let open = self.at(part).ok()?;
            open.reader.alert_by_id(id).ok().flatten()
        })
    }

    /// The last that is known of a process of this boot.
    #[must_use]
    pub fn line(&mut self, boot_id: &str, key: ProcessKey) -> Option<Arc<Line>> {
        self.store.parts().iter().rev().find_map(|part| {
            let open = self.at(part).ok()?;
            if *open.reader.boot_id != *boot_id {
                return None;
            }
            open.reader.last_line(key).ok().flatten()
        })
    }

    /// When a process of a boot ended, and its wait status; `None` while it runs, or where that was not seen.
    #[must_use]
    pub fn end_of(&mut self, boot_id: &str, key: ProcessKey) -> Option<(SystemTime, u32)> {
        self.store.parts().iter().rev().find_map(|part| {
            let open = self.at(part).ok()?;
            if *open.reader.boot_id != *boot_id {
                return None;
            }
            open.reader.end_of(key).ok().flatten()
        })
    }

    /// The newest alerts of this boot of which that holds, with their numbers and the segments that have them.
    #[must_use]
    pub fn alerts(
        &mut self,
        boot_id: &str,
        holds: &dyn Fn(&Alert) -> bool,
    ) -> Vec<(u64, Arc<Alert>, Segment)> {
        /// Most alerts that are returned, and that are looked at.
        const MOST: (usize, usize) = (4_096, 65_536);
        const STEP: usize = 512;
        let mut found = Vec::new();
        let mut seen = 0;
        for part in self.store.parts().into_iter().rev() {
            let Ok(open) = self.at(&part) else { continue };
            if *open.reader.boot_id != *boot_id {
                break;
            }
            let mut until = u64::MAX;
            loop {
                let selection = Selection {
                    until,
                    count: STEP,
                    backwards: true,
                    ..Selection::default()
                };
                let alerts = open.reader.alerts(&selection).unwrap_or_default();
                seen += alerts.len();
                let Some((lowest, _)) = alerts.last() else {
                    break;
                };
                until = lowest - 1;
                found.extend(
                    alerts
                        .into_iter()
                        .filter(|(_, alert)| holds(alert))
                        .map(|(number, alert)| (number, alert, part.clone())),
                );
                if found.len() >= MOST.0 || seen >= MOST.1 {
                    found.truncate(MOST.0);
                    return found;
                }
            }
        }
        found
    }

    /// The containers of which that holds, the newest last.
    #[must_use]
    pub fn containers(&mut self, holds: &dyn Fn(&Container) -> bool) -> Vec<Arc<Container>> {
        let mut found = Vec::new();
        for part in self.store.parts() {
            let containers = self.at(&part).and_then(|open| open.reader.containers());
            // What can't be read is told when events of it are asked for.
            let containers = containers.unwrap_or_default();
            found.extend(containers.into_iter().filter(|container| holds(container)));
        }
        found
    }

    /// Those of the segment that was written last: only there is what became of them up to its end.
    #[must_use]
    pub fn newest_containers(&mut self, holds: &dyn Fn(&Container) -> bool) -> Vec<Arc<Container>> {
        let Some(part) = self.store.parts().pop() else {
            return Vec::new();
        };
        let containers = self.at(&part).and_then(|open| open.reader.containers());
        // What can't be read is told when events of it are asked for.
        let containers = containers.unwrap_or_default();
        containers
            .into_iter()
            .filter(|container| holds(container))
            .collect()
    }

    /// The newest process of which that holds, with the id of its boot; of the boot whose id begins with `boot`.
    #[must_use]
    pub fn process(
        &mut self,
        holds: &dyn Fn(ProcessKey) -> bool,
        boot: Option<&str>,
    ) -> Option<(Arc<str>, Arc<Line>)> {
        self.store.parts().iter().rev().find_map(|part| {
            let open = self.at(part).ok()?;
            if boot.is_some_and(|boot| !open.reader.boot_id.starts_with(boot)) {
                return None;
            }
            let key = open.reader.last_process(holds).ok().flatten()?;
            let line = open.reader.last_line(key).ok().flatten()?;
            Some((Arc::clone(&open.reader.boot_id), line))
        })
    }

    /// The number to begin after, so that `count` wanted elements with numbers above `after` and up to `until` follow; `None`
    /// where there are not so many.
    pub fn last<T: Kept>(
        &mut self,
        (after, until): (u64, u64),
        count: usize,
        wants: &dyn Fn(u64, &T) -> bool,
    ) -> Option<u64> {
        /// Elements that are read at a time.
        const STEP: usize = 1_024;
        let narrow = self.narrow.clone();
        let mut left = count;
        let parts = self.store.parts();
        let mut end = until;
        for part in parts.iter().rev() {
            while end >= T::first(part) && end > after {
                let read = |open: &mut Open| {
                    open.narrow(&narrow)?;
                    let selection = Selection {
                        after: after.max(T::first(part) - 1),
                        until: end,
                        places: open.places.clone(),
                        kinds: narrow.kinds.clone(),
                        count: STEP,
                        backwards: true,
                    };
                    T::read(&mut open.reader, &selection)
                };
                let Ok(mut items) = self.at(part).and_then(read) else {
                    // What can't be read is told when it is its turn.
                    break;
                };
                items.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
                let Some((lowest, _)) = items.last() else {
                    break;
                };
                let lowest = *lowest;
                for (number, value) in items {
                    if wants(number, &value) {
                        left -= 1;
                        if left == 0 {
                            return Some(number - 1);
                        }
                    }
                }
                end = lowest - 1;
            }
            end = end.min(T::first(part).saturating_sub(1));
        }
        None
    }

    /// Opens a segment, unless it is open.
    fn at(&mut self, part: &Segment) -> anyhow::Result<&mut Open> {
        /// Segments that stay open: whoever looks for something goes through all of them, again and again.
        const MOST: usize = 2 * super::DIVISIONS as usize + 1;
        let found = self.open.iter().position(|open| open.part == *part);
        let index = match found {
            Some(index) => index,
            None => {
                let mut open = Open {
                    reader: Reader::open(part)?,
                    part: part.clone(),
                    places: None,
                };
                open.narrow(&self.narrow)?;
                if self.open.len() >= MOST {
                    self.open.remove(0);
                }
                self.open.push(open);
                self.open.len() - 1
            }
        };
        Ok(&mut self.open[index])
    }
}

impl Open {
    /// Finds the places that are wanted.
    fn narrow(&mut self, narrow: &Narrow) -> anyhow::Result<()> {
        self.places = match &narrow.containers {
            Some(wanted) => Some(self.reader.places(&**wanted)?),
            None => None,
        };
        Ok(())
    }
}
