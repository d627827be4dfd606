//! gRPC probes, as the kubelet makes them: a connection each, without TLS, and one question.

use std::net::{IpAddr, SocketAddr};

use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::within;

/// Asks for a service, from an address of this host or any.
pub(crate) async fn probe_from(
    source: Option<IpAddr>,
    address: SocketAddr,
    service: &str,
) -> Result<ServingStatus, Status> {
    let asked = async {
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let endpoint = endpoint
            .and_then(|endpoint| endpoint.user_agent("kube-probe/1.33"))
            .expect("it is an address")
            .local_address(source);
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| Status::new(Code::Unavailable, format!("{error:?}")))?;
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = HealthClient::new(channel).check(request).await?;
        Ok(answer.into_inner().status())
    };
    within("a probe", asked).await
}

/// See [`probe_from`].
pub(crate) async fn probe(address: SocketAddr, service: &str) -> Result<ServingStatus, Status> {
    probe_from(None, address, service).await
}
