//! `watchkeeper.v1.Node`

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, SystemTime},
};

use tonic::{Request, Response, Status};

use super::{convert, sources::Sources};
use crate::{
    container::{cluster::knowledge::Link, metadata::Connection},
    kernel::{
        attach::{SensorState, SensorStatus},
        costs, sensors,
    },
    process::table,
    proto::v1,
    store::past::{Narrow, Past},
};

#[tonic::async_trait]
impl v1::node_server::Node for Sources {
    async fn status(
        &self,
        _: Request<v1::NodeStatusRequest>,
    ) -> Result<Response<v1::NodeStatusResponse>, Status> {
        let connection = self
            .connection
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let figure = |figure: &std::sync::atomic::AtomicU64| figure.load(Ordering::Relaxed);
        let (oldest_event, oldest_alert) = self.oldest().await;
        Ok(Response::new(v1::NodeStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.context.node.clone(),
            kernel: self.kernel.clone(),
            boot_id: self.context.boot_id.clone(),
            started: Some(convert::timestamp(self.started)),
            sensors: self.sensors.iter().map(sensor).collect(),
            cgroup_hierarchy: self.hierarchy.clone(),
            oldest_event: oldest_event.map(convert::timestamp),
            oldest_alert: oldest_alert.map(convert::timestamp),
            history: Some(self.history()),
            policy: Some(self.policy()),
            counters: Some(v1::Counters {
                events: self.figures.events().map(|(_, count)| count).sum(),
                alerts: self.alerts.recent.values(),
                lost: self.figures.losses().all.values().sum(),
                malformed: figure(&self.figures.malformed),
                processes: figure(&self.figures.processes),
                process_ceiling: table::CEILING as u64,
                processes_refused: figure(&self.figures.processes_refused),
                containers: self.containers.running() as u64,
                subscribers: self.subscribers() as u64,
            }),
            degraded: self.degraded(&connection),
            health: Some(self.health_message()),
            runtime: Some(v1::RuntimeConnection {
                connected: connection.runtime.is_some(),
                socket: connection.socket,
                runtime: connection.runtime.unwrap_or_default(),
                reason: connection.reason,
            }),
            kubernetes: self.kubernetes(),
        }))
    }

    async fn programs(
        &self,
        request: Request<v1::NodeProgramsRequest>,
    ) -> Result<Response<v1::NodeProgramsResponse>, Status> {
        let seconds = match request.into_inner().seconds {
            0 => 1,
            seconds if seconds <= MAX_COUNTED => seconds,
            _ => {
                return Err(Status::invalid_argument(format!(
                    "seconds: at most {MAX_COUNTED}"
                )));
            }
        };
        let programs = Arc::clone(&self.programs);
        let time = Duration::from_secs(seconds.into());
        let costs = tokio::task::spawn_blocking(move || costs::measure(&programs, time))
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(v1::NodeProgramsResponse {
            programs: costs
                .into_iter()
                .map(|cost| v1::Program {
                    name: cost.name.to_owned(),
                    runs: cost.runs,
                    time_ns: cost.time_ns,
                    verified_instructions: cost.verified_instructions,
                    memory: cost.memory,
                })
                .collect(),
            seconds,
        }))
    }
}

/// Longest time that is counted.
const MAX_COUNTED: u32 = 60;

impl Sources {
    /// When the oldest event and the oldest alert were that are kept.
    async fn oldest(&self) -> (Option<SystemTime>, Option<SystemTime>) {
        let on_disk = match &self.store {
            Some(store) => {
                let mut past = Past::new(Arc::clone(store), Narrow::default());
                tokio::task::spawn_blocking(move || (past.oldest_event(), past.oldest_alert()))
                    .await
                    .unwrap_or_default()
            }
            None => (None, None),
        };
        let event = self.events.recent.oldest().map(|event| event.time);
        let alert = self.alerts.recent.oldest().map(|alert| alert.event.time);
        (on_disk.0.or(event), on_disk.1.or(alert))
    }

    fn history(&self) -> v1::HistoryStatus {
        let Some(store) = &self.store else {
            return v1::HistoryStatus {
                trouble: self.store_trouble.clone().unwrap_or_default(),
                ..v1::HistoryStatus::default()
            };
        };
        let figures = store.figures();
        let limits = store.limits();
        v1::HistoryStatus {
            directory: store.directory().display().to_string(),
            bytes: figures.bytes.load(Ordering::Relaxed),
            max_bytes: limits.bytes,
            max_age_seconds: limits.age.as_secs(),
            segments: u32::try_from(store.parts().len()).unwrap_or(u32::MAX),
            events_written: figures.events.load(Ordering::Relaxed),
            events_missed: figures.missed.load(Ordering::Relaxed),
            busy_ns: figures.busy_ns.load(Ordering::Relaxed),
            trouble: store.trouble().unwrap_or_default(),
        }
    }

    /// What works only in part, in a sentence each.
    fn policy(&self) -> v1::PolicyStatus {
        let set = self.policies.set();
        let (loads, failures) = self.policies.loads();
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        v1::PolicyStatus {
            digest: set.digest().to_string(),
            since: Some(convert::timestamp(self.policies.since())),
            rules: number(set.rules().len()),
            exceptions: number(set.exceptions().len()),
            directory: self
                .policies
                .directory()
                .map(|directory| directory.display().to_string())
                .unwrap_or_default(),
            loads,
            failures,
            problems: self
                .policies
                .problems()
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }

    fn kubernetes(&self) -> Option<v1::KubernetesConnection> {
        let cluster = &self.cluster;
        cluster.is_asked.then(|| v1::KubernetesConnection {
            connected: cluster
                .links()
                .iter()
                .all(|(_, link)| *link == Link::Following),
            reason: self.no_answer().unwrap_or_default(),
            pods: cluster.pods.occupancy.get(),
            namespaces: cluster.namespaces.occupancy.get(),
        })
    }

    /// Why the API server can't be asked.
    fn no_answer(&self) -> Option<String> {
        self.cluster
            .links()
            .into_iter()
            .find_map(|(_, link)| match link {
                Link::Failed(reason) => Some(reason),
                Link::Waiting | Link::Following => None,
            })
    }

    fn degraded(&self, connection: &Connection) -> Vec<String> {
        let mut degraded: Vec<String> = self
            .sensors
            .iter()
            .filter(|status| !status.reason.is_empty() && status.state != SensorState::NotOffered)
            .map(|status| {
                let name = sensors::name(status.sensor);
                match status.state {
                    SensorState::Active => format!("sensor {name}: {}", status.reason),
                    _ => format!(
                        "sensor {name}: {}: {}",
                        status.reason,
                        sensors::consequence(status.sensor)
                    ),
                }
            })
            .collect();
        if connection.runtime.is_none() && !connection.reason.is_empty() {
            degraded.push(format!(
                "no pod and image names of Kubernetes containers: {}",
                connection.reason
            ));
        }
        if let Some(reason) = self.no_answer() {
            degraded.push(format!(
                "no new workloads and labels of namespaces: {reason}"
            ));
        }
        if let Some(problem) = self.policies.problems().first() {
            degraded.push(format!(
                "policies are not in force as they are now: {problem}"
            ));
        }
        degraded.extend(self.store_trouble.clone());
        degraded.extend(self.store.as_ref().and_then(|store| store.trouble()));
        degraded.extend(
            self.figures
                .trouble
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        );
        degraded
    }
}

fn sensor(status: &SensorStatus) -> v1::Sensor {
    v1::Sensor {
        name: sensors::name(status.sensor).to_owned(),
        state: match status.state {
            SensorState::Active => v1::SensorState::Active,
            SensorState::Failed => v1::SensorState::Failed,
            SensorState::Disabled => v1::SensorState::Disabled,
            SensorState::NotOffered => v1::SensorState::NotOffered,
        }
        .into(),
        rung: sensors::RUNG.to_owned(),
        hook: sensors::hook(status.sensor),
        reason: status.reason.clone(),
        verified_instructions: status.verified_instructions,
    }
}
