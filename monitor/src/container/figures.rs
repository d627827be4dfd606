//! Numbers about asking runtimes, since the agent started.

use std::sync::atomic::{AtomicU64, Ordering};

/// Whom a question was put to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// The runtime behind the CRI's socket.
    Cri,
    /// Podman's storage.
    Podman,
}

impl Runtime {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Cri, Self::Podman];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cri => "cri",
            Self::Podman => "podman",
        }
    }
}

/// What came of asking once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It told what it knows of the container.
    Told,
    /// It does not know the container.
    Unknown,
    /// It could not be asked, or did not answer.
    Failed,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Told, Self::Unknown, Self::Failed];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Figures {
    /// Whether the CRI is to be asked at all.
    pub is_cri_wanted: bool,
    /// Containers that were to be asked about.
    pub(super) questions: AtomicU64,
    /// Those that found no room in the queue.
    pub(super) refused: AtomicU64,
    /// Those in the queue.
    pub(super) queued: AtomicU64,
    /// Those that nothing more will be asked about.
    pub(super) settled: AtomicU64,
    /// By place in [`Runtime::ALL`] and [`Outcome::ALL`].
    answers: [[AtomicU64; Outcome::ALL.len()]; Runtime::ALL.len()],
}

impl Figures {
    /// Nothing was asked yet.
    #[must_use]
    pub fn new(is_cri_wanted: bool) -> Self {
        Self {
            is_cri_wanted,
            questions: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            answers: Default::default(),
        }
    }

    /// Counts what came of asking once.
    pub(super) fn count(&self, runtime: Runtime, outcome: Outcome) {
        self.answers[runtime as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often asking came out like this.
    #[must_use]
    pub fn answers(&self, runtime: Runtime, outcome: Outcome) -> u64 {
        self.answers[runtime as usize][outcome as usize].load(Ordering::Relaxed)
    }

    /// Containers that were to be asked about.
    #[must_use]
    pub fn questions(&self) -> u64 {
        self.questions.load(Ordering::Relaxed)
    }

    /// Those of them that found no room in the queue, and are not asked about.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Those that wait in the queue.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// Those that are not settled yet: in the queue, under way, or to be asked about again.
    #[must_use]
    pub fn pending(&self) -> u64 {
        // The other way round a question could be settled between the looks, and be missing from both.
        let settled = self.settled.load(Ordering::Relaxed);
        let refused = self.refused();
        self.questions().saturating_sub(settled + refused)
    }
}
