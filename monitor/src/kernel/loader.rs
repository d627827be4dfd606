//! Loading and attaching: one object, and a sensor that fails leaves the others running.

use std::{fs, io, os::unix::fs::MetadataExt as _};

use aya::{
    Btf, Ebpf, EbpfLoader, Pod, include_bytes_aligned,
    maps::{HashMap, MapData, PerCpuHashMap, RingBuf},
    programs::{BtfTracePoint, ProgramError},
};
use watchkeeper_ebpf::{
    cgroup::CgroupState,
    loss::LossKey,
    offsets::{KernelOffsets, Sensor, Settings},
};

use super::{
    btf::{BtfError, KernelTypes},
    hierarchy::{Hierarchy, HierarchyError},
    offsets,
};

/// The programs, as the build made them.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/watchkeeper-kernel"));

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
unsafe impl Pod for Shared<LossKey> {}

/// What to load, and how large.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the ring for telemetry; a power of two.
    pub telemetry_bytes: u32,
    /// Bytes of the ring for what must arrive; a power of two.
    pub critical_bytes: u32,
    /// Sensors that the operator does not want.
    pub disabled: Vec<Sensor>,
}

/// State of one sensor.
#[derive(Clone, Debug)]
pub struct SensorStatus {
    /// Which.
    pub sensor: Sensor,
    /// How it is.
    pub state: SensorState,
    /// Why it is not active, or which detail it lacks; empty otherwise.
    pub reason: String,
    /// Instructions the verifier went through; 0 where the kernel does not tell.
    pub verified_instructions: u32,
}

/// See [`SensorStatus::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SensorState {
    /// Loaded and attached.
    Active,
    /// The kernel refused it, or lacks something it needs.
    Failed,
    /// Not wanted.
    Disabled,
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
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
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
    /// Lost records.
    pub losses: PerCpuHashMap<MapData, Shared<LossKey>, u64>,
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
        drop(types);
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
        });
        let shared_offsets = Shared(offsets);
        let mut ebpf = EbpfLoader::new()
            .override_global("OFFSETS", &shared_offsets, true)
            .override_global("SETTINGS", &settings, true)
            .map_max_entries("TELEMETRY", options.telemetry_bytes)
            .map_max_entries("CRITICAL", options.critical_bytes)
            .load(OBJECT)
            .map_err(|error| LoadError::Object(error.into()))?;

        let btf = Btf::from_sys_fs().map_err(|error| LoadError::Object(error.into()))?;
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
                attach(&mut ebpf, &btf, &offsets, sensor)
            })
            .collect();
        if !sensors
            .iter()
            .any(|status| status.state == SensorState::Active)
        {
            let reason = sensors
                .into_iter()
                .map(|status| format!("{}: {}", hook(status.sensor), status.reason))
                .next()
                .unwrap_or_default();
            return Err(LoadError::NoSensor { reason });
        }

        Ok(Self {
            telemetry: RingBuf::try_from(take(&mut ebpf, "TELEMETRY")?).map_err(object)?,
            critical: RingBuf::try_from(take(&mut ebpf, "CRITICAL")?).map_err(object)?,
            cgroups: HashMap::try_from(take(&mut ebpf, "CGROUPS")?).map_err(object)?,
            losses: PerCpuHashMap::try_from(take(&mut ebpf, "LOSSES")?).map_err(object)?,
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

/// Name of a sensor, for people and for `--disable-sensor`.
#[must_use]
pub fn name(sensor: Sensor) -> &'static str {
    match sensor {
        Sensor::Fork => "process-fork",
        Sensor::Exec => "process-exec",
        Sensor::Exit => "process-exit",
        Sensor::CgroupMkdir => "cgroup-create",
        Sensor::CgroupRmdir => "cgroup-remove",
        Sensor::CgroupAttach => "cgroup-attach",
    }
}

/// What is missing without a sensor.
#[must_use]
pub fn consequence(sensor: Sensor) -> &'static str {
    match sensor {
        Sensor::Fork => {
            "processes that run no program of their own are unknown, and lineage has gaps"
        }
        Sensor::Exec => "programs are not seen, and nothing is detected",
        Sensor::Exit => "ends of processes are not seen, and the process table fills up",
        Sensor::CgroupMkdir => {
            "new containers are recognised late, and what they do first is not attributed to them"
        }
        Sensor::CgroupRmdir => "ended containers are listed as running",
        Sensor::CgroupAttach => "processes put into a container from outside may count as its own",
    }
}

/// The tracepoint a sensor hooks, which is also the name of its program.
#[must_use]
pub fn hook(sensor: Sensor) -> &'static str {
    match sensor {
        Sensor::Fork => "sched_process_fork",
        Sensor::Exec => "sched_process_exec",
        Sensor::Exit => "sched_process_exit",
        Sensor::CgroupMkdir => "cgroup_mkdir",
        Sensor::CgroupRmdir => "cgroup_rmdir",
        Sensor::CgroupAttach => "cgroup_attach_task",
    }
}

/// Loads and attaches one sensor.
fn attach(ebpf: &mut Ebpf, btf: &Btf, offsets: &KernelOffsets, sensor: Sensor) -> SensorStatus {
    let failed = |reason: String| SensorStatus {
        sensor,
        state: SensorState::Failed,
        reason,
        verified_instructions: 0,
    };
    let missing = offsets::missing(offsets, sensor);
    if !missing.is_empty() {
        let names: Vec<_> = missing
            .iter()
            .map(|field| field.places.join(" or "))
            .collect();
        return failed(format!("this kernel has no {}", names.join(", no ")));
    }
    let hook = hook(sensor);
    let Some(program) = ebpf.program_mut(hook) else {
        return failed("the eBPF object has no such program".to_owned());
    };
    let result: Result<u32, ProgramError> = (|| {
        let program: &mut BtfTracePoint = program.try_into()?;
        program.load(hook, btf)?;
        program.attach()?;
        Ok(program
            .info()?
            .verified_instruction_count()
            .unwrap_or_default())
    })();
    match result {
        Ok(verified_instructions) => SensorStatus {
            sensor,
            state: SensorState::Active,
            reason: if sensor == Sensor::Exec && !offsets::knows_upper_layer(offsets) {
                "overlayfs is not loaded or has no BTF: files of an overlay's upper layer are not told apart"
                    .to_owned()
            } else {
                String::new()
            },
            verified_instructions,
        },
        Err(error) => {
            tracing::debug!(sensor = name(sensor), error = ?error, "sensor failed");
            failed(reason(&error))
        }
    }
}

/// Why a program failed, in one line: of a verifier's log the last line that says something.
fn reason(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = format!("{verifier_log:?}");
            let said = log
                .lines()
                .rev()
                .find(|line| !line.trim().is_empty() && !line.starts_with("processed "));
            match said {
                Some(said) => format!("the kernel refused it ({io_error}): {}", said.trim()),
                None => format!("the kernel refused it ({io_error})"),
            }
        }
        error => chain(error),
    }
}
