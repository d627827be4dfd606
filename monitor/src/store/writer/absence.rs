//! The time in which no agent ran before this one: how long it was, from the last sign of life in history, and writing it down.

use rusqlite::Connection;

use super::{
    super::{
        gap::{Absence, Gap, Missing},
        read::moment,
        segment,
    },
    Writer,
};

impl Writer {
    /// How long no agent ran before this one; `None` where history does not tell of one before, or can't be read.
    pub(super) fn absence(&self) -> Option<Gap> {
        let parts = self.store.parts();
        let mut last = None;
        let mut is_known = false;
        for part in parts.iter().rev() {
            // What can't be read is set aside, which is told in its place.
            let connection = part.read().ok()?;
            is_known = true;
            last = last_sign(&connection).ok()?;
            if last.is_some() {
                break;
            }
        }
        if !is_known {
            return None;
        }
        let same_boot = last
            .as_ref()
            .is_none_or(|last| last.boot_id == self.boot_id);
        let stopped = last.as_ref().is_some_and(|last| last.stopped);
        let reason = match (stopped, same_boot) {
            (true, true) => "the agent did not run: it was stopped",
            (true, false) => "the agent did not run: it was stopped, and the node was started anew",
            (false, true) => "the agent did not run: it was killed, with what it had not written",
            (false, false) => {
                "the agent did not run: the node was started anew without stopping it first"
            }
        };
        let gap = Gap {
            absence: Some(Absence {
                since: last.map(|last| moment(last.time)),
                until: self.attached,
            }),
            ..Gap::at(self.events_after, reason)
        };
        if !stopped {
            tracing::warn!("{gap}");
        }
        Some(gap)
    }

    /// Writes down that nothing was seen before this run, for those who read events and those who read alerts.
    pub(super) fn tell_of(
        &mut self,
        absence: Option<&Gap>,
        connection: &Connection,
    ) -> anyhow::Result<()> {
        if let Some(gap) = absence {
            gap.write(connection, Missing::Events)?;
            let (first, last) = (self.alerts_after, self.alerts_after);
            let gap = Gap {
                first,
                last,
                ..gap.clone()
            };
            gap.write(connection, Missing::Alerts)?;
        }
        self.is_new = false;
        Ok(())
    }
}

/// The last sign of life of the agent that wrote a segment.
struct Sign {
    /// Nanoseconds since the epoch.
    time: i64,
    /// It was stopped then, in order.
    stopped: bool,
    boot_id: String,
}

/// The last sign of life in a segment. Heartbeats are events, so that there is one every few seconds; an agent that was killed
/// before it wrote any has left when it began.
fn last_sign(connection: &Connection) -> anyhow::Result<Option<Sign>> {
    let boot_id = segment::fact(connection, "boot_id")?.unwrap_or_default();
    let stopped = segment::fact(connection, "stopped")?.and_then(|text| text.parse().ok());
    let seen = connection.query_row(
        "SELECT max(time) FROM (SELECT latest AS time FROM chunk UNION ALL SELECT until FROM gap)",
        (),
        |row| row.get(0),
    )?;
    Ok(stopped.or(seen).map(|time| Sign {
        time,
        stopped: stopped.is_some(),
        boot_id,
    }))
}
