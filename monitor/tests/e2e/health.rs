//! gRPC's own services: health and reflection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio_stream::once;
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use watchkeeper::proto::v1::NodeStatusRequest;
use watchkeeper::proto::v1::node_client::NodeClient;

use crate::harness::agent::Agent;
use crate::harness::kubelet::{probe, probe_from};
use crate::harness::watch::connect;
use crate::harness::{command, eventually, skipped, within};

/// As the agent calls what it listens for.
const HEALTH_CHECKS: &str = "health checks";

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
    let agent = Agent::start(&[
        "--disable-sensor",
        "process-exec",
        "--health-listen",
        "127.0.0.1:0",
    ]);
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
    let port = agent.listens_for(HEALTH_CHECKS);
    for (service, expected) in [
        ("readiness", ServingStatus::NotServing),
        ("", ServingStatus::NotServing),
        ("liveness", ServingStatus::Serving),
    ] {
        let answer = probe(port, service).await.expect("it answers");
        assert_eq!(answer, expected, "`{service}`");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_answered_at_a_port_and_nothing_else_is() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&["--health-listen", "[::]:0"]);
    let port = agent.listens_for(HEALTH_CHECKS).port();
    for address in [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ] {
        for service in ["liveness", "readiness", ""] {
            is_served_at((address, port).into(), service).await;
        }
    }
    let port = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let unknown = probe(port, SERVICES[0]).await.expect_err("nothing is told");
    assert_eq!(unknown.code(), Code::NotFound, "{unknown}");
    let long = probe(port, &"x".repeat(4096)).await;
    assert_eq!(long.expect_err("refused").code(), Code::OutOfRange);

    let endpoint = Endpoint::from_shared(format!("http://{port}")).expect("an address");
    let channel = within("connecting", endpoint.connect()).await;
    let mut node = NodeClient::new(channel.expect("it listens"));
    let status = within("Node.Status", node.status(NodeStatusRequest {})).await;
    let refused = status.expect_err("this is not told here");
    assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hoards_connections_keeps_nobody_else_out() {
    if skipped() {
        return;
    }
    let agent = Agent::start(&["--health-listen", "127.0.0.1:0"]);
    let port = agent.listens_for(HEALTH_CHECKS);
    is_served_at(port, "liveness").await;
    // Connections that ask for nothing, from eight addresses.
    let address = |host| Ipv4Addr::new(127, 0, 0, host);
    let mut hoard = Vec::new();
    for host in 1..=8 {
        for _ in 0..50 {
            let socket = TcpSocket::new_v4().expect("there is a socket");
            let bound = socket.bind((address(host), 0).into());
            bound.expect("the address is of this host");
            hoard.push(socket.connect(port).await.expect("it listens"));
        }
    }
    // None of them has been let go of.
    for host in [1, 8, 9] {
        let answer = probe_from(Some(address(host).into()), port, "liveness").await;
        assert_eq!(answer.ok(), Some(ServingStatus::Serving), "{host}");
    }
    drop(hoard);
}

/// Asks until a service is served.
async fn is_served_at(port: SocketAddr, service: &str) {
    let asked = async {
        while probe(port, service).await.ok() != Some(ServingStatus::Serving) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(service, asked).await;
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
