//! The Kubernetes Container Runtime Interface: what a runtime says of a container. Read-only.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use super::{
    model::{Description, Pod},
    shape::Runtime,
};
use crate::proto::cri::{
    ContainerFilter, ContainerStatusRequest, ListContainersRequest, ListPodSandboxRequest,
    PodSandboxFilter, VersionRequest, runtime_service_client::RuntimeServiceClient,
};

/// Where runtimes listen, the usual first.
const USUAL_SOCKETS: [&str; 6] = [
    "/run/crio/crio.sock",
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/k0s/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
    "/run/cri-dockerd.sock",
];

/// Longest time that a runtime may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of an answer: a list of every container of a large node is below one megabyte.
const MAX_ANSWER: usize = 16 << 20;

/// Which socket to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Socket {
    /// The first of the usual ones that exists.
    Auto,
    /// This one.
    Path(PathBuf),
    /// None: names and pods stay unknown.
    None,
}

impl Socket {
    /// The path that was told.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Auto | Self::None => None,
        }
    }
}

impl CriError {
    /// Whether the connection is gone, and not only this question unanswered.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        match self {
            Self::Connect { .. } => true,
            Self::Call(status) => matches!(status.code(), Code::Unavailable | Code::Unknown),
        }
    }
}

/// A connection to a runtime.
#[derive(Clone, Debug)]
pub struct Cri {
    client: RuntimeServiceClient<Channel>,
    /// Its own name and version.
    pub version: String,
    /// The runtime, where its name is known.
    runtime: Option<Runtime>,
}

/// The runtime could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum CriError {
    /// Nobody answers at the socket.
    #[error("connecting to {path}: {reason}")]
    Connect {
        /// The socket.
        path: String,
        /// Why.
        reason: String,
    },
    /// It answered with an error.
    #[error("asking the runtime: {} ({:?})", .0.message(), .0.code())]
    Call(#[from] Status),
}

impl Socket {
    /// Connects to the first socket that answers: with several there may be one that a runtime left behind. Comes with
    /// the path, or with why there is no connection, and the path where there was one to try.
    ///
    /// # Errors
    /// When none answers.
    pub async fn connect(&self) -> Result<(PathBuf, Cri), (PathBuf, String)> {
        let paths = match self {
            Self::None => {
                let reason = "switched off by --cri-socket none".to_owned();
                return Err((PathBuf::new(), reason));
            }
            Self::Path(path) => vec![path.clone()],
            Self::Auto => {
                let usual = USUAL_SOCKETS.iter().map(PathBuf::from);
                usual.filter(|path| path.exists()).collect()
            }
        };
        let mut refused = (
            PathBuf::new(),
            "no container runtime's socket at the usual places; name it with --cri-socket"
                .to_owned(),
        );
        for path in paths {
            match Cri::connect(&path).await {
                Ok(cri) => return Ok((path, cri)),
                Err(error) => refused = (path, error.to_string()),
            }
        }
        Err(refused)
    }
}

impl Cri {
    /// Connects, and asks for the runtime's name.
    ///
    /// # Errors
    /// When nobody listens, or what listens does not speak CRI v1.
    async fn connect(path: &Path) -> Result<Self, CriError> {
        let connect_error = |reason: String| CriError::Connect {
            path: path.display().to_string(),
            reason,
        };
        if !path.exists() {
            return Err(connect_error("there is no such socket".to_owned()));
        }
        let channel = Endpoint::from_shared(format!("unix://{}", path.display()))
            .map_err(|error| connect_error(error.to_string()))?
            .connect_timeout(TIMEOUT)
            .timeout(TIMEOUT)
            .connect()
            .await
            .map_err(|error| connect_error(root_cause(&error)))?;
        let mut client = RuntimeServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER);
        let version = client
            .version(VersionRequest::default())
            .await?
            .into_inner();
        let runtime = match version.runtime_name.as_str() {
            "containerd" => Some(Runtime::Containerd),
            "cri-o" => Some(Runtime::CriO),
            "docker" => Some(Runtime::Docker),
            _ => None,
        };
        Ok(Self {
            client,
            version: format!("{} {}", version.runtime_name, version.runtime_version),
            runtime,
        })
    }

    /// Describes a container or a sandbox; `None` when the runtime does not know it.
    ///
    /// # Errors
    /// When the runtime can't be asked.
    pub async fn describe(&self, id: &str) -> Result<Option<Description>, CriError> {
        let mut client = self.client.clone();
        let listed = client
            .list_containers(ListContainersRequest {
                filter: Some(ContainerFilter {
                    id: id.to_owned(),
                    pod_sandbox_id: String::new(),
                }),
            })
            .await?
            .into_inner()
            .containers
            .into_iter()
            .find(|container| container.id == id);
        let Some(listed) = listed else {
            let pod = self.pod(id).await?;
            return Ok(pod.map(|pod| Description {
                runtime: self.runtime,
                labels: pod.labels.clone(),
                pod: Some(pod),
                sandbox: true,
                ..Description::default()
            }));
        };
        // The status knows the image by name and digest; the list only repeats what the kubelet asked for.
        let status = match client
            .container_status(ContainerStatusRequest {
                container_id: id.to_owned(),
                verbose: false,
            })
            .await
        {
            Ok(answer) => answer.into_inner().status,
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => return Err(status.into()),
        };
        let (image, image_digest) = match status {
            Some(status) => (
                status.image.map(|image| image.image).unwrap_or_default(),
                status.image_ref,
            ),
            None => (
                listed.image.map(|image| image.image).unwrap_or_default(),
                listed.image_ref,
            ),
        };
        Ok(Some(Description {
            runtime: self.runtime,
            name: listed
                .metadata
                .map(|metadata| metadata.name)
                .unwrap_or_default(),
            image,
            image_digest,
            labels: listed.labels.into_iter().collect(),
            pod: self.pod(&listed.pod_sandbox_id).await?,
            sandbox: false,
        }))
    }

    /// The pod of a sandbox.
    async fn pod(&self, sandbox: &str) -> Result<Option<Pod>, CriError> {
        let mut client = self.client.clone();
        let sandboxes = client
            .list_pod_sandbox(ListPodSandboxRequest {
                filter: Some(PodSandboxFilter {
                    id: sandbox.to_owned(),
                }),
            })
            .await?
            .into_inner()
            .items;
        Ok(sandboxes
            .into_iter()
            .find(|found| found.id == sandbox)
            .map(|found| {
                let metadata = found.metadata.unwrap_or_default();
                Pod {
                    uid: metadata.uid,
                    name: metadata.name,
                    namespace: metadata.namespace,
                    labels: found.labels.into_iter().collect(),
                    ..Pod::default()
                }
            }))
    }
}

/// The innermost cause of an error: that of a transport says only "transport error" itself.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
