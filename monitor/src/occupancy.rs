//! How full something with a ceiling is: a cache, a table, a queue.
//!
//! Whoever owns it says how full it is now and then; whoever asks is told that, and holds up nobody.

use std::sync::atomic::{AtomicU64, Ordering};

/// See the module.
#[derive(Debug)]
pub struct Occupancy {
    /// What it is.
    pub name: &'static str,
    /// Most elements.
    pub limit: u64,
    elements: AtomicU64,
}

impl Occupancy {
    /// Of something that is empty.
    #[must_use]
    pub const fn new(name: &'static str, limit: usize) -> Self {
        Self {
            name,
            limit: limit as u64,
            elements: AtomicU64::new(0),
        }
    }

    /// Says how many elements there are.
    pub fn set(&self, elements: usize) {
        self.elements.store(elements as u64, Ordering::Relaxed);
    }

    /// How many elements there were when somebody said so last.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.elements.load(Ordering::Relaxed)
    }
}
