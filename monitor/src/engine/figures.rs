//! Numbers about the engine, for the status and the metrics.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use watchkeeper_ebpf::{
    loss::{Class, Lane, MAX_LOSS_KEYS},
    tables::MAX_CONNECTING,
};

use super::network;
use crate::{
    container::{cgroups, model::Container},
    event::{Loss, LossReason},
    network::names,
    occupancy::Occupancy,
    proto::v1::EventKind,
};

/// More than the highest number of a kind.
const KINDS: usize = 64;

/// How long the losses of a container that has ended are kept, so that whoever reads them now and then still does.
const KEPT: Duration = Duration::from_secs(600);

/// Numbers about the engine.
#[derive(Debug, Default)]
pub struct Figures {
    /// Records that could not be decoded.
    pub malformed: AtomicU64,
    /// Processes in the table.
    pub processes: AtomicU64,
    /// Processes that found no room in it.
    pub processes_refused: AtomicU64,
    /// Why attribution is degraded, if it is.
    pub trouble: RwLock<Option<String>>,
    /// How full its caches are.
    pub caches: Caches,
    kinds: Kinds,
    losses: Mutex<Losses>,
}

/// How full the engine's caches, and the tables of the kernel side that it reads, were within the last second.
#[derive(Debug)]
pub struct Caches {
    pub(super) cgroups: Occupancy,
    pub(super) moved: Occupancy,
    pub(super) names: Occupancy,
    pub(super) queries: Occupancy,
    pub(super) payloads: Occupancy,
    pub(super) connecting: Occupancy,
    pub(super) losses: Occupancy,
}

impl Default for Caches {
    fn default() -> Self {
        let limit = |most: u32| usize::try_from(most).unwrap_or(usize::MAX);
        Self {
            cgroups: Occupancy::new("cgroups", cgroups::MAX_CGROUPS),
            moved: Occupancy::new("moved-processes", super::MOVED.get()),
            names: Occupancy::new("dns-names", names::MAX_ENTRIES),
            queries: Occupancy::new("dns-queries", network::QUERIES.get()),
            payloads: Occupancy::new("payloads", network::GATHERED.get()),
            connecting: Occupancy::new("connecting-sockets", limit(MAX_CONNECTING)),
            losses: Occupancy::new("loss-counters", limit(MAX_LOSS_KEYS)),
        }
    }
}

impl Caches {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> [&Occupancy; 7] {
        [
            &self.cgroups,
            &self.moved,
            &self.names,
            &self.queries,
            &self.payloads,
            &self.connecting,
            &self.losses,
        ]
    }
}

/// A counter for each kind of event.
#[derive(Debug)]
struct Kinds([AtomicU64; KINDS]);

impl Default for Kinds {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// What was lost since the agent started.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    /// Everything, by what, on which lane and why.
    pub all: BTreeMap<(Class, Lane, LossReason), u64>,
    /// What containers lost that run or have ended lately, by the container's slot, what and why.
    pub containers: BTreeMap<(u32, Class, LossReason), (Arc<Container>, u64)>,
}

impl Figures {
    /// Counts an event.
    pub(super) fn count(&self, kind: EventKind) {
        let number = usize::try_from(i32::from(kind)).unwrap_or(0);
        if let Some(counter) = self.kinds.0.get(number) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Events of each kind so far, of which losses are none.
    pub fn events(&self) -> impl Iterator<Item = (EventKind, u64)> {
        self.kinds
            .0
            .iter()
            .zip(0..)
            .filter_map(|(counter, number)| {
                let kind = EventKind::try_from(number).ok()?;
                let is_event = !matches!(kind, EventKind::Unspecified | EventKind::Loss);
                is_event.then(|| (kind, counter.load(Ordering::Relaxed)))
            })
    }

    /// Counts lost records.
    pub(super) fn count_loss(&self, loss: &Loss, lane: Lane, container: Option<&Arc<Container>>) {
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        *losses
            .all
            .entry((loss.class, lane, loss.reason))
            .or_default() += loss.count;
        if let Some(container) = container {
            let key = (container.slot, loss.class, loss.reason);
            let (_, count) = losses
                .containers
                .entry(key)
                .or_insert_with(|| (Arc::clone(container), 0));
            *count += loss.count;
        }
    }

    /// Forgets containers that have ended a while ago.
    pub(super) fn sweep_losses(&self, now: SystemTime) {
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        losses.containers.retain(|_, (container, _)| {
            let ended = container.details().ended;
            // A clock that was set back keeps it longer.
            ended.is_none_or(|ended| {
                let ago = now.duration_since(ended);
                ago.map_or(true, |ago| ago < KEPT)
            })
        });
    }

    /// What was lost so far.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.losses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::shape;

    fn container(slot: u32) -> Arc<Container> {
        const PATH: &str = "/kubepods/besteffort/pod0f7b2a3c-1111-2222-3333-444455556666/\
            aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd";
        let shape = shape::recognise(PATH).expect("a container's cgroup");
        Arc::new(Container::new(shape, PATH.to_owned(), 1, slot))
    }

    fn loss(count: u64) -> Loss {
        Loss {
            cgroup_id: 1,
            class: Class::File,
            reason: LossReason::DetectionOverloaded,
            count,
        }
    }

    #[test]
    fn every_kind_has_a_counter() {
        let figures = Figures::default();
        figures.count(EventKind::Exec);
        figures.count(EventKind::Exec);
        figures.count(EventKind::Loss);
        let counted: Vec<_> = figures.events().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(EventKind::Exec, 2)]);
        let last = (0..1_000).filter_map(|number| EventKind::try_from(number).ok());
        let last = last.map(i32::from).max().expect("there are kinds");
        assert!(usize::try_from(last).expect("positive") < KINDS);
    }

    #[test]
    fn losses_add_up_and_those_of_the_dead_go() {
        let figures = Figures::default();
        let (living, dead) = (container(1), container(2));
        figures.count_loss(&loss(3), Lane::None, Some(&living));
        figures.count_loss(&loss(4), Lane::None, Some(&living));
        figures.count_loss(&loss(5), Lane::None, Some(&dead));
        figures.count_loss(&loss(6), Lane::None, None);
        let now = SystemTime::now();
        dead.learn(|details| details.ended = Some(now));

        figures.sweep_losses(now);
        let losses = figures.losses();
        assert_eq!(losses.all.values().copied().collect::<Vec<_>>(), [18]);
        let counts = |losses: &Losses| {
            let counts = losses.containers.iter();
            counts
                .map(|((slot, ..), (_, count))| (*slot, *count))
                .collect::<Vec<_>>()
        };
        assert_eq!(counts(&losses), [(1, 7), (2, 5)]);

        figures.sweep_losses(now - KEPT);
        assert_eq!(counts(&figures.losses()), [(1, 7), (2, 5)]);

        figures.sweep_losses(now + KEPT);
        assert_eq!(counts(&figures.losses()), [(1, 7)]);
    }
}
