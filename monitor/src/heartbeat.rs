//! Signs of life that cross the whole way from the kernel to a client: how far each one came, and when.
//!
//! A heartbeat is a program that the agent runs every few seconds. The kernel reports it as it reports every program; from then on it
//! is an event of its own kind, which takes the way of all events.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use crate::process::clock;

/// How often there is one.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// How old the last one may be where it arrives, before something is wrong: three that did not.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The argument that makes the program end at once.
pub const ARGUMENT: &str = "heartbeat";

/// Where a heartbeat comes by, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The agent has run the program.
    Sent,
    /// The kernel's record of it was read.
    Kernel,
    /// The rules were asked.
    Rules,
    /// It was written to history.
    Store,
    /// It came out of the stream of events.
    Stream,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 5] = [
        Self::Sent,
        Self::Kernel,
        Self::Rules,
        Self::Store,
        Self::Stream,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Kernel => "kernel",
            Self::Rules => "rules",
            Self::Store => "store",
            Self::Stream => "stream",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Heartbeats {
    /// Number of the last one, by stage.
    numbers: [AtomicU64; Stage::ALL.len()],
    /// When it came there, in nanoseconds since boot; at first, when counting began.
    times: [AtomicU64; Stage::ALL.len()],
    /// Whether the agent itself follows the stream of events, to see them come out.
    pub is_followed: AtomicBool,
}

impl Default for Heartbeats {
    fn default() -> Self {
        let now = clock::since_boot();
        Self {
            numbers: Default::default(),
            times: std::array::from_fn(|_| AtomicU64::new(now)),
            is_followed: AtomicBool::new(false),
        }
    }
}

impl Heartbeats {
    /// A heartbeat has come somewhere. Those that come late count for nothing.
    pub fn reached(&self, stage: Stage, number: u64) {
        let before = self.numbers[stage as usize].fetch_max(number, Ordering::Relaxed);
        if number > before {
            self.times[stage as usize].store(clock::since_boot(), Ordering::Relaxed);
        }
    }

    /// Number of the last one that came there; 0 where there was none.
    #[must_use]
    pub fn number(&self, stage: Stage) -> u64 {
        self.numbers[stage as usize].load(Ordering::Relaxed)
    }

    /// How long ago the last one came there; where there was none, how long it is waited for.
    #[must_use]
    pub fn age(&self, stage: Stage) -> Duration {
        let since = self.times[stage as usize].load(Ordering::Relaxed);
        Duration::from_nanos(clock::since_boot().saturating_sub(since))
    }

    /// The first of these stages that heartbeats do not reach, with how long ago the last one did.
    #[must_use]
    pub fn stopped_at(&self, stages: &[Stage]) -> Option<(Stage, Duration)> {
        stages
            .iter()
            .map(|stage| (*stage, self.age(*stage)))
            .find(|(_, age)| *age > PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stage_that_is_not_reached_is_told() {
        let beats = Heartbeats::default();
        assert_eq!(beats.stopped_at(&Stage::ALL), None, "nothing is late yet");
        let long_ago = clock::since_boot().saturating_sub(25_000_000_000);
        for stage in [Stage::Rules, Stage::Stream] {
            beats.times[stage as usize].store(long_ago, Ordering::Relaxed);
        }
        let stopped = beats.stopped_at(&Stage::ALL).map(|(stage, _)| stage);
        assert_eq!(stopped, Some(Stage::Rules));
        let others = [Stage::Sent, Stage::Kernel, Stage::Store];
        assert_eq!(beats.stopped_at(&others), None);
        beats.reached(Stage::Rules, 1);
        let stopped = beats.stopped_at(&Stage::ALL).map(|(stage, _)| stage);
        assert_eq!(stopped, Some(Stage::Stream));
    }

    #[test]
    fn one_that_is_late_does_not_count() {
        let beats = Heartbeats::default();
        beats.reached(Stage::Store, 3);
        let long_ago = 5;
        beats.times[Stage::Store as usize].store(long_ago, Ordering::Relaxed);
        beats.reached(Stage::Store, 2);
        assert_eq!(beats.number(Stage::Store), 3);
        assert_eq!(
            beats.times[Stage::Store as usize].load(Ordering::Relaxed),
            long_ago
        );
    }
}
