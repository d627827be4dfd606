//! What the services answer from.

use std::{
    sync::{Arc, RwLock},
    time::SystemTime,
};

use super::convert::Context;
use crate::{
    container::{listing::Listing, metadata::Connection},
    detect::alert::Alert,
    engine::figures::Figures,
    event::Event,
    kernel::attach::{LoadedProgram, SensorStatus},
    store::recent::Recent,
};

/// What the services answer from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Common to all messages.
    pub context: Context,
    /// The recent events.
    pub events: Arc<Recent<Event>>,
    /// The recent alerts.
    pub alerts: Arc<Recent<Alert>>,
    /// The containers.
    pub containers: Arc<Listing>,
    /// The connection to the runtime.
    pub connection: Arc<RwLock<Connection>>,
    /// Numbers about the engine.
    pub figures: Arc<Figures>,
    /// The sensors.
    pub sensors: Vec<SensorStatus>,
    /// The loaded programs.
    pub programs: Arc<[LoadedProgram]>,
    /// Name of the cgroup hierarchy.
    pub hierarchy: String,
    /// When the agent started.
    pub started: SystemTime,
    /// The kernel's release.
    pub kernel: String,
}

impl Sources {
    /// Clients that follow a stream.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.events.subscribers() + self.alerts.subscribers()
    }
}
