//! The services of `watchkeeper.v1`.

use std::{
    sync::{Arc, PoisonError, RwLock, atomic::Ordering},
    time::SystemTime,
};

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    convert::{self, Context},
    filter::{Wanted, WantedAlerts, WantedEvents},
    watch::{self, Messages, Range},
};
use crate::{
    container::{metadata::Connection, model::Container, registry::Listing},
    detect::alert::Alert,
    engine::Figures,
    event::Event,
    kernel::loader::{self, SensorState, SensorStatus},
    process::table,
    proto::v1,
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
    /// Name of the cgroup hierarchy.
    pub hierarchy: String,
    /// When the agent started.
    pub started: SystemTime,
    /// The kernel's release.
    pub kernel: String,
}

fn invalid(reason: String) -> Status {
    Status::invalid_argument(reason)
}

/// A limit of the API as a count.
fn limit(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

struct EventMessages {
    wanted: WantedEvents,
    context: Context,
}

impl Messages for EventMessages {
    type Value = Event;
    type Message = v1::EventsWatchResponse;

    fn wants(&self, event: &Event) -> bool {
        self.wanted.matches(event)
    }
    fn is_past_end(&self, event: &Event) -> bool {
        self.wanted
            .wanted
            .until
            .is_some_and(|until| event.time > until)
    }
    fn value(&self, number: u64, event: &Event) -> Self::Message {
        event_item(v1::events_watch_response::Item::Event(
            self.context.event(number, event),
        ))
    }
    fn lost(&self, count: u64, reason: &str) -> Self::Message {
        event_item(v1::events_watch_response::Item::Lost(v1::Lost {
            count,
            reason: reason.to_owned(),
        }))
    }
    fn amended(&self, container: &Arc<Container>) -> Self::Message {
        event_item(v1::events_watch_response::Item::Amended(convert::amended(
            container,
        )))
    }
    fn heartbeat(&self) -> Self::Message {
        event_item(v1::events_watch_response::Item::Heartbeat(heartbeat()))
    }
}

fn event_item(item: v1::events_watch_response::Item) -> v1::EventsWatchResponse {
    v1::EventsWatchResponse { item: Some(item) }
}

struct AlertMessages {
    wanted: WantedAlerts,
    context: Context,
}

impl Messages for AlertMessages {
    type Value = Alert;
    type Message = v1::AlertsWatchResponse;

    fn wants(&self, alert: &Alert) -> bool {
        self.wanted.matches(alert)
    }
    fn is_past_end(&self, alert: &Alert) -> bool {
        self.wanted
            .wanted
            .until
            .is_some_and(|until| alert.event.time > until)
    }
    fn value(&self, number: u64, alert: &Alert) -> Self::Message {
        alert_item(v1::alerts_watch_response::Item::Alert(
            self.context.alert(number, alert),
        ))
    }
    fn lost(&self, count: u64, reason: &str) -> Self::Message {
        alert_item(v1::alerts_watch_response::Item::Lost(v1::Lost {
            count,
            reason: reason.to_owned(),
        }))
    }
    fn amended(&self, container: &Arc<Container>) -> Self::Message {
        alert_item(v1::alerts_watch_response::Item::Amended(convert::amended(
            container,
        )))
    }
    fn heartbeat(&self) -> Self::Message {
        alert_item(v1::alerts_watch_response::Item::Heartbeat(heartbeat()))
    }
}

fn alert_item(item: v1::alerts_watch_response::Item) -> v1::AlertsWatchResponse {
    v1::AlertsWatchResponse { item: Some(item) }
}

fn heartbeat() -> v1::Heartbeat {
    v1::Heartbeat {
        time: Some(convert::timestamp(SystemTime::now())),
    }
}

#[tonic::async_trait]
impl v1::events_server::Events for Sources {
    type WatchStream = ReceiverStream<Result<v1::EventsWatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<v1::EventsWatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let wanted = Wanted::new(request.filter, request.since, request.until).map_err(invalid)?;
        let messages = EventMessages {
            wanted: WantedEvents {
                wanted,
                kinds: request.kinds,
            },
            context: self.context.clone(),
        };
        let range = Range {
            cursor: request.cursor,
            limit: limit(request.limit),
            follow: request.follow,
        };
        Ok(Response::new(watch::stream(
            Arc::clone(&self.events),
            &self.context,
            range,
            messages,
        )))
    }
}

#[tonic::async_trait]
impl v1::alerts_server::Alerts for Sources {
    type WatchStream = ReceiverStream<Result<v1::AlertsWatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<v1::AlertsWatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let wanted = Wanted::new(request.filter, request.since, request.until).map_err(invalid)?;
        let messages = AlertMessages {
            wanted: WantedAlerts {
                wanted,
                rules: request.rules,
                min_severity: request.min_severity,
            },
            context: self.context.clone(),
        };
        let range = Range {
            cursor: request.cursor,
            limit: limit(request.limit),
            follow: request.follow,
        };
        Ok(Response::new(watch::stream(
            Arc::clone(&self.alerts),
            &self.context,
            range,
            messages,
        )))
    }
}

#[tonic::async_trait]
impl v1::containers_server::Containers for Sources {
    async fn list(
        &self,
        request: Request<v1::ContainersListRequest>,
    ) -> Result<Response<v1::ContainersListResponse>, Status> {
        let ended = request.into_inner().ended;
        let containers = self
            .containers
            .all()
            .iter()
            .map(|container| convert::container(container))
            .filter(|container| ended || container.ended.is_none())
            .collect();
        Ok(Response::new(v1::ContainersListResponse { containers }))
    }
}

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
        let containers = self.containers.all();
        Ok(Response::new(v1::NodeStatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.context.node.clone(),
            kernel: self.kernel.clone(),
            boot_id: self.context.boot_id.clone(),
            started: Some(convert::timestamp(self.started)),
            sensors: self.sensors.iter().map(sensor).collect(),
            cgroup_hierarchy: self.hierarchy.clone(),
            oldest_event: self
                .events
                .oldest()
                .map(|event| convert::timestamp(event.time)),
            oldest_alert: self
                .alerts
                .oldest()
                .map(|alert| convert::timestamp(alert.event.time)),
            counters: Some(v1::Counters {
                events: figure(&self.figures.events),
                alerts: self.alerts.values(),
                lost: figure(&self.figures.lost),
                malformed: figure(&self.figures.malformed),
                processes: figure(&self.figures.processes),
                process_ceiling: table::CEILING as u64,
                processes_refused: figure(&self.figures.processes_refused),
                containers: containers
                    .iter()
                    .filter(|container| container.details().ended.is_none())
                    .count() as u64,
                subscribers: (self.events.subscribers() + self.alerts.subscribers()) as u64,
            }),
            degraded: self.degraded(&connection),
            runtime: Some(v1::RuntimeConnection {
                connected: connection.runtime.is_some(),
                socket: connection.socket,
                runtime: connection.runtime.unwrap_or_default(),
                reason: connection.reason,
            }),
        }))
    }
}

impl Sources {
    /// What works only in part, in a sentence each.
    fn degraded(&self, connection: &Connection) -> Vec<String> {
        let mut degraded: Vec<String> = self
            .sensors
            .iter()
            .filter(|status| !status.reason.is_empty())
            .map(|status| {
                let name = loader::name(status.sensor);
                match status.state {
                    SensorState::Active => format!("sensor {name}: {}", status.reason),
                    SensorState::Failed | SensorState::Disabled => format!(
                        "sensor {name}: {}: {}",
                        status.reason,
                        loader::consequence(status.sensor)
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
        name: loader::name(status.sensor).to_owned(),
        state: match status.state {
            SensorState::Active => v1::SensorState::Active,
            SensorState::Failed => v1::SensorState::Failed,
            SensorState::Disabled => v1::SensorState::Disabled,
        }
        .into(),
        rung: "tracing".to_owned(),
        hook: format!("tp_btf/{}", loader::hook(status.sensor)),
        reason: status.reason.clone(),
        verified_instructions: status.verified_instructions,
    }
}
