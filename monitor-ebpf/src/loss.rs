//! Classes of records, and counters of what did not reach the agent, per CPU, in a map keyed by cgroup, class,
//! reason and lane.

/// Most keys with a counter of their own; what finds no room is counted for cgroup 0.
pub const MAX_LOSS_KEYS: u32 = 8_192;

/// Classes of records that are wanted, budgeted and counted together.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// fork, exec, exit.
    Process = 1,
    /// cgroup created, removed, entered.
    Cgroup = 2,
    /// Sockets, connections, first bytes of flows.
    Network = 3,
    /// DNS messages.
    Dns = 4,
    /// Files opened and changed.
    File = 5,
    /// Mounts and namespaces.
    Namespace = 6,
    /// Credentials.
    Credential = 7,
    /// Reaching into other processes, and hiding.
    Tampering = 8,
    /// The kernel's own surface: modules, bpf, keys, io_uring.
    Kernel = 9,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 9] = [
        Self::Process,
        Self::Cgroup,
        Self::Network,
        Self::Dns,
        Self::File,
        Self::Namespace,
        Self::Credential,
        Self::Tampering,
        Self::Kernel,
    ];

    /// Places of an array that is indexed by class: a power of two.
    pub const PLACES: usize = 16;

    /// Its bit in a set of classes.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Why a record was lost.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The ring buffer had no room: the agent did not read fast enough.
    RingFull = 1,
    /// All scratch buffers of the CPU were taken: programs interrupted each other more often than foreseen.
    NoScratch = 2,
    /// The container, or the host's cgroup, had used up its budget for the class.
    OverBudget = 3,
    /// A table of the kernel side had no room for what a later record needs.
    TableFull = 4,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 4] = [
        Self::RingFull,
        Self::NoScratch,
        Self::OverBudget,
        Self::TableFull,
    ];
}

/// The ring buffer that a record was for.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// None yet: it was lost before it was put together.
    None = 0,
    /// The one for volume.
    Telemetry = 1,
    /// The one for what must arrive.
    Critical = 2,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 3] = [Self::None, Self::Telemetry, Self::Critical];
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
    pub reason: u16,
    /// A [`Lane`].
    pub lane: u16,
}
