//! Counters of what did not reach the agent, per CPU, in a map keyed by cgroup, class and reason.

/// Most keys with a counter of their own; what finds no room is counted for cgroup 0.
pub const MAX_LOSS_KEYS: u32 = 8_192;

/// Classes of records that are counted, and later budgeted, together.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// fork, exec, exit.
    Process = 1,
    /// cgroup created, removed, entered.
    Cgroup = 2,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 2] = [Self::Process, Self::Cgroup];
}

/// Why a record was lost.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The ring buffer had no room: the agent did not read fast enough.
    RingFull = 1,
    /// All scratch buffers of the CPU were taken: programs interrupted each other more often than foreseen.
    NoScratch = 2,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 2] = [Self::RingFull, Self::NoScratch];
}

/// Key of the map `LOSSES`; its value is a `u64` count per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LossKey {
    /// Cgroup of the process whose record was lost.
    pub cgroup_id: u64,
    /// A [`Class`].
    pub class: u32,
    /// A [`Reason`].
    pub reason: u32,
}
