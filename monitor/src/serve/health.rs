//! Whether the node is watched, as health checks are told.

use tokio::sync::watch;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::sources::Sources;
use crate::{heartbeat::Stage, proto::v1};

/// How it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Alerts are found and served.
    pub is_serving: bool,
    /// The agent itself works: where it does not, a restart may help.
    pub is_live: bool,
    /// What is wrong, in a sentence each.
    pub reasons: Vec<String>,
}

/// Tells health checks of services by name, and of the empty name that stands for all, whenever it changes, until the agent stops.
pub(super) async fn report(
    reporter: HealthReporter,
    mut health: watch::Receiver<Health>,
    services: &'static [&'static str],
) {
    while health.changed().await.is_ok() {
        let is_serving = health.borrow_and_update().is_serving;
        tell(&reporter, is_serving, services).await;
    }
}

/// Tells how it stands at the moment.
pub(super) async fn tell(
    reporter: &HealthReporter,
    is_serving: bool,
    services: &'static [&'static str],
) {
    let status = if is_serving {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    for service in services.iter().chain(&[""]) {
        reporter.set_service_status(service, status).await;
    }
}

impl Sources {
    /// The same as `Node.Status` tells it.
    pub(super) fn health_message(&self) -> v1::Health {
        let health = self.health.borrow().clone();
        let heartbeats = Stage::ALL.into_iter().map(|stage| v1::HeartbeatStage {
            name: stage.name().to_owned(),
            age_ms: u64::try_from(self.heartbeats.age(stage).as_millis()).unwrap_or(u64::MAX),
            number: self.heartbeats.number(stage),
        });
        v1::Health {
            serving: health.is_serving,
            live: health.is_live,
            reasons: health.reasons,
            heartbeats: heartbeats.collect(),
        }
    }
}
