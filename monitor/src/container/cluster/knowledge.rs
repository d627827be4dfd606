//! What the API server has told, and how it is with asking it.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::super::model::{Container, Description, Labels, NamespaceLabels, Workload};
use crate::occupancy::Occupancy;

/// Pods that are remembered: several times what kubelet allows on a node.
const PODS: usize = 4_096;
/// Namespaces likewise: what Kubernetes is tested with.
const NAMESPACES: usize = 16_384;

/// How it is with following one kind of object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// It has not answered yet.
    #[default]
    Waiting,
    /// All objects have come, and changes do.
    Following,
    /// It can't be asked: why.
    Failed(String),
}

/// The objects of one kind.
#[derive(Debug)]
pub struct Objects<T> {
    /// What is known of each.
    known: RwLock<HashMap<String, T>>,
    link: RwLock<Link>,
    /// How many there are.
    pub occupancy: Occupancy,
    /// How often following them failed.
    pub(super) failures: AtomicU64,
}

/// See the module.
#[derive(Debug)]
pub struct Cluster {
    /// Whether the API server is asked at all.
    pub is_asked: bool,
    /// The workloads of this node's pods, by the uid that the runtime knows them by.
    pub pods: Objects<Workload>,
    /// The labels of namespaces, by name.
    pub namespaces: Objects<Labels>,
}

impl<T: Clone + PartialEq> Objects<T> {
    fn new(name: &'static str, limit: usize) -> Self {
        Self {
            known: RwLock::default(),
            link: RwLock::default(),
            occupancy: Occupancy::new(name, limit),
            failures: AtomicU64::new(0),
        }
    }

    /// What is known of one.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<T> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(key).cloned()
    }

    /// How it is with asking.
    #[must_use]
    pub fn link(&self) -> Link {
        let link = self.link.read().unwrap_or_else(PoisonError::into_inner);
        link.clone()
    }

    /// Notes how it is with asking; whether that is news.
    pub(super) fn set_link(&self, now: Link) -> bool {
        let mut link = self.link.write().unwrap_or_else(PoisonError::into_inner);
        let is_news = *link != now;
        *link = now;
        is_news
    }

    /// Replaces all; what exceeds the limit is left out.
    pub(super) fn replace(&self, all: HashMap<String, T>) {
        self.occupancy.set(all.len());
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// Notes one that is new or has changed; whether anything is different now. One too many is left out.
    pub(super) fn put(&self, key: String, value: T) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.get(&key) == Some(&value) || !self.takes(&known, &key) {
            return false;
        }
        known.insert(key, value);
        self.occupancy.set(known.len());
        true
    }

    /// Whether there is room for an object among these.
    pub(super) fn takes(&self, known: &HashMap<String, T>, key: &str) -> bool {
        (known.len() as u64) < self.occupancy.limit || known.contains_key(key)
    }

    /// Forgets one.
    pub(super) fn remove(&self, key: &str) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(key);
        self.occupancy.set(known.len());
    }
}

impl Cluster {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(is_asked: bool) -> Self {
        Self {
            is_asked,
            pods: Objects::new("kubernetes-pods", PODS),
            namespaces: Objects::new("kubernetes-namespaces", NAMESPACES),
        }
    }

    /// How it is with each kind of object, by its name.
    #[must_use]
    pub fn links(&self) -> [(&'static str, Link); 2] {
        [
            ("pods", self.pods.link()),
            ("namespaces", self.namespaces.link()),
        ]
    }

    /// How often following each kind of object failed, by its name.
    #[must_use]
    pub fn failures(&self) -> [(&'static str, u64); 2] {
        [
            ("pods", self.pods.failures.load(Ordering::Relaxed)),
            (
                "namespaces",
                self.namespaces.failures.load(Ordering::Relaxed),
            ),
        ]
    }

    /// How much is remembered.
    #[must_use]
    pub fn caches(&self) -> [&Occupancy; 2] {
        [&self.pods.occupancy, &self.namespaces.occupancy]
    }

    /// Adds what is known of a container's pod to what the runtime says of it. What was known before and is not any more stays: a pod
    /// may be gone from the API server before its last process is.
    pub fn complete(&self, description: &mut Description) {
        let Some(pod) = description.pod.as_mut().filter(|_| self.is_asked) else {
            return;
        };
        if let Some(workload) = self.pods.get(&pod.uid) {
            pod.workload = Some(workload);
        }
        match self.namespaces.get(&pod.namespace) {
            Some(labels) => pod.namespace_labels = NamespaceLabels::Known(labels),
            None if pod.namespace_labels == NamespaceLabels::Unknown => {
                pod.namespace_labels = NamespaceLabels::Pending;
            }
            None => {}
        }
    }

    /// Adds what is known now to a container; whether that was more than before.
    #[must_use]
    pub fn tell(&self, container: &Container) -> bool {
        let before = container.details();
        let mut description = before.description.clone();
        self.complete(&mut description);
        if description == before.description {
            return false;
        }
        // What the runtime has said in the meantime stays.
        container.learn(|details| self.complete(&mut details.description));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::model::Pod;

    fn description() -> Description {
        Description {
            pod: Some(Pod {
                uid: "u".to_owned(),
                namespace: "shop".to_owned(),
                ..Pod::default()
            }),
            ..Description::default()
        }
    }

    fn pod(description: &Description) -> Pod {
        description.pod.clone().expect("a pod")
    }

    #[test]
    fn what_is_not_known_yet_is_told_from_what_nobody_asks() {
        let mut of_nobody = description();
        Cluster::new(false).complete(&mut of_nobody);
        assert_eq!(of_nobody, description());

        let cluster = Cluster::new(true);
        let mut asked = description();
        cluster.complete(&mut asked);
        assert_eq!(pod(&asked).namespace_labels, NamespaceLabels::Pending);
        assert_eq!(pod(&asked).workload, None);

        let labels: Labels = [("team".to_owned(), "red".to_owned())].into();
        let workload = Workload {
            kind: "Deployment".to_owned(),
            name: "web".to_owned(),
        };
        assert!(cluster.namespaces.put("shop".to_owned(), labels.clone()));
        assert!(!cluster.namespaces.put("shop".to_owned(), labels.clone()));
        assert!(cluster.pods.put("u".to_owned(), workload.clone()));
        cluster.complete(&mut asked);
        let known = NamespaceLabels::Known(labels);
        assert_eq!(pod(&asked).namespace_labels, known);
        assert_eq!(pod(&asked).workload.as_ref(), Some(&workload));

        cluster.namespaces.remove("shop");
        cluster.pods.remove("u");
        cluster.complete(&mut asked);
        assert_eq!(pod(&asked).namespace_labels, known, "it stays");
        assert_eq!(pod(&asked).workload, Some(workload));
    }

    #[test]
    fn there_is_a_ceiling() {
        let objects = Objects::new("few", 2);
        for key in ["a", "b", "c"] {
            objects.put(key.to_owned(), 1);
        }
        assert_eq!(objects.get("c"), None);
        assert_eq!(objects.occupancy.get(), 2);
        assert!(objects.put("a".to_owned(), 2), "what is there may change");
        assert_eq!(objects.get("a"), Some(2));
    }
}
