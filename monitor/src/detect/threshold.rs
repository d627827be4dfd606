//! Rules that have to find something several times.

use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, RandomState},
    num::NonZeroUsize,
    time::{Duration, SystemTime},
};

use lru::LruCache;

use super::scope::Key;
use crate::policy::rule::Threshold;

/// Counts that are kept at a time.
pub(super) const KEPT: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");
/// Events whose numbers are kept for an alert.
const EVIDENCE: usize = 8;

/// One time that a rule found something.
#[derive(Debug)]
struct Once {
    time: SystemTime,
    /// The values that have to be new, as a hash.
    values: u64,
    number: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Thresholds {
    /// By a hash of the rule's id.
    counts: LruCache<(u64, Key), VecDeque<Once>>,
    seed: RandomState,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            counts: LruCache::new(KEPT),
            seed: RandomState::new(),
        }
    }
}

impl Thresholds {
    /// How many counts are kept.
    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }

    /// Counts a finding of a rule. When that makes enough of them, counting begins anew, and the numbers of the first events are
    /// returned.
    pub fn reached(
        &mut self,
        rule: &str,
        threshold: &Threshold,
        key: Key,
        values: &str,
        time: SystemTime,
        number: u64,
    ) -> Option<Vec<u64>> {
        let hash = self.seed.hash_one(values);
        let times = self
            .counts
            .get_or_insert_mut((self.seed.hash_one(rule), key), VecDeque::new);
        let is_over = |once: &Once| {
            time.duration_since(once.time).unwrap_or(Duration::ZERO) > threshold.within
        };
        while times.front().is_some_and(is_over) {
            times.pop_front();
        }
        if !threshold.distinct.is_empty() {
            // It is the newest time of a value that counts.
            if let Some(before) = times.iter().position(|once| once.values == hash) {
                times.remove(before);
            }
        }
        times.push_back(Once {
            time,
            values: hash,
            number,
        });
        if times.len() < threshold.count as usize {
            return None;
        }
        let evidence = times
            .iter()
            .take(EVIDENCE)
            .map(|once| once.number)
            .collect();
        times.clear();
        Some(evidence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{condition::ShownField, file::Scope};

    fn threshold(distinct: bool) -> Threshold {
        Threshold {
            count: 3,
            within: Duration::from_secs(10),
            per: Scope::Container,
            distinct: if distinct {
                ShownField::find("process.exe").into_iter().collect()
            } else {
                Vec::new()
            },
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn enough_within_the_time_is_found_once() {
        let mut counts = Thresholds::default();
        let key = Key::Container(1);
        let mut found = |second, key| {
            counts
                .reached("a.b", &threshold(false), key, "", at(second), second)
                .is_some()
        };
        assert!(!found(0, key) && !found(1, key));
        // Another container's are counted apart.
        assert!(!found(1, Key::Container(2)));
        assert!(found(2, key));
        assert!(!found(3, key), "it begins anew");
        assert!(
            !found(20, key) && !found(21, key),
            "the one before is too long ago"
        );
        assert!(found(22, key));
    }

    #[test]
    fn the_same_values_count_once() {
        let mut counts = Thresholds::default();
        let mut found = |second, values: &str| {
            let key = Key::Container(1);
            counts.reached("a.b", &threshold(true), key, values, at(second), second)
        };
        assert!(found(0, "x").is_none() && found(1, "x").is_none() && found(2, "x").is_none());
        assert!(found(3, "y").is_none());
        assert_eq!(found(4, "z"), Some(vec![2, 3, 4]));
    }
}
