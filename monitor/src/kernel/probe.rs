//! What the running kernel offers, found out by trying.

use std::{fs, path::Path};

use aya::{
    maps::MapType,
    programs::{LsmAttachType, ProgramType},
    sys,
};

use super::{
    attach::SensorState,
    btf::VMLINUX,
    loader::{HostNamespaces, INITIAL_PID_NAMESPACE, Kernel, Options},
    sensors,
};

/// Smallest ring buffer: enough to load the programs.
const TRIAL_RING: u32 = 64 << 10;

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The thing.
    pub name: String,
    /// How it is.
    pub outcome: Outcome,
}

/// See [`Finding::outcome`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is there, with this detail.
    Present(String),
    /// It is not there; the agent works without it.
    Absent {
        /// Why, or what that costs.
        why: String,
    },
    /// It is not there, and the agent can't work.
    Missing {
        /// Why.
        why: String,
        /// How to get it.
        remedy: String,
    },
    /// It could not be found out.
    Unknown {
        /// Why.
        why: String,
    },
}

fn finding(name: &str, outcome: Outcome) -> Finding {
    Finding {
        name: name.to_owned(),
        outcome,
    }
}

/// Finds out everything that concerns the kernel. Loads and attaches the sensors for a moment.
#[must_use]
pub fn all() -> Vec<Finding> {
    let mut findings = vec![
        privileges(),
        type_information(),
        host_view(),
        ring_buffers(),
    ];
    findings.extend(trial());
    findings.extend(compat_calls());
    findings.extend(richer_hooks());
    findings
}

/// Whether the agent can do its work, as far as `findings` tell.
#[must_use]
pub fn works(findings: &[Finding]) -> bool {
    !findings
        .iter()
        .any(|finding| matches!(finding.outcome, Outcome::Missing { .. }))
}

fn privileges() -> Finding {
    let outcome = if rustix::process::geteuid().is_root() {
        Outcome::Present("root".to_owned())
    } else {
        Outcome::Missing {
            why: "not root".to_owned(),
            remedy: "run it with sudo".to_owned(),
        }
    };
    finding("privileges", outcome)
}

fn type_information() -> Finding {
    let outcome = match fs::metadata(VMLINUX) {
        Ok(metadata) => Outcome::Present(format!("{VMLINUX}, {} KiB", metadata.len() >> 10)),
        Err(error) => Outcome::Missing {
            why: format!("{VMLINUX}: {error}"),
            remedy: "use a kernel that is built with CONFIG_DEBUG_INFO_BTF=y, as those of RHEL 8.2, Debian 11, Ubuntu \
                     20.10 and later are"
                .to_owned(),
        },
    };
    finding("type information (BTF)", outcome)
}

fn host_view() -> Finding {
    let outcome = match HostNamespaces::read() {
        Ok(host) if host.pid == INITIAL_PID_NAMESPACE => {
            Outcome::Present("sees every process of the host".to_owned())
        }
        Ok(_) => Outcome::Missing {
            why: "this is not the host's pid namespace".to_owned(),
            remedy: "run it on the host, or in a pod with hostPID: true".to_owned(),
        },
        Err(error) => Outcome::Missing {
            why: error.to_string(),
            remedy: "run it as root, with procfs mounted on /proc".to_owned(),
        },
    };
    finding("host's processes", outcome)
}

fn ring_buffers() -> Finding {
    let outcome = match sys::is_map_supported(MapType::RingBuf) {
        Ok(true) => Outcome::Present("since kernel 5.8".to_owned()),
        Ok(false) => Outcome::Missing {
            why: "this kernel has none".to_owned(),
            remedy: "use kernel 5.8 or later".to_owned(),
        },
        Err(error) => Outcome::Unknown {
            why: error.to_string(),
        },
    };
    finding("BPF ring buffers", outcome)
}

/// Each sensor with the hook it would use, by loading it.
fn trial() -> Vec<Finding> {
    let kernel = Kernel::load(&Options {
        telemetry_bytes: TRIAL_RING,
        critical_bytes: TRIAL_RING,
        disabled: Vec::new(),
        host_classes: Vec::new(),
        budgets: Vec::new(),
    });
    let kernel = match kernel {
        Ok(kernel) => kernel,
        Err(error) => {
            return vec![finding(
                "eBPF programs",
                Outcome::Missing {
                    why: error.to_string(),
                    remedy:
                        "see what is missing above; the kernel must allow BPF tracing programs \
                             (CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN before 5.8)"
                            .to_owned(),
                },
            )];
        }
    };
    let mut findings: Vec<Finding> = kernel
        .sensors
        .iter()
        .map(|status| {
            let hook = sensors::hook(status.sensor);
            let outcome = match (status.state, status.sensor) {
                (SensorState::Active, _) if status.reason.is_empty() => Outcome::Present(hook),
                (SensorState::Active, _) => Outcome::Present(format!("{hook}; {}", status.reason)),
                (SensorState::NotOffered, _) => {
                    Outcome::Present(format!("not needed: {}", status.reason))
                }
                // Without it there is nothing to alert on.
                (_, watchkeeper_ebpf::offsets::Sensor::Exec) => Outcome::Missing {
                    why: format!("{hook}: {}", status.reason),
                    remedy: "no alert works without it; report the kernel's version with this line"
                        .to_owned(),
                },
                (_, sensor) => Outcome::Absent {
                    why: format!(
                        "{hook}: {}; {}",
                        status.reason,
                        sensors::consequence(sensor)
                    ),
                },
            };
            finding(&format!("sensor {}", sensors::name(status.sensor)), outcome)
        })
        .collect();
    findings.push(finding(
        "cgroup hierarchy",
        Outcome::Present(format!(
            "{} at {}",
            kernel.hierarchy.name(),
            kernel.hierarchy.mount.display()
        )),
    ));
    findings
}

/// Whether there are system calls that the sensors of system calls do not see: those of 32-bit programs, which the kernel
/// leaves out of the tracepoints of single calls (`ARCH_TRACE_IGNORE_COMPAT_SYSCALLS`, arch/x86/include/asm/ftrace.h).
fn compat_calls() -> Option<Finding> {
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    // There where the kernel can run 32-bit programs (arch/x86/entry/vdso/vdso32-setup.c).
    let outcome = if Path::new("/proc/sys/abi/vsyscall32").exists() {
        Outcome::Absent {
            why: "known gap: this kernel runs 32-bit programs, and no tracepoint of a single call shows theirs: their files, \
                  mounts, namespaces, ptrace and kernel calls are missed (their processes, TCP connections, packets, \
                  signals and io_uring are seen, and credentials that they change are reported as unexplained)"
                .to_owned(),
        }
    } else {
        Outcome::Present("none are missed: this kernel runs no 32-bit programs".to_owned())
    };
    Some(finding("32-bit system calls", outcome))
}

/// What later sensors could use in place of tracepoints.
fn richer_hooks() -> Vec<Finding> {
    let program = |name: &str, kind: ProgramType| {
        let outcome = match sys::is_program_supported(kind) {
            Ok(true) => Outcome::Present("offered; no sensor needs it".to_owned()),
            Ok(false) => Outcome::Absent {
                why: "not offered; no sensor needs it".to_owned(),
            },
            Err(error) => Outcome::Unknown {
                why: error.to_string(),
            },
        };
        finding(name, outcome)
    };
    let active = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let lsm = if active.split(',').any(|module| module.trim() == "bpf") {
        program("BPF LSM", ProgramType::Lsm(LsmAttachType::Mac))
    } else {
        finding(
            "BPF LSM",
            Outcome::Absent {
                why: "`bpf` is not among the active security modules (boot parameter lsm=); no sensor needs it"
                    .to_owned(),
            },
        )
    };
    let kprobes = if Path::new("/sys/bus/event_source/devices/kprobe").exists() {
        Outcome::Present("offered; no sensor needs it".to_owned())
    } else {
        Outcome::Absent {
            why: "not in this kernel; no sensor needs it".to_owned(),
        }
    };
    vec![lsm, finding("kprobes", kprobes)]
}
