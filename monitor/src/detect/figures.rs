//! Numbers about detection, for the metrics. The detection thread sums up by itself, and writes them down after each batch of
//! events.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use super::{baseline, detector, evaluator, executable, fold, listeners, threshold};
use crate::{occupancy::Occupancy, policy::selection};

/// See the module.
#[derive(Debug)]
pub struct Figures {
    /// Events in the queue.
    pub(super) waiting: AtomicUsize,
    /// Findings that wait until the runtime has told of their container.
    pub undecided: Occupancy,
    conditions: AtomicU64,
    evaluation_ns: AtomicU64,
    inspection_ns: AtomicU64,
    pub(super) findings: Occupancy,
    pub(super) alerts: Occupancy,
    pub(super) thresholds: Occupancy,
    pub(super) workloads: Occupancy,
    pub(super) listeners: Occupancy,
    pub(super) executables: Occupancy,
    pub(super) selections: Occupancy,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            undecided: Occupancy::new("undecided-findings", detector::MAX_WAITING),
            conditions: AtomicU64::new(0),
            evaluation_ns: AtomicU64::new(0),
            inspection_ns: AtomicU64::new(0),
            findings: Occupancy::new("findings", evaluator::CHAINED.get()),
            alerts: Occupancy::new("alerts", fold::REMEMBERED.get()),
            thresholds: Occupancy::new("thresholds", threshold::KEPT.get()),
            workloads: Occupancy::new("workloads", baseline::WORKLOADS.get()),
            listeners: Occupancy::new("listeners", listeners::REMEMBERED.get()),
            executables: Occupancy::new("executables", executable::CACHED.get()),
            selections: Occupancy::new("selections", selection::REMEMBERED.get()),
        }
    }
}

impl Figures {
    /// Events that wait in the queue, and how many may.
    #[must_use]
    pub fn queue(&self) -> (u64, u64) {
        let waiting = self.waiting.load(Ordering::Relaxed);
        (waiting as u64, detector::QUEUE as u64)
    }

    /// What detection remembers.
    #[must_use]
    pub fn caches(&self) -> [&Occupancy; 7] {
        [
            &self.findings,
            &self.alerts,
            &self.thresholds,
            &self.workloads,
            &self.listeners,
            &self.executables,
            &self.selections,
        ]
    }

    /// Conditions of rules that were asked so far.
    #[must_use]
    pub fn conditions(&self) -> u64 {
        self.conditions.load(Ordering::Relaxed)
    }

    /// How long events have been judged so far: rules, detectors, exceptions and folding.
    #[must_use]
    pub fn evaluation(&self) -> Duration {
        Duration::from_nanos(self.evaluation_ns.load(Ordering::Relaxed))
    }

    /// How long executables have been looked into so far, to recognise shells and miners.
    #[must_use]
    pub fn inspection(&self) -> Duration {
        Duration::from_nanos(self.inspection_ns.load(Ordering::Relaxed))
    }

    /// Adds what a batch took.
    pub(super) fn add(&self, conditions: u64, evaluation: Duration, inspection: Duration) {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.conditions.fetch_add(conditions, Ordering::Relaxed);
        self.evaluation_ns
            .fetch_add(nanoseconds(evaluation), Ordering::Relaxed);
        self.inspection_ns
            .fetch_add(nanoseconds(inspection), Ordering::Relaxed);
    }
}
