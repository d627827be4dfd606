//! The sensors by name, what each hooks, and what is missing without it.

use watchkeeper_ebpf::{
    calls::{Row, TABLE, spec_flag},
    offsets::Sensor,
};

/// What a sensor hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hooks {
    /// A BTF-enabled tracepoint: its program's name, and the names that the tracepoint has had, the newest first.
    Tracepoint(&'static str, &'static [&'static str]),
    /// The calls that are the sensor's in the table of system calls.
    Calls(Programs),
    /// Packets at the root cgroup: the program's name.
    Packets(&'static str),
}

/// Programs that are attached to the beginning and the end of system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Programs {
    /// For beginnings.
    pub enter: Option<&'static str>,
    /// For ends.
    pub exit: Option<&'static str>,
}

/// For the calls whose arguments alone matter.
const CALLS: Hooks = Hooks::Calls(Programs {
    enter: Some("call_enter"),
    exit: Some("call_exit"),
});

/// A sensor as people see it.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Name, for people and for `--disable-sensor`.
    pub name: &'static str,
    /// What it hooks.
    pub hooks: Hooks,
    /// What is missing without it.
    pub consequence: &'static str,
}

const fn tracepoint(name: &'static [&'static str], program: &'static str) -> Hooks {
    Hooks::Tracepoint(program, name)
}

/// Describes a sensor.
#[must_use]
pub fn describe(sensor: Sensor) -> Description {
    let (name, hooks, consequence) = match sensor {
        Sensor::Fork => (
            "process-fork",
            tracepoint(&["sched_process_fork"], "sched_process_fork"),
            "processes that run no program of their own are unknown, and lineage has gaps",
        ),
        Sensor::Exec => (
            "process-exec",
            tracepoint(&["sched_process_exec"], "sched_process_exec"),
            "programs are not seen, and nothing is detected",
        ),
        Sensor::Exit => (
            "process-exit",
            tracepoint(&["sched_process_exit"], "sched_process_exit"),
            "ends of processes are not seen, and the process table fills up",
        ),
        Sensor::CgroupMkdir => (
            "cgroup-create",
            tracepoint(&["cgroup_mkdir"], "cgroup_mkdir"),
            "new containers are recognised late, and what they do first is not attributed to them",
        ),
        Sensor::CgroupRmdir => (
            "cgroup-remove",
            tracepoint(&["cgroup_rmdir"], "cgroup_rmdir"),
            "ended containers are listed as running",
        ),
        Sensor::CgroupAttach => (
            "cgroup-attach",
            tracepoint(&["cgroup_attach_task"], "cgroup_attach_task"),
            "processes put into a container from outside may count as its own",
        ),
        Sensor::TcpState => (
            "tcp-state",
            tracepoint(&["inet_sock_set_state"], "inet_sock_set_state"),
            "TCP connections and listening sockets are not seen",
        ),
        Sensor::SocketCalls => (
            "sockets",
            Hooks::Calls(Programs {
                enter: None,
                exit: Some("socket_exit"),
            }),
            "accepted connections, bound and raw sockets, and connections to container runtimes are not seen",
        ),
        Sensor::PacketsOut => (
            "packets-out",
            Hooks::Packets("packet_out"),
            "UDP flows, DNS queries and the protocols of miners are not seen",
        ),
        Sensor::PacketsIn => (
            "packets-in",
            Hooks::Packets("packet_in"),
            "DNS answers are not seen, and connections have no names",
        ),
        Sensor::FileOpen => (
            "file-open",
            Hooks::Calls(Programs {
                enter: None,
                exit: Some("open_exit"),
            }),
            "opens of watched files, devices and kernel control files are not seen",
        ),
        Sensor::FileChanges => (
            "file-changes",
            CALLS,
            "renamed, removed, linked and executable files are not seen",
        ),
        Sensor::Mounts => ("mounts", CALLS, "mounts and changes of root are not seen"),
        Sensor::Namespaces => (
            "namespaces",
            CALLS,
            "entering and leaving namespaces is not seen",
        ),
        Sensor::Credentials => (
            "credentials",
            CALLS,
            "changes of users and capabilities are not seen",
        ),
        Sensor::CredentialCheck => (
            "credential-check",
            Hooks::Calls(Programs {
                enter: Some("credential_check"),
                exit: None,
            }),
            "credentials that change without a system call are found later, or never",
        ),
        Sensor::ProcessAccess => (
            "process-access",
            CALLS,
            "ptrace and access to other processes' memory are not seen",
        ),
        Sensor::ProcessControl => (
            "process-control",
            CALLS,
            "memfds, userfaultfds and changes of a process's name are not seen",
        ),
        Sensor::Signals => (
            "signals",
            tracepoint(&["signal_generate"], "signal_generate"),
            "signals from containers to the outside are not seen",
        ),
        Sensor::KernelCalls => (
            "kernel-calls",
            CALLS,
            "bpf, kexec, perf, key and io_uring calls are not seen",
        ),
        Sensor::IoUring => (
            "io-uring",
            tracepoint(
                &["io_uring_submit_req", "io_uring_submit_sqe"],
                "io_uring_submit",
            ),
            "operations through io_uring are not seen",
        ),
        Sensor::IoUringOpen => (
            "io-uring-open",
            tracepoint(&["io_uring_complete"], "io_uring_complete"),
            "files that are opened through io_uring are only seen as its use",
        ),
        Sensor::ModuleLoad => (
            "module-load",
            tracepoint(&["module_load"], "module_load"),
            "modules that are loaded are only seen as system calls",
        ),
        Sensor::ModuleFree => (
            "module-unload",
            tracepoint(&["module_free"], "module_free"),
            "modules that are unloaded are only seen as system calls",
        ),
        Sensor::SelinuxDenials => (
            "selinux-denials",
            tracepoint(&["selinux_audited"], "selinux_audited"),
            "denials of SELinux are not seen",
        ),
        Sensor::Rounding => (
            "float-rounding",
            tracepoint(&["x86_fpu_regs_deactivated"], "fpu_regs_deactivated"),
            "RandomX is not recognised by its arithmetic",
        ),
    };
    Description {
        name,
        hooks,
        consequence,
    }
}

/// A part of the kernel that may be left out.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// What it is called.
    pub name: &'static str,
    /// What is there where the kernel has it.
    pub place: &'static str,
}

/// The part of the kernel that a sensor watches, where that may be left out: nothing is missed then.
#[must_use]
pub fn part(sensor: Sensor) -> Option<Part> {
    match sensor {
        Sensor::ModuleLoad | Sensor::ModuleFree => Some(Part {
            name: "loadable modules",
            place: "/proc/modules",
        }),
        Sensor::SelinuxDenials => Some(Part {
            name: "SELinux, or it is off",
            place: "/sys/fs/selinux",
        }),
        Sensor::Rounding => Some(Part {
            name: "floating-point unit of x86",
            place: if cfg!(target_arch = "x86_64") {
                "/"
            } else {
                ""
            },
        }),
        _ => None,
    }
}

/// Name of a sensor.
#[must_use]
pub fn name(sensor: Sensor) -> &'static str {
    describe(sensor).name
}

/// What is missing without a sensor.
#[must_use]
pub fn consequence(sensor: Sensor) -> &'static str {
    describe(sensor).consequence
}

/// The rung of the ladder of hooks that all sensors are on: tracepoints, which every kernel has.
pub const RUNG: &str = "tracing";

/// What a sensor hooks, in a word or a few.
#[must_use]
pub fn hook(sensor: Sensor) -> String {
    match describe(sensor).hooks {
        Hooks::Tracepoint(_, names) => format!("tp_btf/{}", names[0]),
        Hooks::Packets(program) => format!("cgroup_skb/{}", program.trim_start_matches("packet_")),
        Hooks::Calls(_) => {
            let names: Vec<_> = rows(sensor).map(|row| row.name).collect();
            match names.as_slice() {
                [first, second, _, ..] => {
                    format!("syscalls/{first},{second} and {} more", names.len() - 2)
                }
                few => format!("syscalls/{}", few.join(",")),
            }
        }
    }
}

/// The calls of a sensor.
pub fn rows(sensor: Sensor) -> impl Iterator<Item = &'static Row> {
    TABLE.iter().filter(move |row| row.sensor == sensor)
}

/// Whether the beginning of a call has to be hooked, and not only its end: for what is compared with the state before.
#[must_use]
pub fn begins_hooked(row: &Row) -> bool {
    row.sensor == Sensor::CredentialCheck || row.spec.flags & spec_flag::BEFORE != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_once_and_calls_belong_to_sensors_of_calls() {
        let mut names: Vec<_> = Sensor::ALL.into_iter().map(name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Sensor::ALL.len());
        for sensor in Sensor::ALL {
            let is_calls = matches!(describe(sensor).hooks, Hooks::Calls(_));
            assert_eq!(rows(sensor).next().is_some(), is_calls, "{sensor:?}");
        }
    }

    #[test]
    fn a_hook_is_short_enough_for_a_line() {
        for sensor in Sensor::ALL {
            assert!(hook(sensor).len() < 60, "{}", hook(sensor));
        }
    }
}
