//! `struct task_struct`: identity, parent, namespaces.

use aya_ebpf::helpers::bpf_get_current_task;
use watchkeeper_ebpf::record::{Namespaces, ProcessId, flag};

use super::{Address, cred, follow, read, read_if_present};

/// `PF_KTHREAD` of include/linux/sched.h.
const PF_KTHREAD: u32 = 0x0020_0000;

/// The task that runs now.
#[inline(always)]
pub fn current() -> Address {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_current_task() }
}

/// The process that a task is a thread of.
#[inline(always)]
pub fn process(task: Address) -> ProcessId {
    let leader = follow(task, offset!(task_group_leader));
    ProcessId {
        start_ns: read(leader, offset!(task_start)),
        pid: tgid(task),
        reserved: 0,
    }
}

/// Id of its process.
#[inline(always)]
pub fn tgid(task: Address) -> u32 {
    read(task, offset!(task_tgid))
}

/// Its own id, as thread.
#[inline(always)]
pub fn tid(task: Address) -> u32 {
    read(task, offset!(task_pid))
}

/// The process it is a child of.
#[inline(always)]
pub fn parent(task: Address) -> ProcessId {
    process(follow(task, offset!(task_real_parent)))
}

/// Whether the kernel itself started it.
#[inline(always)]
pub fn is_child_of_kernel(task: Address) -> bool {
    is_kernel_thread(follow(task, offset!(task_real_parent)))
}

/// The task that a `struct pid` stands for; 0 for none.
#[inline(always)]
pub fn of_pid(pid: Address) -> Address {
    // The first list of `pid.tasks` and the first of `task_struct.pid_links` are those of PIDTYPE_PID.
    let links = follow(pid, offset!(pid_tasks));
    if links == 0 {
        return 0;
    }
    links - u64::from(offset!(task_pid_links))
}

/// The task that this one began to trace last; 0 for none.
#[inline(always)]
pub fn traced_last(task: Address) -> Address {
    let head = task + u64::from(offset!(task_ptraced));
    let first = follow(head, 0);
    if first == 0 || first == head {
        return 0;
    }
    first - u64::from(offset!(task_ptrace_entry))
}

/// Mode of seccomp; 0 where the kernel has none.
#[inline(always)]
pub fn seccomp_mode(task: Address) -> u32 {
    read_if_present(task, offset!(task_seccomp_mode)).unwrap_or(0)
}

/// Whether it can't gain privileges by running programs (`PFA_NO_NEW_PRIVS`, bit 0 of `atomic_flags`).
#[inline(always)]
pub fn no_new_privileges(task: Address) -> bool {
    read_if_present::<u64>(task, offset!(task_atomic_flags)).unwrap_or(0) & 1 != 0
}

/// Key of maps that are kept by thread: its id, and above it that of its process.
#[inline(always)]
pub fn thread_key(process: u32, tid: u32) -> u64 {
    u64::from(process) << 32 | u64::from(tid)
}

/// Whether it is a thread of the kernel itself.
#[inline(always)]
pub fn is_kernel_thread(task: Address) -> bool {
    read::<u32>(task, offset!(task_flags)) & PF_KTHREAD != 0
}

/// The innermost entry of the task's `struct pid`: (number, namespace).
#[inline(always)]
pub fn innermost_pid(task: Address) -> (u32, Address) {
    let pid = follow(task, offset!(task_thread_pid));
    // The kernel nests pid namespaces 32 deep (MAX_PID_NS_LEVEL).
    let level = read::<u32>(pid, offset!(pid_level)) & 31;
    let upid = pid + u64::from(offset!(pid_numbers)) + u64::from(level * offset!(upid_size));
    (read(upid, offset!(upid_nr)), follow(upid, offset!(upid_ns)))
}

/// Inode numbers of its namespaces.
#[inline(always)]
pub fn namespaces(task: Address) -> Namespaces {
    let nsproxy = follow(task, offset!(task_nsproxy));
    let (pid_inside, pid_ns) = innermost_pid(task);
    Namespaces {
        mnt: read(follow(nsproxy, offset!(nsproxy_mnt)), offset!(mnt_ns_inum)),
        pid: read(pid_ns, offset!(pid_ns_inum)),
        net: read(follow(nsproxy, offset!(nsproxy_net)), offset!(net_ns_inum)),
        uts: read(follow(nsproxy, offset!(nsproxy_uts)), offset!(uts_ns_inum)),
        ipc: read(follow(nsproxy, offset!(nsproxy_ipc)), offset!(ipc_ns_inum)),
        cgroup: read(
            follow(nsproxy, offset!(nsproxy_cgroup)),
            offset!(cgroup_ns_inum),
        ),
        user: cred::user_namespace(task),
        pid_inside,
        pid_for_children: read(
            follow(nsproxy, offset!(nsproxy_pid_for_children)),
            offset!(pid_ns_inum),
        ),
        reserved: 0,
    }
}

/// Which of the host's namespaces it is in, as bits of [`flag`].
#[inline(always)]
pub fn host_namespaces(namespaces: &Namespaces) -> u32 {
    let mut flags = 0;
    if namespaces.mnt == setting!(host_mnt_ns) {
        flags |= flag::HOST_MNT_NS;
    }
    if namespaces.pid == setting!(host_pid_ns) {
        flags |= flag::HOST_PID_NS;
    }
    if namespaces.net == setting!(host_net_ns) {
        flags |= flag::HOST_NET_NS;
    }
    flags
}
