//! Whether the node is watched, as health checks are told.

use std::{pin::pin, sync::Arc};

use hyper::{
    server::conn::http2,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::sync::{Notify, watch};
use tonic::service::Routes;
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health as HealthService, HealthServer},
    server::HealthReporter,
};

use super::{port::Port, sources::Sources};
use crate::{heartbeat::Stage, proto::v1};

/// What is asked by this name is whether the agent itself works.
pub const LIVENESS: &str = "liveness";
/// What is asked by this name is whether the node is watched.
pub const READINESS: &str = "readiness";
/// Most bytes of a question, which is the name of a service.
const MAX_QUESTION: usize = 1 << 10;

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

/// The service `grpc.health.v1.Health`, which is asked for [`LIVENESS`], [`READINESS`], or one of `services` by name; and what keeps
/// it up to date until the agent stops.
pub(super) async fn service(
    mut health: watch::Receiver<Health>,
    services: &'static [&'static str],
) -> (HealthServer<impl HealthService>, impl Future<Output = ()>) {
    let (reporter, service) = tonic_health::server::health_reporter();
    // Before anybody can ask: what nobody has spoken of counts as serving.
    let now = health.borrow_and_update().clone();
    tell(&reporter, &now, services).await;
    let told = async move {
        while health.changed().await.is_ok() {
            let now = health.borrow_and_update().clone();
            tell(&reporter, &now, services).await;
        }
    };
    (service.max_decoding_message_size(MAX_QUESTION), told)
}

/// Tells how it stands. All services are served or none, and the empty name stands for all.
async fn tell(reporter: &HealthReporter, health: &Health, services: &[&str]) {
    let status = |is_well| {
        if is_well {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    };
    for service in services.iter().chain(&["", READINESS]) {
        let serving = status(health.is_serving);
        reporter.set_service_status(service, serving).await;
    }
    let live = status(health.is_live);
    reporter.set_service_status(LIVENESS, live).await;
}

/// Serves health and nothing else at a port, until the agent stops.
pub async fn serve(port: Port, health: watch::Receiver<Health>) {
    let (service, told) = service(health, &[]).await;
    let routes = TowerToHyperService::new(Routes::new(service));
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(4)
        .max_header_list_size(4 << 10)
        .max_send_buf_size(16 << 10)
        .initial_stream_window_size(16 << 10)
        .initial_connection_window_size(64 << 10);
    let served = port.serve(|stream| {
        let asked = Arc::new(Notify::new());
        let answer = {
            let (asked, routes) = (Arc::clone(&asked), routes.clone());
            service_fn(move |request| {
                asked.notify_one();
                routes.call(request)
            })
        };
        let served = http.serve_connection(TokioIo::new(stream), answer);
        async move {
            let mut served = pin!(served);
            // A kubelet asks once in a connection.
            tokio::select! {
                _ = &mut served => return,
                () = asked.notified() => served.as_mut().graceful_shutdown(),
            }
            let _ = served.await;
        }
    });
    tokio::select! {
        () = served => {}
        () = told => {}
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
