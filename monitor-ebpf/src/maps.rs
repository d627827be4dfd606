//! Maps and globals. The agent sets the globals when it loads the object, and the kernel freezes them.

use aya_ebpf::{
    Global,
    macros::map,
    maps::{HashMap, PerCpuArray, PerCpuHashMap, RingBuf},
};
use watchkeeper_ebpf::{
    cgroup::{CgroupState, MAX_CGROUPS},
    loss::{LossKey, MAX_LOSS_KEYS},
    offsets::{ABSENT, KernelOffsets, Settings},
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

/// Records lost, by cgroup, class and reason.
#[map]
pub static LOSSES: PerCpuHashMap<LossKey, u64> = PerCpuHashMap::with_max_entries(MAX_LOSS_KEYS, 0);

/// Where records are put together.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SCRATCH_PER_CPU, 0);
