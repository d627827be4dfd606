//! What the services answer from.

use std::{
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::sync::{Semaphore, watch};
use tonic::Status;

use super::{convert::Context, filter::Wanted, health::Health, watch::Sequence};
use crate::{
    container::{self, cluster::knowledge::Cluster, listing::Listing, metadata::Connection},
    detect::{self, alert::Alert},
    engine::figures::Figures,
    event::Event,
    heartbeat::Heartbeats,
    kernel::{
        attach::{LoadedProgram, SensorStatus},
        rings::RingsFill,
    },
    policy::live::LivePolicies,
    proto::v1,
    store::{
        Store,
        past::{Narrow, Past},
    },
};

/// Questions of history that are answered at a time.
pub const QUESTIONS: usize = 4;

/// What the agent's memory may be as a whole, and what was done to keep to it.
#[derive(Debug)]
pub struct Room {
    /// Most bytes.
    pub limit: u64,
    /// Bytes that it took when that was looked at last.
    pub used: AtomicU64,
    /// Recent events that were let go of.
    pub events_let_go: AtomicU64,
    /// Recent alerts likewise.
    pub alerts_let_go: AtomicU64,
}

impl Room {
    /// Nothing is used yet.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
            events_let_go: AtomicU64::new(0),
            alerts_let_go: AtomicU64::new(0),
        }
    }
}

/// What the services answer from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Common to all messages.
    pub context: Context,
    /// The events.
    pub events: Sequence<Event>,
    /// The alerts.
    pub alerts: Sequence<Alert>,
    /// History on disk, where it is kept.
    pub store: Option<Arc<Store>>,
    /// Why it is not kept, where that was not asked for.
    pub store_trouble: Option<String>,
    /// Places for questions that take long: [`QUESTIONS`].
    pub questions: Arc<Semaphore>,
    /// The policies in force.
    pub policies: Arc<LivePolicies>,
    /// The containers.
    pub containers: Arc<Listing>,
    /// The connection to the runtime.
    pub connection: Arc<RwLock<Connection>>,
    /// Numbers about the engine.
    pub figures: Arc<Figures>,
    /// How far heartbeats came.
    pub heartbeats: Arc<Heartbeats>,
    /// What follows from that, and from the rest.
    pub health: watch::Receiver<Health>,
    /// Numbers about detection.
    pub detection: Arc<detect::figures::Figures>,
    /// Numbers about asking runtimes.
    pub enrichment: Arc<container::figures::Figures>,
    /// What the API server has told.
    pub cluster: Arc<Cluster>,
    /// How full the ring buffers are.
    pub rings: Arc<RingsFill>,
    /// The agent's memory.
    pub room: Arc<Room>,
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
    /// An alert by its id, or the beginning of it.
    ///
    /// # Errors
    /// When there is none.
    pub async fn find_alert(&self, id: &str) -> Result<(u64, Arc<Alert>), Status> {
        if let Some(found) = self.alerts.recent.find(|alert| alert.id.starts_with(id)) {
            return Ok(found);
        }
        let found = match &self.store {
            Some(store) => {
                let mut past = Past::new(Arc::clone(store), Narrow::default());
                let id = id.to_owned();
                tokio::task::spawn_blocking(move || past.alert(&id))
                    .await
                    .map_err(|error| Status::internal(error.to_string()))?
            }
            None => None,
        };
        found.ok_or_else(|| {
            Status::not_found(format!("there is no alert {id} in this node's history"))
        })
    }

    /// What a request asks for.
    ///
    /// # Errors
    /// When it is wrong, or asks by what this agent never knows: nothing to be found would be taken for nothing that happened.
    pub fn wanted(
        &self,
        filter: Option<v1::Filter>,
        since: Option<SystemTime>,
        until: Option<SystemTime>,
    ) -> Result<Wanted, Status> {
        let by_workload = filter
            .as_ref()
            .is_some_and(|filter| !filter.workloads.is_empty());
        if by_workload && !self.cluster.is_asked {
            return Err(Status::failed_precondition(
                "workloads of pods are not known here, as the agent does not ask the API server: switch `enrichment` on in its \
                 configuration, or narrow by pod or label",
            ));
        }
        Wanted::new(filter, since, until).map_err(Status::invalid_argument)
    }

    /// Clients that follow a stream.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.followers() + self.alerts.subscribers.count()
    }

    /// Clients that follow the stream of events; the agent's own look at it is none.
    #[must_use]
    pub fn followers(&self) -> usize {
        let own = usize::from(self.heartbeats.is_followed.load(Ordering::Relaxed));
        self.events.subscribers.count().saturating_sub(own)
    }
}
