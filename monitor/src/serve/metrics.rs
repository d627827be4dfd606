//! Metrics in OpenMetrics' text format, over HTTP.
//!
//! Every number is read when it is asked for, from counters that are kept anyway: an event costs nothing more for them.
//! A counter is there with 0 from the beginning, so that its first increase is one. Labels that a container chooses are
//! escaped, and are names of pods and containers alone.
//!
//! Series are bounded. Most have labels from fixed lists: kinds of events, classes with lanes and reasons, sensors with
//! states, programs, queues, caches. Those of rules are as many as there are rules in force (at most 4,096, some 100 are
//! built in), with the severities that each can have. Those of single containers are there for containers that have lost
//! something and run, or have ended within ten minutes: at most one for each class and reason of each.

mod agent;
mod enrichment;
mod events;
mod health;
mod history;
mod kernel;
mod room;
mod rules;
mod streams;
mod writer;

use std::{convert::Infallible, fmt, sync::Arc};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Bytes, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    registry::Registry,
};

use self::writer::Writer;
use super::{port::Port, sources::Sources};

/// Where the metrics are.
const PATH: &str = "/metrics";
/// As OpenMetrics 1.0 has it.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers requests at a port, until it is dropped.
pub async fn serve(port: Port, sources: Sources) {
    let mut registry = Registry::with_prefix("watchkeeper");
    registry.register_collector(Box::new(Metrics(sources)));
    let registry = Arc::new(registry);
    port.serve(|stream| {
        let registry = Arc::clone(&registry);
        async move {
            let answer = service_fn(|request| {
                let answer = answer(&registry, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer);
            let _ = served.await;
        }
    })
    .await;
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

/// Everything that is told.
#[derive(Debug)]
struct Metrics(Sources);

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer::new(encoder);
        let parts = [
            agent::write,
            health::write,
            kernel::write,
            events::write,
            room::write,
            enrichment::write,
            rules::write,
            history::write,
            streams::write,
        ];
        parts
            .into_iter()
            .try_for_each(|write| write(&self.0, &mut writer))
    }
}
