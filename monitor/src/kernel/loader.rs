//! Loading the object: its globals, its maps, and its programs, each of which may fail alone.

use std::{fs, io, os::unix::fs::MetadataExt as _};

use aya::{
    Btf, Ebpf, EbpfLoader, Pod, include_bytes_aligned,
    maps::{Array, HashMap, MapData, PerCpuHashMap, RingBuf},
    programs::ProgramType,
    sys::{self, BpfHelper},
};
use watchkeeper_ebpf::{
    budget::{Bucket, BucketKey, Budget, Rate, default_rate},
    calls::{Spec, TABLE},
    cgroup::CgroupState,
    loss::{Class, LossKey},
    offsets::{KernelOffsets, Sensor, Settings},
    record::{Namespaces, flag},
    tables::Connecting,
    watch::Watching,
};

use super::{
    attach::{Attacher, LoadedProgram, SensorState, SensorStatus},
    btf::{BtfError, KernelTypes},
    hierarchy::{Hierarchy, HierarchyError},
    offsets, sensors, syscalls,
    tracefs::Tracefs,
};

/// The programs, as the build made them.
pub(super) static OBJECT: &[u8] =
    include_bytes_aligned!(concat!(env!("OUT_DIR"), "/watchkeeper-kernel"));

/// A shared structure, for the bounds of aya's maps and globals.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shared<T>(pub T);

// SAFETY: `repr(C)` structures of integers without padding: any bytes of their size are a valid value.
unsafe impl Pod for Shared<KernelOffsets> {}
// SAFETY: as above.
unsafe impl Pod for Shared<Settings> {}
// SAFETY: as above.
unsafe impl Pod for Shared<CgroupState> {}
// SAFETY: as above.
unsafe impl Pod for Shared<BucketKey> {}
// SAFETY: as above.
unsafe impl Pod for Shared<Bucket> {}
// SAFETY: as above.
unsafe impl Pod for Shared<LossKey> {}
// SAFETY: as above.
unsafe impl Pod for Shared<Spec> {}
// SAFETY: as above.
unsafe impl Pod for Shared<Watching> {}
// SAFETY: as above.
unsafe impl Pod for Shared<Connecting> {}

/// What to load, and how large.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the ring for telemetry; a power of two.
    pub telemetry_bytes: u32,
    /// Bytes of the ring for what must arrive; a power of two.
    pub critical_bytes: u32,
    /// Sensors that the operator does not want.
    pub disabled: Vec<Sensor>,
    /// Classes of records that are wanted of the host's own processes.
    pub host_classes: Vec<Class>,
    /// Budgets other than the usual ones.
    pub budgets: Vec<(Class, Rate)>,
}

/// The programs could not be loaded at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No type information.
    #[error(
        "{0}; the kernel must be built with CONFIG_DEBUG_INFO_BTF=y (`watchkeeper doctor` tells more)"
    )]
    Btf(#[from] BtfError),
    /// No cgroup hierarchy.
    #[error(transparent)]
    Hierarchy(#[from] HierarchyError),
    /// The host's namespaces are unknown.
    #[error("reading the host's namespaces from {path}: {source}")]
    Namespace {
        /// The link.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Only a part of the processes is in sight.
    #[error(
        "starting: this is not the host's pid namespace; run it on the host, or in a pod with hostPID: true"
    )]
    PidNamespace,
    /// The kernel refused a map, or the object is damaged.
    #[error("loading the eBPF object: {}", chain(&**.0))]
    Object(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Not one sensor could be attached.
    #[error("attaching the sensors: none could be attached; {reason}")]
    NoSensor {
        /// Why the first one could not.
        reason: String,
    },
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !line.contains(&cause_text) {
            line = format!("{line}: {cause_text}");
        }
        source = cause.source();
    }
    line
}

/// The loaded programs with their maps.
pub struct Kernel {
    /// Programs and links: everything is detached when this is dropped.
    pub programs: Ebpf,
    /// The lane for volume.
    pub telemetry: RingBuf<MapData>,
    /// The lane for what must arrive.
    pub critical: RingBuf<MapData>,
    /// State by cgroup id.
    pub cgroups: HashMap<MapData, u64, Shared<CgroupState>>,
    /// Token buckets.
    pub budgets: HashMap<MapData, Shared<BucketKey>, Shared<Bucket>>,
    /// Lost records.
    pub losses: PerCpuHashMap<MapData, Shared<LossKey>, u64>,
    /// Hashes of watched names.
    pub watched_names: HashMap<MapData, u64, u32>,
    /// What the programs look up beside them.
    pub watching: Array<MapData, Shared<Watching>>,
    /// TCP connections under way, by address of the socket.
    pub connecting: HashMap<MapData, u64, Shared<Connecting>>,
    /// What was loaded.
    pub loaded: Vec<LoadedProgram>,
    /// Whether every system call that changes credentials is hooked.
    pub credentials_explained: bool,
    /// Where containers are recognised.
    pub hierarchy: Hierarchy,
    /// State of each sensor.
    pub sensors: Vec<SensorStatus>,
    /// Inode numbers of the host's namespaces.
    pub host: HostNamespaces,
}

/// Inode numbers of the namespaces of the host's first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostNamespaces {
    /// Mount namespace.
    pub mnt: u32,
    /// Pid namespace.
    pub pid: u32,
    /// Network namespace.
    pub net: u32,
}

/// Inode number of the initial pid namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
pub const INITIAL_PID_NAMESPACE: u32 = 0xEFFF_FFFC;

impl HostNamespaces {
    /// Reads them from the first process, or from the kernel's own first thread where that one is shielded: it
    /// never leaves the namespaces the kernel began with.
    ///
    /// # Errors
    /// When procfs shows neither: not root, or procfs is not mounted.
    pub fn read() -> Result<Self, LoadError> {
        Self::of(1).or_else(|error| Self::of(2).map_err(|_| error))
    }

    /// Which of these namespaces are the host's, as bits of [`flag`].
    #[must_use]
    pub fn flags_of(&self, namespaces: &Namespaces) -> u32 {
        let mut flags = 0;
        for (is_host, bit) in [
            (namespaces.mnt == self.mnt, flag::HOST_MNT_NS),
            (namespaces.pid == self.pid, flag::HOST_PID_NS),
            (namespaces.net == self.net, flag::HOST_NET_NS),
        ] {
            if is_host {
                flags |= bit;
            }
        }
        flags
    }

    fn of(pid: u32) -> Result<Self, LoadError> {
        let inode = |name: &str| {
            let path = format!("/proc/{pid}/ns/{name}");
            match fs::metadata(&path) {
                // Namespace inode numbers are 32 bits (`ns_common.inum`).
                Ok(metadata) => Ok(u32::try_from(metadata.ino()).unwrap_or(0)),
                Err(source) => Err(LoadError::Namespace { path, source }),
            }
        };
        Ok(Self {
            mnt: inode("mnt")?,
            pid: inode("pid")?,
            net: inode("net")?,
        })
    }
}

impl Kernel {
    /// Loads the object into the running kernel, and attaches every sensor that it takes.
    ///
    /// # Errors
    /// When nothing could be attached; a single sensor's failure is in [`Kernel::sensors`].
    pub fn load(options: &Options) -> Result<Self, LoadError> {
        let types = KernelTypes::of_running_kernel()?;
        let hierarchy = Hierarchy::find(&types)?;
        let offsets = offsets::resolve(&types);
        let uring_opcode_argument = types.uring_opcode_argument();
        let host = HostNamespaces::read()?;
        if host.pid != INITIAL_PID_NAMESPACE {
            return Err(LoadError::PidNamespace);
        }

        let settings = Shared(Settings {
            controller: hierarchy.controller_index,
            hierarchy_id: hierarchy.id,
            host_mnt_ns: host.mnt,
            host_pid_ns: host.pid,
            host_net_ns: host.net,
            host_classes: options
                .host_classes
                .iter()
                .fold(0, |set, class| set | class.bit()),
            agent_pid: std::process::id(),
            uring_opcode_argument,
            uring_by_user_data: u32::from(types.uring_completes_by_user_data()),
            has_registers_helper: u32::from(has_registers_helper()),
            stack_size: stack_size(),
            budgets: budgets(&options.budgets),
        });
        let shared_offsets = Shared(offsets);
        let mut ebpf = EbpfLoader::new()
            .override_global("OFFSETS", &shared_offsets, true)
            .override_global("SETTINGS", &settings, true)
            .map_max_entries("TELEMETRY", options.telemetry_bytes)
            .map_max_entries("CRITICAL", options.critical_bytes)
            .load(OBJECT)
            .map_err(|error| LoadError::Object(error.into()))?;
        describe_calls(&mut ebpf)?;

        let btf = Btf::from_sys_fs().map_err(|error| LoadError::Object(error.into()))?;
        let mut attacher = Attacher {
            ebpf: &mut ebpf,
            btf: &btf,
            types: &types,
            offsets: &offsets,
            hierarchy: &hierarchy,
            tracefs: Tracefs::ensure().map_err(|error| format!("mounting tracefs: {error}")),
            loaded: std::collections::HashMap::new(),
        };
        let sensors: Vec<SensorStatus> = Sensor::ALL
            .into_iter()
            .map(|sensor| {
                if options.disabled.contains(&sensor) {
                    return SensorStatus {
                        sensor,
                        state: SensorState::Disabled,
                        reason: "disabled by --disable-sensor".to_owned(),
                        verified_instructions: 0,
                    };
                }
                attacher.attach(sensor)
            })
            .collect();
        let mut loaded: Vec<LoadedProgram> = attacher
            .loaded
            .into_values()
            .filter_map(Result::ok)
            .collect();
        loaded.sort_by_key(|program| program.name);
        if !sensors
            .iter()
            .any(|status| status.state == SensorState::Active)
        {
            let reason = sensors
                .into_iter()
                .map(|status| format!("{}: {}", sensors::hook(status.sensor), status.reason))
                .next()
                .unwrap_or_default();
            return Err(LoadError::NoSensor { reason });
        }

        Ok(Self {
            telemetry: RingBuf::try_from(take(&mut ebpf, "TELEMETRY")?).map_err(object)?,
            critical: RingBuf::try_from(take(&mut ebpf, "CRITICAL")?).map_err(object)?,
            cgroups: HashMap::try_from(take(&mut ebpf, "CGROUPS")?).map_err(object)?,
            budgets: HashMap::try_from(take(&mut ebpf, "BUDGETS")?).map_err(object)?,
            losses: PerCpuHashMap::try_from(take(&mut ebpf, "LOSSES")?).map_err(object)?,
            watched_names: HashMap::try_from(take(&mut ebpf, "WATCHED_NAMES")?).map_err(object)?,
            watching: Array::try_from(take(&mut ebpf, "WATCHING")?).map_err(object)?,
            connecting: HashMap::try_from(take(&mut ebpf, "CONNECTING")?).map_err(object)?,
            loaded,
            credentials_explained: explained(&sensors),
            programs: ebpf,
            hierarchy,
            sensors,
            host,
        })
    }
}

fn object(error: aya::maps::MapError) -> LoadError {
    LoadError::Object(error.into())
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<aya::maps::Map, LoadError> {
    ebpf.take_map(name)
        .ok_or_else(|| LoadError::Object(format!("it has no map {name}").into()))
}

/// Whether every system call that changes credentials is hooked.
fn explained(sensors: &[SensorStatus]) -> bool {
    sensors
        .iter()
        .filter(|status| {
            matches!(
                status.sensor,
                Sensor::Credentials | Sensor::Namespaces | Sensor::Exec | Sensor::Fork
            )
        })
        .all(|status| status.state == SensorState::Active)
}

/// Whether a helper tells where the registers are that a task entered the kernel with (`bpf_task_pt_regs`, since 5.15).
fn has_registers_helper() -> bool {
    let supported =
        sys::is_helper_supported(ProgramType::TracePoint, BpfHelper::BPF_FUNC_task_pt_regs);
    supported.unwrap_or(false)
}

/// Bytes of a task's kernel stack (`THREAD_SIZE`): 16 KiB, and on 64-bit ARM at least a page.
fn stack_size() -> u32 {
    const USUAL: u32 = 16 << 10;
    if cfg!(target_arch = "aarch64") {
        u32::try_from(rustix::param::page_size()).map_or(USUAL, |page| page.max(USUAL))
    } else {
        USUAL
    }
}

/// The budgets of all classes.
fn budgets(chosen: &[(Class, Rate)]) -> [Budget; Class::PLACES] {
    let mut budgets = [Budget::NONE; Class::PLACES];
    for class in Class::ALL {
        let rate = chosen
            .iter()
            .rev()
            .find(|(found, _)| *found == class)
            .map_or(default_rate(class), |(_, rate)| *rate);
        budgets[class as usize] = rate.into();
    }
    budgets
}

/// Tells the programs what the arguments of system calls mean.
fn describe_calls(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    let map = ebpf
        .map_mut("CALLS")
        .ok_or_else(|| LoadError::Object("it has no map CALLS".into()))?;
    let mut calls: Array<_, Shared<Spec>> = Array::try_from(map).map_err(object)?;
    for row in TABLE {
        if let Some(number) = syscalls::number(row.call) {
            calls.set(number, Shared(row.spec), 0).map_err(object)?;
        }
    }
    Ok(())
}
