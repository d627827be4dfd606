//! Which selectors choose a container: looked up once for each state of what is known of it, and not for each event.

use std::{num::NonZeroUsize, sync::Arc};

use lru::LruCache;

use super::select::{Selected, Selector};
use crate::container::model::{Container, Details};

/// Containers that are remembered.
pub const REMEMBERED: NonZeroUsize = NonZeroUsize::new(2_048).expect("not zero");

/// See the module.
#[derive(Debug)]
pub struct Selections {
    /// By the container's slot: what is known of it, and the answers of the selectors in their order.
    known: LruCache<u32, (Arc<Details>, Vec<Selected>)>,
}

impl Default for Selections {
    fn default() -> Self {
        Self {
            known: LruCache::new(REMEMBERED),
        }
    }
}

impl Selections {
    /// How many containers are remembered.
    #[must_use]
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// The answers of selectors for a container, in their order. They have to be the same ones as before, or [`Self::forget`] comes
    /// first.
    pub fn of(&mut self, container: &Container, selectors: &[Selector]) -> &[Selected] {
        if selectors.is_empty() {
            return &[];
        }
        let details = container.details();
        let answers = |details: &Details| {
            selectors
                .iter()
                .map(|selector| selector.container(details))
                .collect()
        };
        let known = self.known.get_or_insert_mut(container.slot, || {
            let chosen = answers(&details);
            (Arc::clone(&details), chosen)
        });
        // Whatever is learnt of a container makes new details of it, as the old ones are held here.
        if !Arc::ptr_eq(&known.0, &details) {
            known.1 = answers(&details);
            known.0 = details;
        }
        &known.1
    }

    /// Forgets all answers: the selectors are others now.
    pub fn forget(&mut self) {
        self.known.clear();
    }
}
