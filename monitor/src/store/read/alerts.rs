//! Rows of alerts.

use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use rusqlite::{OptionalExtension as _, Row};

use super::{super::detail::unsigned, Numbered, Reader, Selection, moment};
use crate::{
    detect::alert::{Alert, Tally},
    event::Event,
    policy::{
        file::{Attack, Severity},
        rule::Rule,
    },
};

impl Reader {
    /// Alerts in the order of their numbers, or backwards. Places and kinds are not looked at.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn alerts(&mut self, selection: &Selection) -> anyhow::Result<Numbered<Alert>> {
        let order = if selection.backwards { "DESC" } else { "ASC" };
        let rows: Vec<AlertRow> = self
            .connection
            .prepare_cached(&format!(
                "SELECT * FROM alert WHERE number > ?1 AND number <= ?2 ORDER BY number {order} LIMIT ?3"
            ))?
            .query_map(selection.bounds(), AlertRow::read,
            )?
            .collect::<Result<_, _>>()?;
        rows.into_iter()
            .map(|row| Ok((row.number, Arc::new(self.alert(row)?))))
            .collect()
    }

    /// An alert by its id, or the beginning of it: the newest.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn alert_by_id(&mut self, id: &str) -> anyhow::Result<Option<(u64, Arc<Alert>)>> {
        let row = self
            .connection
            .prepare_cached("SELECT * FROM alert WHERE substr(id, 1, length(?1)) = ?1 ORDER BY number DESC LIMIT 1")?
            .query_row([id], AlertRow::read)
            .optional()?;
        row.map(|row| Ok((row.number, Arc::new(self.alert(row)?))))
            .transpose()
    }

    fn alert(&mut self, row: AlertRow) -> anyhow::Result<Alert> {
        let line = self.line(row.lineage)?;
        let membership = line.membership.as_ref();
        let place = self.place(row.place)?;
        let event = Event {
            time: moment(row.time),
            process: Some(Arc::clone(&line.process)),
            origin: membership.map(|membership| membership.origin),
            injected_by: membership.and_then(|membership| membership.entered_by.clone()),
            ancestors: line.ancestors.clone(),
            place,
            target: None,
            detail: crate::event::Detail::Exec,
        };
        let injected_by = match row.injected_by {
            Some(execution) => Some(self.execution(execution)?),
            None => None,
        };
        let attack: Vec<Attack> = serde_json::from_str(&row.attack)?;
        let severity = Severity::ALL
            .into_iter()
            .find(|severity| *severity as i64 + 1 == row.severity)
            .context("reading an alert: it has no known severity")?;
        Ok(Alert {
            id: row.id,
            rule: Arc::new(Rule {
                id: row.rule,
                title: row.title,
                severity,
                attack,
                description: String::new(),
                triage: String::new(),
                benign: Vec::new(),
                policy: row.policy,
                set: row.policy_set.into(),
            }),
            severity,
            attempt: row.attempt,
            message: row.message,
            process: Arc::clone(&line.process),
            ancestors: line.ancestors.clone(),
            injected_by,
            facts: serde_json::from_str(&row.facts)?,
            claimed: serde_json::from_str(&row.claimed)?,
            tally: Arc::new(Mutex::new(Tally {
                count: row.count,
                last_seen: moment(row.last),
                evidence: serde_json::from_str(&row.evidence)?,
            })),
            event: Arc::new(event),
        })
    }
}

/// A row of `alert`.
struct AlertRow {
    number: u64,
    id: String,
    time: i64,
    last: i64,
    count: u32,
    rule: String,
    title: String,
    severity: i64,
    attempt: bool,
    policy: String,
    policy_set: String,
    attack: String,
    message: String,
    facts: String,
    claimed: String,
    evidence: String,
    lineage: i64,
    place: i64,
    injected_by: Option<i64>,
}

impl AlertRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: unsigned(row.get("number")?),
            id: row.get("id")?,
            time: row.get("time")?,
            last: row.get("last")?,
            count: row.get("count")?,
            rule: row.get("rule")?,
            title: row.get("title")?,
            severity: row.get("severity")?,
            attempt: row.get("attempt")?,
            policy: row.get("policy")?,
            policy_set: row.get("policy_set")?,
            attack: row.get("attack")?,
            message: row.get("message")?,
            facts: row.get("facts")?,
            claimed: row.get("claimed")?,
            evidence: row.get("evidence")?,
            lineage: row.get("lineage")?,
            place: row.get("place")?,
            injected_by: row.get("injected_by")?,
        })
    }
}
