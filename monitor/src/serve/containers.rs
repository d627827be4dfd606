//! `watchkeeper.v1.Containers`

use tonic::{Request, Response, Status};

use super::{convert, sources::Sources};
use crate::proto::v1;

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
