//! Metrics in OpenMetrics' text format, over HTTP.
//!
//! Every number is read when it is asked for. Series are bounded: those of single containers are there for containers that
//! have lost something and run, or have ended within ten minutes.

use std::{
    convert::Infallible,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Bytes, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};
use tokio::{net::TcpListener, sync::Semaphore};

use watchkeeper_ebpf::loss::{Class, Reason};

use super::sources::Sources;
use crate::event::class_name;
use crate::{
    event::LossReason,
    kernel::{attach::SensorState, sensors},
    process::table,
    proto::kind_name,
};

/// Connections at a time; more wait.
const MOST_CONNECTIONS: usize = 16;
/// How long a client may take to ask and to read, below the 10 s that Prometheus waits for a place.
const PATIENCE: Duration = Duration::from_secs(4);
/// Where the metrics are.
const PATH: &str = "/metrics";
/// As OpenMetrics 1.0 has it.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The address can't be listened at.
#[derive(Debug, thiserror::Error)]
#[error("listening for requests of metrics on {address}: {source}")]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// Where metrics can be asked for.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Listens at an address.
    ///
    /// # Errors
    /// When it is taken, or none of this host.
    pub async fn at(address: SocketAddr) -> Result<Self, ListenError> {
        let listen = async || {
            let listener = TcpListener::bind(address).await?;
            // Port 0 is any that is free.
            tracing::info!("metrics at http://{}{PATH}", listener.local_addr()?);
            Ok(Self(listener))
        };
        listen()
            .await
            .map_err(|source| ListenError { address, source })
    }

    /// Answers requests until it is dropped.
    pub async fn serve(self, sources: Sources) {
        let mut registry = Registry::with_prefix("watchkeeper");
        registry.register_collector(Box::new(Metrics(sources)));
        let registry = Arc::new(registry);
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            let stream = match self.0.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("taking a request of metrics: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            let registry = Arc::clone(&registry);
            tokio::spawn(async move {
                let answer = service_fn(|request| {
                    let answer = answer(&registry, &request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                // A client that hangs up, or asks for nothing, has nothing coming.
                let served = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), answer);
                let _ = tokio::time::timeout(PATIENCE, served).await;
                drop(place);
            });
        }
    }
}

fn answer<B>(registry: &Registry, request: &Request<B>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let (status, content_type, text) = if path != PATH {
        let text = format!("there is nothing here but {PATH}\n");
        (StatusCode::NOT_FOUND, "text/plain", text)
    } else if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let text = "metrics can only be read\n".to_owned();
        (StatusCode::METHOD_NOT_ALLOWED, "text/plain", text)
    } else {
        let mut text = String::new();
        match text::encode(&mut text, registry) {
            Ok(()) => (StatusCode::OK, CONTENT_TYPE, text),
            Err(error) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain",
                format!("writing the metrics: {error}\n"),
            ),
        }
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let content_type = header::HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

#[derive(Debug)]
struct Metrics(Sources);

/// Writes one family of metrics: its samples with their labels.
fn family<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    samples: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in samples {
        let mut sample = family.encode_family(&labels)?;
        match kind {
            MetricType::Counter => {
                sample.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            }
            _ => sample.encode_gauge(&value)?,
        }
    }
    Ok(())
}

/// Writes a family of one sample without labels.
fn single(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    value: u64,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    match kind {
        MetricType::Counter => family.encode_counter::<NoLabelSet, _, u64>(&value, None),
        _ => family.encode_gauge(&value),
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        self.agent(encoder)?;
        self.sensors(encoder)?;
        self.events(encoder)?;
        self.losses(encoder)?;
        self.policies(encoder)
    }
}

impl Metrics {
    fn agent(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let sources = &self.0;
        let figures = &sources.figures;
        let build = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("kernel", sources.kernel.as_str()),
        ];
        encoder
            .encode_descriptor("build", "The agent and the kernel.", None, MetricType::Info)?
            .encode_info(&build)?;
        let gauges = [
            (
                "containers",
                "Containers that run.",
                sources.containers.running() as u64,
            ),
            (
                "processes",
                "Processes in the table, those included that ended but have living descendants.",
                figures.processes.load(Ordering::Relaxed),
            ),
            (
                "processes_limit",
                "Most processes in the table.",
                table::CEILING as u64,
            ),
            (
                "subscribers",
                "Clients that follow a stream.",
                sources.subscribers() as u64,
            ),
        ];
        for (name, help, value) in gauges {
            single(encoder, name, help, MetricType::Gauge, value)?;
        }
        let counters = [
            (
                "processes_refused",
                "Processes that found no room in the table.",
                figures.processes_refused.load(Ordering::Relaxed),
            ),
            (
                "records_malformed",
                "Records of the kernel side that could not be decoded.",
                figures.malformed.load(Ordering::Relaxed),
            ),
            ("alerts", "Alerts raised.", sources.alerts.recent.values()),
        ];
        for (name, help, value) in counters {
            single(encoder, name, help, MetricType::Counter, value)?;
        }
        Ok(())
    }

    fn policies(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let policies = &self.0.policies;
        let set = policies.set();
        encoder
            .encode_descriptor(
                "policy_set",
                "The policies in force.",
                None,
                MetricType::Info,
            )?
            .encode_info(&[("digest", &**set.digest())])?;
        single(
            encoder,
            "policy_rules",
            "Rules in force.",
            MetricType::Gauge,
            set.rules().len() as u64,
        )?;
        let (loads, failures) = policies.loads();
        family(
            encoder,
            "policy_loads",
            "How often policies were taken over from their files, and how often they were refused.",
            MetricType::Counter,
            [("taken", loads), ("refused", failures)]
                .map(|(result, count)| ([("result", result)], count)),
        )?;
        single(
            encoder,
            "policy_problems",
            "What is wrong with the policy files as they are now; 0 when they are in force.",
            MetricType::Gauge,
            policies.problems().len() as u64,
        )?;
        let hits: u64 = set
            .exceptions()
            .iter()
            .map(|exception| exception.hits().0)
            .sum();
        single(
            encoder,
            "policy_excepted",
            "Findings that exceptions kept from becoming alerts.",
            MetricType::Counter,
            hits,
        )
    }

    fn sensors(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let samples = self.0.sensors.iter().flat_map(|status| {
            SensorState::ALL.into_iter().map(|state| {
                let labels = [
                    ("sensor", sensors::name(status.sensor)),
                    ("state", state.name()),
                ];
                (labels, u64::from(status.state == state))
            })
        });
        family(
            encoder,
            "sensor_state",
            "1 for the state that a sensor is in.",
            MetricType::Gauge,
            samples,
        )
    }

    fn events(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let samples = self.0.figures.events();
        family(
            encoder,
            "events",
            "Events, by kind.",
            MetricType::Counter,
            samples.map(|(kind, count)| ([("kind", kind_name(kind))], count)),
        )
    }

    fn losses(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let losses = self.0.figures.losses();
        // Each series from the beginning, so that the first loss is an increase.
        let reasons = || {
            Reason::ALL
                .into_iter()
                .map(LossReason::Kernel)
                .chain([LossReason::DetectionOverloaded])
        };
        let all = Class::ALL
            .into_iter()
            .flat_map(|class| reasons().map(move |reason| (class, reason)));
        family(
            encoder,
            "events_lost",
            "Events that were lost, by what they were about and why.",
            MetricType::Counter,
            all.map(|key @ (class, reason)| {
                let labels = [("class", class_name(class)), ("reason", reason.name())];
                (labels, losses.all.get(&key).copied().unwrap_or(0))
            }),
        )?;
        family(
            encoder,
            "container_events_lost",
            "Events of single containers that were lost, from the first on, by what they were about and why.",
            MetricType::Counter,
            losses
                .containers
                .iter()
                .map(|((_, class, reason), (container, count))| {
                    let details = container.details();
                    let description = &details.description;
                    let pod = description.pod.as_ref();
                    let of_pod = |part: Option<&String>| part.cloned().unwrap_or_default();
                    let labels = [
                        ("class", class_name(*class).to_owned()),
                        ("reason", reason.name().to_owned()),
                        ("container_id", container.id.clone()),
                        ("container", description.name.clone()),
                        ("pod", of_pod(pod.map(|pod| &pod.name))),
                        ("namespace", of_pod(pod.map(|pod| &pod.namespace))),
                    ];
                    (labels, *count)
                }),
        )
    }
}
