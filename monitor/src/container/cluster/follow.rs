//! Asks the API server, and takes in what it tells as it changes.

use std::{
    collections::HashMap,
    fmt::Debug,
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use k8s_openapi::{
    api::core::v1::{Namespace, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Config, Resource,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
    core::PartialObjectMeta,
    runtime::{
        utils::Backoff as _,
        watcher::{self, DefaultBackoff, Event, watcher},
    },
};
use serde::de::DeserializeOwned;

use super::{
    super::{cri::root_cause, listing::Listing, model::Container},
    knowledge::{Cluster, Link, Objects},
    owner,
};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// When to look again whether there is a way to the API server.
const NO_WAY: Duration = Duration::from_secs(30);
/// How long the API server keeps a question open without a change, in seconds; a connection that died without a word is noticed
/// not long after that.
const QUIET_SECONDS: u32 = 120;
/// On the API server's picture of a pod that kubelet has from a file or its own address: the uid that kubelet and the runtime know it
/// by.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The way to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// By the service account of the agent's own pod.
    OfThePod,
    /// As a file says, for agents outside of pods.
    Kubeconfig(PathBuf),
}

/// Called when more is known of a container.
type Changed = dyn Fn(&Arc<Container>) + Send + Sync;

/// Follows what the API server knows of this node's pods.
pub struct Follower {
    server: Server,
    node: String,
    cluster: Arc<Cluster>,
    containers: Arc<Listing>,
    changed: Box<Changed>,
}

impl Follower {
    /// Of this node, by the name that it has in the cluster. Calls `changed` whenever more is known of a container.
    pub fn new(
        server: Server,
        node: String,
        cluster: Arc<Cluster>,
        containers: Arc<Listing>,
        changed: impl Fn(&Arc<Container>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            server,
            node,
            cluster,
            containers,
            changed: Box::new(changed),
        }
    }

    /// Follows for ever.
    pub async fn run(self) {
        let client = self.client().await;
        let of_node = watcher::Config::default().fields(&format!("spec.nodeName={}", self.node));
        tokio::join!(
            self.follow::<Pod, _>(&client, "pods", of_node, &self.cluster.pods, |pod| {
                let uid = pod.annotations.as_ref().and_then(|all| all.get(MIRROR));
                let uid = uid.or(pod.uid.as_ref())?.clone();
                Some((uid, owner::workload(pod)))
            }),
            self.follow::<Namespace, _>(
                &client,
                "namespaces",
                watcher::Config::default(),
                &self.cluster.namespaces,
                |namespace| {
                    let labels = namespace.labels.clone().unwrap_or_default();
                    Some((namespace.name.clone()?, labels))
                },
            ),
        );
    }

    /// A client, as soon as there is a way to the API server: a token may be mounted later, a file written.
    async fn client(&self) -> Client {
        loop {
            let error = match self.server.client().await {
                Ok(client) => return client,
                Err(error) => format!("{error:#}"),
            };
            let failed = Link::Failed(error.clone());
            self.cluster.namespaces.set_link(failed.clone());
            if self.cluster.pods.set_link(failed) {
                tracing::warn!("no workloads and no labels of namespaces: {error}");
            }
            tokio::time::sleep(NO_WAY).await;
        }
    }

    /// Follows the objects of one kind. After each failure all of them are asked for again, so that it is known for sure how it is:
    /// it costs the API server little, which may answer from its cache.
    async fn follow<K, T>(
        &self,
        client: &Client,
        name: &str,
        which: watcher::Config,
        objects: &Objects<T>,
        read: impl Fn(&ObjectMeta) -> Option<(String, T)>,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
        T: Clone + PartialEq,
    {
        let which = which.any_semantic().timeout(QUIET_SECONDS);
        // Doubles, up to half a minute, and differs from node to node.
        let mut pauses = DefaultBackoff::default();
        loop {
            let api = Api::<PartialObjectMeta<K>>::all(client.clone());
            let mut events = pin!(watcher(api, which.clone()));
            let mut all = HashMap::new();
            let error = loop {
                let event = match events.next().await {
                    Some(Ok(event)) => event,
                    Some(Err(error)) => break said(error),
                    None => break "the API server ended the answer".to_owned(),
                };
                match event {
                    Event::Init => all.clear(),
                    Event::InitApply(object) => {
                        if let Some((key, value)) = read(&object.metadata)
                            && objects.takes(&all, &key)
                        {
                            all.insert(key, value);
                        }
                    }
                    Event::InitDone => {
                        objects.replace(std::mem::take(&mut all));
                        if objects.set_link(Link::Following) {
                            let count = objects.occupancy.get();
                            tracing::info!("the API server tells of {count} {name}");
                        }
                        pauses.reset();
                        self.tell_all();
                    }
                    Event::Apply(object) => {
                        if let Some((key, value)) = read(&object.metadata)
                            && objects.put(key, value)
                        {
                            self.tell_all();
                        }
                    }
                    Event::Delete(object) => {
                        if let Some((key, _)) = read(&object.metadata) {
                            objects.remove(&key);
                        }
                    }
                }
            };
            objects.failures.fetch_add(1, Ordering::Relaxed);
            if objects.set_link(Link::Failed(error.clone())) {
                tracing::warn!("asking the API server for {name}: {error}");
            }
            tokio::time::sleep(pauses.next().unwrap_or(NO_WAY)).await;
        }
    }

    /// Brings what is known to the containers that run.
    fn tell_all(&self) {
        for container in self.containers.all() {
            if container.details().ended.is_none() && self.cluster.tell(&container) {
                (self.changed)(&container);
            }
        }
    }
}

impl Server {
    async fn client(&self) -> anyhow::Result<Client> {
        let mut config = match self {
            Self::OfThePod => Config::incluster().context(
                "no way to the API server from this pod (is the token of its service account mounted, as components/enrichment does it? \
                 Outside of a pod, name a kubeconfig file)",
            )?,
            Self::Kubeconfig(path) => by_file(path)
                .await
                .map_err(|error| anyhow::anyhow!("{}", root_cause(&error)))
                .with_context(|| format!("reading {}", path.display()))?,
        };
        config.connect_timeout = Some(CONNECT);
        Client::try_from(config).context("setting up the connection to the API server")
    }
}

async fn by_file(path: &Path) -> Result<Config, KubeconfigError> {
    let file = Kubeconfig::read_from(path)?;
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await
}

/// What is wrong, in words of the API server where it has some.
fn said(error: watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.message,
        other => format!("no answer: {}", root_cause(&other)),
    }
}
