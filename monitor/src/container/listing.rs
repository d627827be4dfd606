//! The containers, for whoever lists them.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::model::Container;

/// The containers by slot, which is the order in which they were seen.
#[derive(Debug, Default)]
pub struct Listing(RwLock<BTreeMap<u32, Arc<Container>>>);

impl Listing {
    /// All of them, the first seen first.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Container>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// How many run.
    #[must_use]
    pub fn running(&self) -> usize {
        let containers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let running = containers.values();
        running
            .filter(|container| container.details().ended.is_none())
            .count()
    }

    /// Adds one.
    pub fn add(&self, container: &Arc<Container>) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(container.slot, Arc::clone(container));
    }

    /// Takes one off.
    pub fn remove(&self, slot: u32) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&slot);
    }
}
