//! What is kept of the past, as a run of the agent begins.

use std::{path::PathBuf, sync::Arc};

use crate::store::{Limits, Opened, Store, numbers::Numbers};

/// History as this run begins.
#[derive(Default)]
pub(super) struct History {
    pub(super) store: Option<Arc<Store>>,
    pub(super) numbers: Option<Numbers>,
    pub(super) last_event: u64,
    pub(super) last_alert: u64,
    /// Why it is not kept.
    pub(super) trouble: Option<String>,
}

impl History {
    /// Opens what there is. Where that is impossible the node is watched all the same: history is the lesser part.
    pub(super) fn open(wanted: Option<(PathBuf, Limits)>) -> Self {
        let Some((directory, limits)) = wanted else {
            return Self::default();
        };
        match Store::open(&directory, limits) {
            Ok(Opened {
                store,
                numbers,
                last_event,
                last_alert,
            }) => Self {
                store: Some(Arc::new(store)),
                numbers: Some(numbers),
                last_event,
                last_alert,
                trouble: None,
            },
            Err(error) => {
                let trouble = format!("no history is kept on disk: {error:#}");
                tracing::error!("{trouble}");
                Self {
                    trouble: Some(trouble),
                    ..Self::default()
                }
            }
        }
    }
}
