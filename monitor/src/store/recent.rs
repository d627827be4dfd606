//! The recent past in memory: a bounded sequence that readers follow at their own pace.
//!
//! A reader asks for what comes after a number. History and what is live are the same sequence, so there is no seam
//! between them; a reader that falls behind learns how much it missed, and holds up nobody.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, RwLock},
};

use tokio::sync::watch;

use crate::container::model::Container;

/// One element of the sequence.
#[derive(Debug)]
pub enum Item<T> {
    /// Something that happened.
    Value(Arc<T>),
    /// More is known of a container than before.
    Amended(Arc<Container>),
}

impl<T> Clone for Item<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Value(value) => Self::Value(Arc::clone(value)),
            Self::Amended(container) => Self::Amended(Arc::clone(container)),
        }
    }
}

/// What a reader gets.
#[derive(Debug)]
pub struct Batch<T> {
    /// Elements with their numbers.
    pub items: Vec<(u64, Item<T>)>,
    /// Elements between the number asked for and the first of these that are gone.
    pub missed: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Recent<T> {
    inner: RwLock<Inner<T>>,
    latest: watch::Sender<u64>,
    max_items: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Inner<T> {
    items: VecDeque<(u64, usize, Item<T>)>,
    bytes: usize,
    last: u64,
    values: u64,
    amendments: u64,
}

/// About the bytes that an element without a value takes.
const BASE_SIZE: usize = 64;

impl<T> Recent<T> {
    /// An empty sequence with these ceilings.
    #[must_use]
    pub fn new(max_items: usize, max_bytes: usize) -> Self {
        Self::starting_after(0, max_items, max_bytes)
    }

    /// The same, whose numbers go on after this one.
    #[must_use]
    pub fn starting_after(number: u64, max_items: usize, max_bytes: usize) -> Self {
        Self {
            inner: RwLock::new(Inner {
                items: VecDeque::new(),
                bytes: 0,
                last: number,
                values: 0,
                amendments: 0,
            }),
            latest: watch::Sender::new(number),
            max_items,
            max_bytes,
        }
    }

    /// Appends a value of about `size` bytes; returns its number.
    pub fn push(&self, value: Arc<T>, size: usize) -> u64 {
        self.append(Item::Value(value), size + BASE_SIZE)
    }

    /// Appends the news that more is known of a container.
    pub fn amend(&self, container: Arc<Container>) {
        self.append(Item::Amended(container), BASE_SIZE);
    }

    fn append(&self, item: Item<T>, size: usize) -> u64 {
        let number = {
            let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
            inner.last += 1;
            match item {
                Item::Value(_) => inner.values += 1,
                Item::Amended(_) => inner.amendments += 1,
            }
            let number = inner.last;
            inner.bytes += size;
            inner.items.push_back((number, size, item));
            while inner.items.len() > self.max_items || inner.bytes > self.max_bytes {
                let Some((_, size, _)) = inner.items.pop_front() else {
                    break;
                };
                inner.bytes -= size;
            }
            number
        };
        self.latest.send_replace(number);
        number
    }

    /// Lets go of the oldest until about `bytes` are left, but of none after the one with this number; returns of how many.
    pub fn forget(&self, through: u64, bytes: usize) -> u64 {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let mut forgotten = 0;
        while inner.bytes > bytes
            && let Some((number, size)) = inner.items.front().map(|item| (item.0, item.1))
            && number <= through
        {
            inner.bytes -= size;
            inner.items.pop_front();
            forgotten += 1;
        }
        // What the queue itself took is free only when it is made smaller.
        inner.items.shrink_to_fit();
        forgotten
    }

    /// At most `count` elements after the one with this number; `None` begins with the oldest there is, which misses
    /// nothing.
    #[must_use]
    pub fn after(&self, number: Option<u64>, count: usize) -> Batch<T> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let oldest = inner.items.front().map_or(inner.last + 1, |item| item.0);
        let next = number.map_or(oldest, |number| number.saturating_add(1));
        let skip = usize::try_from(next.saturating_sub(oldest)).unwrap_or(usize::MAX);
        let items = inner
            .items
            .iter()
            .skip(skip)
            .take(count)
            .map(|(number, _, item)| (*number, item.clone()))
            .collect();
        Batch {
            items,
            missed: oldest.saturating_sub(next),
        }
    }

    /// Number of the newest element; where there has been none, the one to go on after.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.inner
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .last
    }

    /// Number of the oldest element that is left; where there is none, of the next.
    #[must_use]
    pub fn oldest_number(&self) -> u64 {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.items.front().map_or(inner.last + 1, |item| item.0)
    }

    /// How many values there have been.
    #[must_use]
    pub fn values(&self) -> u64 {
        self.inner
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values
    }

    /// How often it was told that more is known of a container.
    #[must_use]
    pub fn amendments(&self) -> u64 {
        self.inner
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .amendments
    }

    /// How many elements it holds, and how many it may.
    #[must_use]
    pub fn room(&self) -> (usize, usize) {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        (inner.items.len(), self.max_items)
    }

    /// The newest value of which that holds, with its number.
    #[must_use]
    pub fn find(&self, holds: impl Fn(&T) -> bool) -> Option<(u64, Arc<T>)> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner
            .items
            .iter()
            .rev()
            .find_map(|(number, _, item)| match item {
                Item::Value(value) if holds(value) => Some((*number, Arc::clone(value))),
                _ => None,
            })
    }

    /// The oldest value that is left.
    #[must_use]
    pub fn oldest(&self) -> Option<Arc<T>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.items.iter().find_map(|(_, _, item)| match item {
            Item::Value(value) => Some(Arc::clone(value)),
            Item::Amended(_) => None,
        })
    }

    /// Tells of each new element.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(batch: &Batch<u64>) -> Vec<u64> {
        batch
            .items
            .iter()
            .filter_map(|(_, item)| match item {
                Item::Value(value) => Some(**value),
                Item::Amended(_) => None,
            })
            .collect()
    }

    fn filled(count: u64, max_items: usize) -> Recent<u64> {
        let recent = Recent::new(max_items, usize::MAX);
        for number in 1..=count {
            recent.push(Arc::new(number), 1);
        }
        recent
    }

    #[test]
    fn the_oldest_go_first_and_a_reader_learns_what_it_missed() {
        let recent = filled(10, 4);
        let batch = recent.after(Some(3), 100);
        assert_eq!(values(&batch), [7, 8, 9, 10]);
        assert_eq!(batch.missed, 3, "4, 5 and 6");
        assert_eq!(
            recent.after(Some(0), 2).missed,
            6,
            "who has seen nothing yet"
        );
        assert_eq!(
            recent.after(None, 2).missed,
            0,
            "who begins has missed nothing"
        );
        assert_eq!(values(&recent.after(None, 2)), [7, 8]);
        assert_eq!(recent.oldest().as_deref(), Some(&7));
    }

    #[test]
    fn what_is_not_written_yet_is_not_let_go_of() {
        let recent = Recent::new(100, usize::MAX);
        for number in 1..=10_u64 {
            recent.push(Arc::new(number), 1_000 - BASE_SIZE);
        }
        assert_eq!(recent.forget(4, 8_000), 2, "two thousand bytes");
        assert_eq!(recent.oldest_number(), 3);
        assert_eq!(recent.forget(4, 0), 2, "no further than what is written");
        let rest = recent.after(Some(1), 100);
        assert_eq!((rest.missed, rest.items.len()), (3, 6));
        recent.push(Arc::new(11), 1);
        assert_eq!(recent.last(), 11);
    }

    #[test]
    fn bytes_have_a_ceiling_too() {
        let recent = Recent::new(usize::MAX, 10 * (BASE_SIZE + 100));
        for number in 1..=50u64 {
            recent.push(Arc::new(number), 100);
        }
        assert_eq!(values(&recent.after(None, 100)).len(), 10);
    }

    #[test]
    fn nothing_comes_after_the_newest() {
        let recent = filled(3, 10);
        assert!(values(&recent.after(Some(3), 10)).is_empty());
        assert!(
            values(&recent.after(Some(u64::MAX), 10)).is_empty(),
            "nor after what is to come"
        );
        assert_eq!(recent.last(), 3);
    }

    proptest! {
        /// Read in any steps, the batches make up the whole sequence.
        #[test]
        fn batches_have_no_gap_and_no_overlap(count in 0..200u64, step in 1..50usize) {
            let recent = filled(count, usize::MAX);
            let mut seen = Vec::new();
            let mut number = None;
            loop {
                let batch = recent.after(number, step);
                prop_assert_eq!(batch.missed, 0);
                let Some((last, _)) = batch.items.last() else { break };
                number = Some(*last);
                seen.extend(values(&batch));
            }
            prop_assert_eq!(seen, (1..=count).collect::<Vec<_>>());
        }
    }
}
