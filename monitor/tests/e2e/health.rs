//! gRPC's own services: health and reflection.

use tokio_stream::once;
use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::harness::agent::Agent;
use crate::harness::watch::connect;
use crate::harness::{command, eventually, skipped, within};

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
        // Not before the first heartbeat has come from the kernel to a client.
        let serving = async {
            let mut told = client.watch(request).await?.into_inner();
            while let Some(answer) = told.message().await? {
                if answer.status() == ServingStatus::Serving {
                    break;
                }
            }
            Ok::<_, Status>(())
        };
        let outcome = within("Health.Watch", serving).await;
        outcome.unwrap_or_else(|error| panic!("`{service}`: {error}"));
    }
    for arguments in [&["health"][..], &["health", "--live"]] {
        agent.query(arguments);
    }
    let status = agent.status().await;
    assert_eq!(
        status.counters.map(|counters| counters.subscribers),
        Some(0)
    );
    let health = status.health.expect("it is told");
    assert!(health.serving && health.live && health.reasons.is_empty());
    let stages = health.heartbeats.iter().filter(|stage| stage.number > 0);
    assert_eq!(stages.count(), 5, "{:?}", health.heartbeats);

    // They are events of their own kind, and no others are made of them.
    let beats = agent.query(&["events", "--kind", "heartbeat", "-o", "json"]);
    assert!(beats.contains("\"EVENT_KIND_HEARTBEAT\""), "{beats}");
    let others = agent.query(&["events", "-o", "json"]);
    for trace in [
        "\"EVENT_KIND_HEARTBEAT\"",
        "\"/proc/self/exe\",\"heartbeat\"",
    ] {
        let line = others.lines().find(|line| line.contains(trace));
        assert_eq!(line, None, "{trace}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_critical_sensor_the_node_is_not_served() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&["--disable-sensor", "process-exec"]);
    let said = eventually("health says what is wrong", || {
        let outcome = command::output(&mut agent.client(&["health"]));
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert_eq!(outcome.status.code(), Some(1), "{said}");
        // What is not hooked does not come.
        said.contains("no heartbeat came from the kernel")
            .then_some(said)
    });
    assert!(said.contains("sensor process-exec is not active"), "{said}");
    // A restart would not help.
    agent.query(&["health", "--live"]);
    let mut client = HealthClient::new(connect(&agent.socket()).await);
    let answer = within("Health.Check", client.check(HealthCheckRequest::default())).await;
    let status = answer.expect("it answers").into_inner().status();
    assert_eq!(status, ServingStatus::NotServing);
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
