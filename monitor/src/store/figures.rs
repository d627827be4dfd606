//! Numbers about the store, since the agent started.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// See the module.
#[derive(Debug, Default)]
pub struct Figures {
    /// Events written.
    pub events: AtomicU64,
    /// Events that were not.
    pub missed: AtomicU64,
    /// Alerts that were not.
    pub alerts_missed: AtomicU64,
    /// Nanoseconds that writing batches took.
    pub busy_ns: AtomicU64,
    /// Bytes of all segments.
    pub bytes: AtomicU64,
    /// How often writing failed.
    pub failures: AtomicU64,
    /// How long each batch took.
    pub commits: Commits,
    /// When a batch was written last.
    pub last_commit: Moment,
    /// When the oldest event that is kept was.
    pub oldest_event: Moment,
}

/// Upper bounds of the classes of [`Commits`], in seconds; what is above the last has a class of its own.
pub const BOUNDS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// How many batches took how long.
#[derive(Debug, Default)]
pub struct Commits([AtomicU64; BOUNDS.len() + 1]);

impl Commits {
    /// Counts one.
    pub(super) fn add(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let class = BOUNDS.partition_point(|bound| *bound < seconds);
        self.0[class].fetch_add(1, Ordering::Relaxed);
    }

    /// The upper bound of each class in seconds, the last being infinite, with how many are in it.
    #[must_use]
    pub fn classes(&self) -> [(f64, u64); BOUNDS.len() + 1] {
        std::array::from_fn(|class| {
            let bound = BOUNDS.get(class).copied().unwrap_or(f64::INFINITY);
            (bound, self.0[class].load(Ordering::Relaxed))
        })
    }
}

/// A moment that may not have come yet.
#[derive(Debug, Default)]
pub struct Moment(AtomicU64);

impl Moment {
    /// Notes it; `None` and what was before the epoch stand for none.
    pub(super) fn set(&self, time: Option<SystemTime>) {
        let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let nanoseconds = since.map_or(0, |since| {
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        });
        self.0.store(nanoseconds, Ordering::Relaxed);
    }

    /// How long after the epoch it was.
    #[must_use]
    pub fn since_epoch(&self) -> Option<Duration> {
        let nanoseconds = self.0.load(Ordering::Relaxed);
        (nanoseconds != 0).then(|| Duration::from_nanos(nanoseconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_class_below_it() {
        let commits = Commits::default();
        for milliseconds in [0, 1, 2, 100, 101, 60_000] {
            commits.add(Duration::from_millis(milliseconds));
        }
        let filled = commits
            .classes()
            .into_iter()
            .filter(|(_, count)| *count > 0);
        assert_eq!(
            filled.collect::<Vec<_>>(),
            [
                (0.001, 2),
                (0.0025, 1),
                (0.1, 1),
                (0.5, 1),
                (f64::INFINITY, 1)
            ]
        );
    }

    #[test]
    fn what_has_not_come_is_no_moment() {
        let moment = Moment::default();
        assert_eq!(moment.since_epoch(), None);
        let time = Duration::from_millis(1_500);
        moment.set(Some(UNIX_EPOCH + time));
        assert_eq!(moment.since_epoch(), Some(time));
        moment.set(None);
        assert_eq!(moment.since_epoch(), None);
    }
}
