//! What is missing from history: elements that could not be written, and times in which no agent ran.

use std::{fmt, time::SystemTime};

use rusqlite::{Connection, params};

use super::{
    detail::{signed, unsigned},
    nanoseconds,
    read::moment,
};
use crate::proto::v1;

/// Which sequence something is missing from: of each there is a table of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Events.
    Events,
    /// Alerts.
    Alerts,
}

impl Missing {
    /// The table.
    #[must_use]
    pub fn table(self) -> &'static str {
        match self {
            Self::Events => "gap",
            Self::Alerts => "alert_gap",
        }
    }
}

/// Elements that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first number that is.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// How many; 0 where that is not known.
    pub count: u64,
    /// Why.
    pub reason: String,
    /// The time in which no agent ran, where that is why.
    pub absence: Option<Absence>,
}

/// A time in which no agent ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    /// When the agent before began to end, or was seen alive for the last time; `None` where it left nothing that tells.
    pub since: Option<SystemTime>,
    /// When the one after had its sensors attached.
    pub until: SystemTime,
}

impl Gap {
    /// Elements of which it is not known how many they are, from this one.
    #[must_use]
    pub fn at(number: u64, reason: &str) -> Self {
        Self {
            first: number,
            last: number,
            count: 0,
            reason: reason.to_owned(),
            absence: None,
        }
    }

    /// Writes it down.
    ///
    /// # Errors
    /// When SQLite can't.
    pub fn write(&self, connection: &Connection, of: Missing) -> anyhow::Result<()> {
        let since = self.absence.and_then(|absence| absence.since);
        let until = self.absence.map(|absence| absence.until);
        connection
            .prepare_cached(&format!(
                "INSERT OR REPLACE INTO {} (first, last, count, reason, since, until) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                of.table()
            ))?
            .execute(params![
                signed(self.first),
                signed(self.last),
                signed(self.count),
                self.reason,
                since.map(nanoseconds),
                until.map(nanoseconds)
            ])?;
        Ok(())
    }

    /// Those that end above `after` and begin up to `until`.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn between(
        connection: &Connection,
        of: Missing,
        after: u64,
        until: u64,
    ) -> anyhow::Result<Vec<Self>> {
        let gaps = connection
            .prepare_cached(&format!(
                "SELECT first, last, count, reason, since, until FROM {} WHERE last > ?1 AND first <= ?2 ORDER BY first",
                of.table()
            ))?
            .query_map(
                params![signed(after), signed(until.min(i64::MAX as u64))],
                |row| {
                    let (first, last) = (unsigned(row.get(0)?), unsigned(row.get(1)?));
                    let count = unsigned(row.get(2)?);
                    let since: Option<i64> = row.get(4)?;
                    let ended: Option<i64> = row.get(5)?;
                    Ok(Self {
                        first,
                        last,
                        // Of what is missing on disk, the reader may have had the first part from memory, and be given the rest
                        // later.
                        count: count.min(last.min(until) - after.max(first - 1)),
                        reason: row.get(3)?,
                        absence: ended.map(|ended| Absence {
                            since: since.map(moment),
                            until: moment(ended),
                        }),
                    })
                },
            )?
            .collect::<Result<_, _>>()?;
        Ok(gaps)
    }
}

impl From<&Gap> for v1::Lost {
    fn from(gap: &Gap) -> Self {
        let since = gap.absence.and_then(|absence| absence.since);
        Self {
            count: gap.count,
            reason: gap.reason.clone(),
            since: since.map(Into::into),
            until: gap.absence.map(|absence| absence.until.into()),
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        v1::Lost::from(self).fmt(formatter)
    }
}
