//! Evidence: part of history in a file of its own, with the same schema.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context as _, bail};
use uuid::Uuid;

use super::{
    Store,
    gap::{Gap, Missing},
    insert::Inserter,
    past::Past,
    segment::Segment,
};
use crate::{detect::alert::Alert, event::Event, process::clock};

/// A file that was written, which is removed when this is dropped.
#[derive(Debug)]
pub struct Exported {
    /// Where it is.
    pub path: PathBuf,
    /// Events in it.
    pub events: u64,
    /// Alerts in it.
    pub alerts: u64,
    /// Time of the first event and of the last.
    pub span: Option<(SystemTime, SystemTime)>,
    /// What is missing.
    pub gaps: Vec<Gap>,
}

impl Drop for Exported {
    fn drop(&mut self) {
        // It is gone either way.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes exports that nobody waits for.
pub fn remove_left_over(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            // It does no harm beside the room it takes.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// How names of exports begin.
const PREFIX: &str = "export-";

/// Elements that are read at a time.
const STEP: usize = 1_024;

/// Writes what is wanted of the events above `after` and up to `until` (and of all alerts) into a file beside the history, until `is_over` says that
/// nobody waits for it any more.
///
/// # Errors
/// When it can't be written, or is of more than one boot.
pub fn export(
    store: &Store,
    past: &mut Past,
    (after, until): (u64, u64),
    facts: &[(&str, &str)],
    wants_event: &dyn Fn(&Event) -> bool,
    wants_alert: &dyn Fn(&Alert) -> bool,
    is_over: &dyn Fn() -> bool,
) -> anyhow::Result<Exported> {
    let path = store
        .directory()
        .join(format!("{PREFIX}{}.sqlite", Uuid::now_v7().simple()));
    let segment = Segment {
        sequence: 0,
        first_event: 0,
        first_alert: 0,
        path,
    };
    let mut exported = Exported {
        path: segment.path.clone(),
        events: 0,
        alerts: 0,
        span: None,
        gaps: Vec::new(),
    };
    let doing = || format!("writing {}", segment.path.display());
    let connection = segment.create(facts).with_context(doing)?;
    let mut inserter = Inserter::new(clock::since_boot());
    let mut boot = None;
    let mut same_boot = |found: Option<&str>| {
        let Some(found) = found else { return Ok(()) };
        let boot = boot.get_or_insert_with(|| found.to_owned());
        if boot == found {
            return Ok(());
        }
        bail!(
            "the node was started anew in that time: export what was before and after apart, with --since and --until"
        )
    };
    let mut after = after;
    while after < until && !is_over() {
        let slice = past.read::<Event>(after, until, STEP);
        after = slice.scanned;
        let transaction = connection.unchecked_transaction()?;
        for (number, event) in &slice.items {
            if !wants_event(event) {
                continue;
            }
            same_boot(slice.boot_id.as_deref())?;
            inserter.event(&transaction, *number, event)?;
            exported.events += 1;
            let (first, last) = exported.span.unwrap_or((event.time, event.time));
            exported.span = Some((first.min(event.time), last.max(event.time)));
        }
        for gap in &slice.gaps {
            gap.write(&transaction, Missing::Events)?;
        }
        exported.gaps.extend(slice.gaps);
        inserter.settle(&transaction)?;
        transaction.commit().with_context(doing)?;
    }
    let transaction = connection.unchecked_transaction()?;
    let mut after = past.beginning::<Alert>().unwrap_or(0);
    while after < u64::MAX >> 1 {
        let slice = past.read::<Alert>(after, u64::MAX >> 1, STEP);
        after = slice.scanned;
        for (number, alert) in &slice.items {
            if wants_alert(alert) {
                same_boot(slice.boot_id.as_deref())?;
                inserter.alert(&transaction, *number, alert)?;
                exported.alerts += 1;
            }
        }
        for gap in &slice.gaps {
            gap.write(&transaction, Missing::Alerts)?;
        }
        exported.gaps.extend(slice.gaps);
    }
    if let Some(boot) = &boot {
        let short = boot.get(..8).unwrap_or(boot);
        transaction.execute(
            "INSERT OR REPLACE INTO meta VALUES ('boot_id', ?1), ('boot', ?2)",
            (boot, short),
        )?;
    }
    transaction.commit().with_context(doing)?;
    // One file, without a log beside it.
    connection.pragma_update(None, "journal_mode", "delete")?;
    Ok(exported)
}
