//! What a workload usually does on the network: learnt from the first minutes in which it is seen, and told when it does something
//! else later.
//!
//! A workload is an image in a namespace, under the container's name, so that what one of its pods taught holds for the next.

use std::{
    hash::{BuildHasher as _, RandomState},
    num::NonZeroUsize,
    time::{Duration, SystemTime},
};

use hashbrown::HashSet;
use lru::LruCache;

use super::said::Said;
use crate::{
    container::model::Details,
    event::{Detail, Event},
    proto::v1::{self, EventKind},
};

const LISTENER: &str = "net.listener-new";
const FLOW: &str = "net.outside-policy";
/// How long is usually learnt, from the first event of a workload.
pub const LEARNING: Duration = Duration::from_secs(600);
/// Workloads that are remembered.
pub(super) const WORKLOADS: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");
/// What is remembered of one; one that does more than that is not told of.
const MAX_KNOWN: usize = 256;

#[derive(Debug)]
struct Known {
    since: SystemTime,
    ports: HashSet<u32>,
    /// Names or addresses with ports, as hashes.
    flows: HashSet<u64>,
}

/// See the module.
#[derive(Debug)]
pub struct Baselines {
    /// By a hash of namespace, container and image.
    known: LruCache<u64, Known>,
    learning: Duration,
    seed: RandomState,
}

impl Baselines {
    /// Nothing is known yet; what a workload does within `learning` is usual.
    #[must_use]
    pub fn new(learning: Duration) -> Self {
        Self {
            known: LruCache::new(WORKLOADS),
            learning,
            seed: RandomState::new(),
        }
    }

    /// How many workloads are known.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Looks at an event.
    pub fn observe(&mut self, event: &Event) -> Option<Said> {
        let Detail::Message(kind, detail) = &event.detail else {
            return None;
        };
        match (kind, &**detail) {
            (EventKind::Listen, v1::event::Detail::Socket(socket)) => {
                let port = socket.local.as_ref()?.port;
                let learning = self.learning;
                let known = self.workload(event)?;
                if !is_new(&mut known.ports, port, known.since + learning, event.time) {
                    return None;
                }
                let exe = &event.process.as_ref()?.program.exe;
                let message = format!(
                    "{exe} listens on TCP port {port}, on which this workload has not listened before"
                );
                let mut said = Said::of(LISTENER, event, message);
                said.facts.insert("port", port.to_string());
                Some(said)
            }
            (EventKind::Connect, v1::event::Detail::Connection(connection)) => {
                let remote = connection.remote.as_ref()?;
                if connection.protocol() == v1::Protocol::Unix || is_loopback(&remote.address) {
                    return None;
                }
                // A name stays where addresses change.
                let to = if connection.remote_name.is_empty() {
                    &remote.address
                } else {
                    &connection.remote_name
                };
                let port = remote.port;
                let flow = self.seed.hash_one((to.as_str(), port));
                let learning = self.learning;
                let known = self.workload(event)?;
                if !is_new(&mut known.flows, flow, known.since + learning, event.time) {
                    return None;
                }
                let exe = &event.process.as_ref()?.program.exe;
                let message = format!(
                    "{exe} connects to {to} port {port}, to which this workload has not connected before"
                );
                let mut said = Said::of(FLOW, event, message);
                said.facts.insert("to", to.clone());
                said.facts.insert("port", port.to_string());
                Some(said)
            }
            _ => None,
        }
    }

    fn workload(&mut self, event: &Event) -> Option<&mut Known> {
        let details = event.container()?.details();
        let workload = self.seed.hash_one(workload(&details)?);
        Some(self.known.get_or_insert_mut(workload, || Known {
            since: event.time,
            ports: HashSet::new(),
            flows: HashSet::new(),
        }))
    }
}

/// Namespace, container and image; `None` where the runtime has not told what the workload is.
fn workload(details: &Details) -> Option<(&str, &str, &str)> {
    let description = &details.description;
    if description.image.is_empty() {
        return None;
    }
    let namespace = description
        .pod
        .as_ref()
        .map_or("", |pod| pod.namespace.as_str());
    Some((namespace, &description.name, &description.image))
}

fn is_loopback(address: &str) -> bool {
    address.starts_with("127.") || address == "::1"
}

/// Takes something in; whether it is new after what was learnt.
fn is_new<T: std::hash::Hash + Eq>(
    known: &mut HashSet<T>,
    what: T,
    learnt: SystemTime,
    now: SystemTime,
) -> bool {
    if known.len() >= MAX_KNOWN || !known.insert(what) {
        return false;
    }
    now > learnt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_first_done_after_learning_is_new_once() {
        let start = SystemTime::UNIX_EPOCH;
        let learnt = start + LEARNING;
        let later = learnt + Duration::from_secs(1);
        let mut known = HashSet::new();
        assert!(!is_new(&mut known, 80, learnt, start));
        assert!(!is_new(&mut known, 80, learnt, later));
        assert!(is_new(&mut known, 81, learnt, later));
        assert!(!is_new(&mut known, 81, learnt, later));
        let mut many: HashSet<usize> = (0..MAX_KNOWN).collect();
        assert!(
            !is_new(&mut many, MAX_KNOWN, learnt, later),
            "it does anything"
        );
    }
}
