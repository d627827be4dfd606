//! The policies in force while the agent runs.

use std::{fs, path::PathBuf, sync::Arc};

use anyhow::Context as _;

use crate::{
    detect::detector::RulesChanger,
    policy::live::{self, LivePolicies},
};

/// Loads the policies; a mistake in them is no reason to leave the node unwatched.
pub(super) fn load(directory: Option<PathBuf>) -> anyhow::Result<Arc<LivePolicies>> {
    if let Some(directory) = &directory {
        fs::read_dir(directory)
            .with_context(|| format!("reading policies from {}", directory.display()))?;
    }
    let policies = LivePolicies::start(directory);
    let problems = policies.problems();
    for problem in &problems {
        tracing::error!("{problem}");
    }
    if !problems.is_empty() {
        tracing::error!(
            "the built-in rules are in force, and no policy of the operator's, until that is mended"
        );
    }
    Ok(Arc::new(policies))
}

/// Takes over policies whenever their files change.
pub(super) async fn renew(policies: Arc<LivePolicies>, changer: RulesChanger) {
    let mut ticks = tokio::time::interval(live::INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let before = policies.loads().1;
        let at_work = Arc::clone(&policies);
        let Ok(renewed) = tokio::task::spawn_blocking(move || at_work.renew()).await else {
            continue;
        };
        if let Some(set) = renewed {
            tracing::info!(
                "the changed policies are in force: {} rules",
                set.rules().len()
            );
            changer.replace(set);
        }
        if policies.loads().1 != before {
            for problem in policies.problems() {
                tracing::error!("{problem}");
            }
            tracing::error!("the policies before that stay in force");
        }
    }
}
