//! A container, and what becomes known of it over time.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use super::shape::{Runtime, Shape};

/// Names with values, as Kubernetes and the runtimes attach them.
pub type Labels = BTreeMap<String, String>;

/// A container. What its cgroup tells is fixed; what the runtime tells comes later.
#[derive(Debug)]
pub struct Container {
    /// The runtime's id.
    pub id: String,
    /// The runtime, as far as the cgroup's path tells.
    pub shape_runtime: Runtime,
    /// The pod's uid as the cgroup carries it.
    pub shape_pod_uid: Option<String>,
    /// Path of its cgroup.
    pub cgroup_path: String,
    /// Id of its cgroup.
    pub cgroup_id: u64,
    /// Its number in the kernel's map, never used twice.
    pub slot: u32,
    /// When the agent first saw it.
    pub first_seen: SystemTime,
    first: OnceLock<First>,
    details: RwLock<Arc<Details>>,
}

/// What the first program of a container tells of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct First {
    /// Device of the filesystem that the container's root directory lies on, where the program was part of an image; 0 where that is
    /// not known.
    pub root_device: u32,
    /// Capabilities that its processes can have: the bounding set.
    pub bounding: u64,
    /// Its user namespace.
    pub user_ns: u32,
}

/// What is kept of a container; the fields are those of [`Container`].
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "see `Container`")]
pub struct Known {
    pub id: String,
    pub cgroup_path: String,
    pub cgroup_id: u64,
    pub first_seen: SystemTime,
    pub details: Details,
}

/// What is learnt of a container while it lives.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// How much of what the runtime knows has arrived.
    pub metadata: Metadata,
    /// What the runtime says of it; before that, what its cgroup tells of its pod.
    pub description: Description,
    /// Host pid of its first process.
    pub init_pid: u32,
    /// When its cgroup was removed.
    pub ended: Option<SystemTime>,
}

/// What a runtime says of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The runtime by its own name.
    pub runtime: Option<Runtime>,
    /// Name in the pod, or the name that the runtime gave it.
    pub name: String,
    /// Image as it was asked for.
    pub image: String,
    /// Image as a digest or id.
    pub image_digest: String,
    /// Labels of the container.
    pub labels: Labels,
    /// The pod it is part of.
    pub pod: Option<Pod>,
    /// It only holds a pod's namespaces.
    pub sandbox: bool,
}

/// How much of what the runtime knows has arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Metadata {
    /// Not asked for, or not answered yet.
    #[default]
    Pending,
    /// All of it.
    Complete,
    /// The runtime can't be asked or doesn't know: with the reason.
    Unavailable(String),
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// As the API server knows it.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: Labels,
    /// What it belongs to, which the API server alone knows; `None` where nobody has asked, or nothing was answered yet.
    pub workload: Option<Workload>,
    /// Labels of its namespace.
    pub namespace_labels: NamespaceLabels,
}

/// What a pod belongs to, as its operator knows it: a Deployment, and not the ReplicaSet in between. A pod that nothing made is its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Kind of the object, as in Kubernetes: `Deployment`.
    pub kind: String,
    /// Its name; its namespace is the pod's.
    pub name: String,
}

impl Workload {
    /// From `KIND/NAME`, as it is displayed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once('/')?;
        Some(Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.kind, self.name)
    }
}

/// Labels of a pod's namespace, which the API server alone knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NamespaceLabels {
    /// Nobody asks it.
    #[default]
    Unknown,
    /// It has not told them yet.
    Pending,
    /// It has.
    Known(Labels),
}

impl NamespaceLabels {
    /// The labels, where they are known.
    #[must_use]
    pub fn known(&self) -> Option<&Labels> {
        match self {
            Self::Known(labels) => Some(labels),
            Self::Unknown | Self::Pending => None,
        }
    }
}

impl Container {
    /// A container that was just recognised.
    #[must_use]
    pub fn new(shape: Shape, cgroup_path: String, cgroup_id: u64, slot: u32) -> Self {
        let pod = shape.pod_uid.clone().map(|uid| Pod {
            uid,
            ..Pod::default()
        });
        Self {
            id: shape.id,
            shape_runtime: shape.runtime,
            shape_pod_uid: shape.pod_uid,
            cgroup_path,
            cgroup_id,
            slot,
            first_seen: SystemTime::now(),
            first: OnceLock::new(),
            details: RwLock::new(Arc::new(Details {
                description: Description {
                    pod,
                    ..Description::default()
                },
                ..Details::default()
            })),
        }
    }

    /// A container of the past. It is in no map of the kernel, and has a number that none there has.
    #[must_use]
    pub fn restore(known: Known) -> Self {
        // Those of the kernel's map are counted up.
        static NEXT: AtomicU32 = AtomicU32::new(u32::MAX);
        Self {
            id: known.id,
            shape_runtime: known
                .details
                .description
                .runtime
                .unwrap_or(Runtime::Unknown),
            shape_pod_uid: None,
            cgroup_path: known.cgroup_path,
            cgroup_id: known.cgroup_id,
            slot: NEXT.fetch_sub(1, Ordering::Relaxed),
            first_seen: known.first_seen,
            first: OnceLock::new(),
            details: RwLock::new(Arc::new(known.details)),
        }
    }

    /// Device of the filesystem that its root directory lies on; 0 where that is not known.
    #[must_use]
    pub fn root_device(&self) -> u32 {
        self.first.get().map_or(0, |first| first.root_device)
    }

    /// Capabilities that its first process could have, and the user namespace that they count in; 0 where that is not known.
    #[must_use]
    pub fn first_capabilities(&self) -> (u64, u32) {
        self.first
            .get()
            .map_or((0, 0), |first| (first.bounding, first.user_ns))
    }

    /// Notes what its first program tells.
    pub fn begins(&self, first: First) {
        // Only the first one counts.
        let _ = self.first.set(first);
    }

    /// What is known now.
    #[must_use]
    pub fn details(&self) -> Arc<Details> {
        Arc::clone(&self.details.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what is known.
    pub fn learn(&self, change: impl FnOnce(&mut Details)) {
        let mut details = self.details.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut details));
    }

    /// Takes in what the runtime says, and what `complete` adds to that. A pod that it does not tell stays what the cgroup told.
    pub fn describe(&self, description: Description, complete: impl FnOnce(&mut Description)) {
        self.learn(|details| {
            let known = details.description.pod.take();
            details.metadata = Metadata::Complete;
            details.description = description;
            details.description.pod = details.description.pod.take().or(known);
            complete(&mut details.description);
        });
    }

    /// The runtime, by its own word where it gave it.
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        self.details()
            .description
            .runtime
            .unwrap_or(self.shape_runtime)
    }

    /// Whether it is so new that its runtime may still tell its name and pod.
    #[must_use]
    pub fn is_unnamed(&self) -> bool {
        self.is_new() && self.details().metadata != Metadata::Complete
    }

    /// Whether it is so new that what it is selected by may still come: its name and pod, and where the API server is asked, the
    /// workload and the labels of its namespace.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        let details = self.details();
        let pod = details.description.pod.as_ref();
        let is_told = pod.is_none_or(|pod| match pod.namespace_labels {
            NamespaceLabels::Unknown => true,
            NamespaceLabels::Pending => false,
            NamespaceLabels::Known(_) => pod.workload.is_some(),
        });
        self.is_new() && (details.metadata != Metadata::Complete || !is_told)
    }

    fn is_new(&self) -> bool {
        const NEW: Duration = Duration::from_secs(2);
        self.first_seen.elapsed().unwrap_or_default() < NEW
    }

    /// Whether the Kubernetes CRI is who knows this container.
    #[must_use]
    pub fn is_cri(&self) -> bool {
        self.shape_pod_uid.is_some()
            || matches!(self.shape_runtime, Runtime::CriO | Runtime::Containerd)
    }
}
