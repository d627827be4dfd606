//! The clients that follow a sequence, and how far each has come.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// See the module.
#[derive(Debug, Default)]
pub struct Subscribers {
    all: Mutex<All>,
    missed: AtomicU64,
}

#[derive(Debug, Default)]
struct All {
    next: u64,
    /// Number of the last element that each has had.
    positions: BTreeMap<u64, Arc<AtomicU64>>,
}

impl Subscribers {
    /// Adds a client that goes on after this number, until what is returned is dropped.
    #[must_use]
    pub fn add(self: &Arc<Self>, after: u64) -> Subscriber {
        let position = Arc::new(AtomicU64::new(after));
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let id = all.next;
        all.next += 1;
        all.positions.insert(id, Arc::clone(&position));
        Subscriber {
            of: Arc::clone(self),
            id,
            position,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.positions.len()
    }

    /// How many elements up to `last` the one that is farthest behind has not had yet; 0 when there is none.
    #[must_use]
    pub fn lag(&self, last: u64) -> u64 {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let positions = all.positions.values();
        positions
            .map(|position| last.saturating_sub(position.load(Ordering::Relaxed)))
            .max()
            .unwrap_or(0)
    }

    /// Counts elements that were gone before a client had read them.
    pub fn count_missed(&self, count: u64) {
        self.missed.fetch_add(count, Ordering::Relaxed);
    }

    /// How many such elements there were, of all clients.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

/// One client.
#[derive(Debug)]
pub struct Subscriber {
    of: Arc<Subscribers>,
    id: u64,
    position: Arc<AtomicU64>,
}

impl Subscriber {
    /// Notes that it has had everything up to this number.
    pub fn has_had(&self, number: u64) {
        self.position.store(number, Ordering::Relaxed);
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let mut all = self.of.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.positions.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_is_told_and_who_is_gone_is_not_counted() {
        let subscribers = Arc::new(Subscribers::default());
        assert_eq!((subscribers.count(), subscribers.lag(100)), (0, 0));
        let slow = subscribers.add(10);
        let quick = subscribers.add(90);
        assert_eq!((subscribers.count(), subscribers.lag(100)), (2, 90));
        slow.has_had(40);
        quick.has_had(101);
        assert_eq!(subscribers.lag(100), 60);
        drop(slow);
        assert_eq!((subscribers.count(), subscribers.lag(100)), (1, 0));
    }
}
