//! `watchkeeper.v1.Containers`

use tonic::{Request, Response, Status};

use super::{convert, sources::Sources};
use crate::{container::isolation::Isolation, interpret::identity, proto::v1};

#[tonic::async_trait]
impl v1::containers_server::Containers for Sources {
    async fn list(
        &self,
        request: Request<v1::ContainersListRequest>,
    ) -> Result<Response<v1::ContainersListResponse>, Status> {
        let wanted = request.into_inner();
        let mut containers: Vec<v1::Container> = self
            .containers
            .all()
            .iter()
            .map(|container| convert::container(container))
            .filter(|container| wanted.ended || container.ended.is_none())
            .collect();
        if wanted.isolation {
            // Procfs is read for each.
            containers = tokio::task::spawn_blocking(move || {
                for container in &mut containers {
                    container.isolation = isolation(container);
                }
                containers
            })
            .await
            .map_err(|error| Status::internal(format!("reading procfs failed: {error}")))?;
        }
        Ok(Response::new(v1::ContainersListResponse { containers }))
    }
}

/// How a running container is kept apart.
fn isolation(container: &v1::Container) -> Option<v1::Isolation> {
    if container.init_pid == 0 || container.ended.is_some() {
        return None;
    }
    let found = Isolation::read(container.init_pid, &container.cgroup_path)?;
    Some(v1::Isolation {
        weaknesses: found.weaknesses(),
        host_namespaces: found
            .host_namespaces
            .into_iter()
            .map(str::to_owned)
            .collect(),
        uid: Some(found.uid),
        cap_effective: identity::capabilities(found.cap_effective),
        seccomp: found.seccomp.to_owned(),
        no_new_privileges: found.no_new_privileges,
        label: found.label,
        read_only_root: found.read_only_root,
        mounts: found
            .mounts
            .into_iter()
            .map(|mount| v1::HostMount {
                path: mount.path,
                host_path: mount.host_path,
                filesystem: mount.filesystem,
                read_only: mount.read_only,
            })
            .collect(),
    })
}
