//! gRPC's own services: health and reflection.

use tokio_stream::once;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::harness::agent::Agent;
use crate::harness::watch::connect;
use crate::harness::{skipped, within};

const SERVICES: [&str; 4] = [
    "watchkeeper.v1.Alerts",
    "watchkeeper.v1.Events",
    "watchkeeper.v1.Containers",
    "watchkeeper.v1.Node",
];

#[tokio::test(flavor = "multi_thread")]
async fn health_says_serving() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let mut client = HealthClient::new(connect(&agent.socket()).await);
    for service in ["", SERVICES[0]] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = within("Health.Check", client.check(request)).await;
        let answer = answer.unwrap_or_else(|error| panic!("`{service}`: {error}"));
        assert_eq!(
            answer.into_inner().status(),
            ServingStatus::Serving,
            "`{service}`"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_the_services() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&[]);
    let mut client = ServerReflectionClient::new(connect(&agent.socket()).await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answer = within("reflection", client.server_reflection_info(once(request))).await;
    let mut answer = answer.expect("reflection answers").into_inner();
    let message = within("reflection", answer.message()).await;
    let message = message
        .expect("the stream is whole")
        .and_then(|one| one.message_response);
    let Some(MessageResponse::ListServicesResponse(list)) = message else {
        panic!("not a list of services: {message:?}");
    };
    let names: Vec<String> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for service in SERVICES {
        assert!(
            names.iter().any(|name| name == service),
            "{service} in {names:?}"
        );
    }
}
