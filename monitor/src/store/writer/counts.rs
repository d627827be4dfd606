//! How often alerts were found, which goes on after they were written.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::{
    super::{
        insert::Inserter,
        segment::{self, Segment},
    },
    Writer,
};
use crate::detect::alert::Alert;

impl Writer {
    /// Writes how often alerts were found by now.
    pub(super) fn recount(&mut self) -> anyhow::Result<()> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        let mut elsewhere: BTreeMap<PathBuf, (Segment, Vec<Arc<Alert>>)> = BTreeMap::new();
        let transaction = current.connection.unchecked_transaction()?;
        for (_, watched) in &mut self.watched {
            let count = watched.alert.tally().count;
            if count == watched.count {
                continue;
            }
            if watched.segment == current.segment {
                Inserter::recount(&transaction, &watched.alert)?;
            } else {
                elsewhere
                    .entry(watched.segment.path.clone())
                    .or_insert_with(|| (watched.segment.clone(), Vec::new()))
                    .1
                    .push(Arc::clone(&watched.alert));
            }
            watched.count = count;
        }
        transaction.commit()?;
        for (segment, alerts) in elsewhere.into_values() {
            // A ceiling may have removed it. What is wrong with an older segment keeps nothing from being written.
            if segment.path.exists()
                && let Err(error) = recount_in(&segment, &alerts)
            {
                if segment::is_damage(&error) {
                    self.store.drop_damaged(&segment, &error);
                } else {
                    tracing::warn!(
                        "history: counting alerts in {}: {error:#}",
                        segment.path.display()
                    );
                }
            }
        }
        Ok(())
    }
}

/// Writes how often alerts of an older segment were found by now.
fn recount_in(segment: &Segment, alerts: &[Arc<Alert>]) -> anyhow::Result<()> {
    let connection = segment.append()?;
    let transaction = connection.unchecked_transaction()?;
    for alert in alerts {
        Inserter::recount(&transaction, alert)?;
    }
    transaction.commit()?;
    Ok(())
}
