//! Maps and globals. The agent sets the globals when it loads the object, and the kernel freezes them.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf},
};
use watchkeeper_ebpf::{
    budget::{Bucket, BucketKey, Budget, MAX_BUCKETS},
    calls::Spec,
    cgroup::{CgroupState, MAX_CGROUPS},
    loss::{Class, LossKey, MAX_LOSS_KEYS},
    offsets::{ABSENT, KernelOffsets, Settings},
    record::Identity,
    tables::{
        Connecting, Flow, KnownCredentials, MAX_CONNECTING, MAX_DATAGRAM_FLOWS, MAX_FLOWS,
        MAX_JSON_FLOWS, MAX_PENDING, MAX_ROUNDINGS, MAX_SYSTEM_CALLS, MAX_TASKS, MAX_URING,
        RoundingModes, UringKey, UringSubmission,
    },
    watch::{MAX_NAMES, Watching},
};

use crate::output::{SCRATCH_PER_CPU, Scratch};

/// See [`KernelOffsets`].
#[unsafe(no_mangle)]
pub static OFFSETS: Global<KernelOffsets> = Global::new(KernelOffsets::NONE);

/// See [`Settings`].
#[unsafe(no_mangle)]
pub static SETTINGS: Global<Settings> = Global::new(Settings {
    controller: ABSENT,
    hierarchy_id: 0,
    host_mnt_ns: 0,
    host_pid_ns: 0,
    host_net_ns: 0,
    host_classes: 0,
    agent_pid: 0,
    uring_opcode_argument: 0,
    uring_by_user_data: 0,
    has_registers_helper: 0,
    stack_size: 0,
    budgets: [Budget::NONE; Class::PLACES],
});

/// The lane for everything that comes in volume. The agent sets the size of both rings.
#[map]
pub static TELEMETRY: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// The lane for what must arrive while the other one is flooded.
#[map]
pub static CRITICAL: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// State by cgroup id.
#[map]
pub static CGROUPS: HashMap<u64, CgroupState> = HashMap::with_max_entries(MAX_CGROUPS, 0);

/// Token buckets.
#[map]
pub static BUDGETS: LruHashMap<BucketKey, Bucket> = LruHashMap::with_max_entries(MAX_BUCKETS, 0);

/// Records lost, by cgroup, class and reason.
#[map]
pub static LOSSES: PerCpuHashMap<LossKey, u64> = PerCpuHashMap::with_max_entries(MAX_LOSS_KEYS, 0);

/// Where records are put together.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SCRATCH_PER_CPU, 0);

/// What the arguments of system calls mean, by number.
#[map]
pub static CALLS: Array<Spec> = Array::with_max_entries(MAX_SYSTEM_CALLS, 0);

/// State of a process before a system call that may change it, by thread.
#[map]
pub static BEFORE: LruHashMap<u64, Identity> = LruHashMap::with_max_entries(MAX_PENDING, 0);

/// Hashes of names that are watched, with bits of [`watch`](watchkeeper_ebpf::watch).
#[map]
pub static WATCHED_NAMES: HashMap<u64, u32> = HashMap::with_max_entries(MAX_NAMES, 0);

/// See [`Watching`].
#[map]
pub static WATCHING: Array<Watching> = Array::with_max_entries(1, 0);

/// Credentials as they were seen last, by thread.
#[map]
pub static CREDENTIALS: LruHashMap<u64, KnownCredentials> =
    LruHashMap::with_max_entries(MAX_TASKS, 0);

/// Whose TCP connections are, by address of the socket.
#[map]
pub static FLOWS: LruHashMap<u64, Flow> = LruHashMap::with_max_entries(MAX_FLOWS, 0);

/// TCP connections under way, likewise. The agent reads it, to tell of those that take long.
#[map]
pub static CONNECTING: LruHashMap<u64, Connecting> =
    LruHashMap::with_max_entries(MAX_CONNECTING, 0);

/// UDP flows that were reported.
#[map]
pub static DATAGRAM_FLOWS: LruHashMap<watchkeeper_ebpf::record::Addresses, u64> =
    LruHashMap::with_max_entries(MAX_DATAGRAM_FLOWS, 0);

/// TCP connections that begin with JSON, whose next segments are looked at, too.
#[map]
pub static JSON_FLOWS: LruHashMap<watchkeeper_ebpf::record::Addresses, u32> =
    LruHashMap::with_max_entries(MAX_JSON_FLOWS, 0);

/// In which tick of the clock floating-point registers were looked at last.
#[map]
pub static LOOKED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Rounding modes that a process was seen in, by process id.
#[map]
pub static ROUNDINGS: LruHashMap<u32, RoundingModes> =
    LruHashMap::with_max_entries(MAX_ROUNDINGS, 0);

/// Operations of io_uring that were reported, with the start of the process.
#[map]
pub static URING: LruHashMap<UringKey, u64> = LruHashMap::with_max_entries(MAX_URING, 0);

/// Opens through io_uring that are under way, on kernels whose completions name no request: the place in the ring's own table that
/// they are to open into, or 0 for a descriptor.
#[map]
pub static URING_OPENS: LruHashMap<UringSubmission, u32> =
    LruHashMap::with_max_entries(MAX_URING, 0);
