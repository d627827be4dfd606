//! Where the running kernel keeps the fields that the programs read.
//!
//! Rust emits no CO-RE relocations, so the agent resolves every offset from the kernel's own type
//! information (BTF) and hands them over as one frozen global: the verifier sees constants and removes
//! the branches of what a kernel lacks. This table is the single list of fields, of the names they have had,
//! and of who needs them.

use crate::{budget::Budget, loss::Class};

/// Offset of a field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// The sensors. Each loads or fails alone.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sensor {
    /// Processes created.
    Fork,
    /// Programs run.
    Exec,
    /// Processes ended.
    Exit,
    /// Cgroups created.
    CgroupMkdir,
    /// Cgroups removed.
    CgroupRmdir,
    /// Processes moved to another cgroup.
    CgroupAttach,
    /// TCP connections, from the states that their sockets pass.
    TcpState,
    /// Sockets made, bound, connected to a runtime, and connections accepted.
    SocketCalls,
    /// Packets sent: UDP flows, DNS queries, first bytes of connections.
    PacketsOut,
    /// Packets received: DNS answers.
    PacketsIn,
    /// Files opened.
    FileOpen,
    /// Directory entries, modes and owners changed.
    FileChanges,
    /// Mounts and root directories.
    Mounts,
    /// Namespaces entered and left.
    Namespaces,
    /// Credentials changed by system calls.
    Credentials,
    /// Credentials changed without one.
    CredentialCheck,
    /// Other processes reached into.
    ProcessAccess,
    /// What a process changes of itself.
    ProcessControl,
    /// Signals to the outside.
    Signals,
    /// System calls to rarely used parts of the kernel.
    KernelCalls,
    /// Use of `io_uring`.
    IoUring,
    /// Files opened through `io_uring`.
    IoUringOpen,
    /// Kernel modules loaded.
    ModuleLoad,
    /// Kernel modules unloaded.
    ModuleFree,
    /// Denials of SELinux.
    SelinuxDenials,
    /// Rounding modes of floating-point numbers.
    Rounding,
}

impl Sensor {
    /// Every sensor.
    pub const ALL: [Self; 26] = [
        Self::Fork,
        Self::Exec,
        Self::Exit,
        Self::CgroupMkdir,
        Self::CgroupRmdir,
        Self::CgroupAttach,
        Self::TcpState,
        Self::SocketCalls,
        Self::PacketsOut,
        Self::PacketsIn,
        Self::FileOpen,
        Self::FileChanges,
        Self::Mounts,
        Self::Namespaces,
        Self::Credentials,
        Self::CredentialCheck,
        Self::ProcessAccess,
        Self::ProcessControl,
        Self::Signals,
        Self::KernelCalls,
        Self::IoUring,
        Self::IoUringOpen,
        Self::ModuleLoad,
        Self::ModuleFree,
        Self::SelinuxDenials,
        Self::Rounding,
    ];

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// Who can't do without a field, as a set of sensors; empty for a field whose absence only costs a detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed(u32);

impl Needed {
    /// Whether `sensor` is in the set.
    #[must_use]
    pub const fn by(self, sensor: Sensor) -> bool {
        self.0 & sensor.bit() != 0
    }
}

const fn needed(sensors: &[Sensor]) -> Needed {
    let mut set = 0;
    let mut index = 0;
    while index < sensors.len() {
        set |= sensors[index].bit();
        index += 1;
    }
    Needed(set)
}

impl Needed {
    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

const DETAIL: Needed = Needed(0);
const ALL: Needed = Needed(u32::MAX);
const EXEC: Needed = needed(&[Sensor::Exec]);
const EXIT: Needed = needed(&[Sensor::Exit]);
const EXEC_AND_EXIT: Needed = EXEC.and(EXIT);
const CGROUPS: Needed = needed(&[
    Sensor::CgroupMkdir,
    Sensor::CgroupRmdir,
    Sensor::CgroupAttach,
]);
/// Those that share the pair of programs of the table of system calls.
const CALLS: Needed = needed(&[
    Sensor::FileChanges,
    Sensor::Mounts,
    Sensor::Namespaces,
    Sensor::Credentials,
    Sensor::ProcessAccess,
    Sensor::ProcessControl,
    Sensor::KernelCalls,
]);
const OPEN: Needed = needed(&[Sensor::FileOpen, Sensor::IoUringOpen]);
/// Those that describe files and walk paths.
const FILES: Needed = EXEC.and(CALLS).and(OPEN);
const TCP: Needed = needed(&[Sensor::TcpState]);
const SOCKETS: Needed = needed(&[Sensor::TcpState, Sensor::SocketCalls]);
const SOCKET_CALLS: Needed = needed(&[Sensor::SocketCalls]);
const DESCRIPTORS: Needed = FILES.and(SOCKET_CALLS);
const PROCESSES: Needed = needed(&[Sensor::Fork, Sensor::Exec, Sensor::CgroupAttach]);
const IDENTITY: Needed = needed(&[Sensor::Fork, Sensor::CredentialCheck])
    .and(EXEC)
    .and(CALLS);
const SIGNALS: Needed = needed(&[Sensor::Signals]);
const MODULES: Needed = needed(&[Sensor::ModuleLoad, Sensor::ModuleFree]);
const SELINUX: Needed = needed(&[Sensor::SelinuxDenials]);

/// One field: its name in [`KernelOffsets`], the places to look for it in order, and who needs it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name in [`KernelOffsets`].
    pub name: &'static str,
    /// `type.member.member`, with `+n` for so many bytes more, alternatives in the order to try; `sizeof type` asks for a
    /// size.
    pub places: &'static [&'static str],
    /// Who needs it.
    pub needed: Needed,
}

macro_rules! offsets {
    ($($(#[$meta:meta])* $field:ident: $needed:ident$(.and($also:ident))? [$($place:literal),+],)*) => {
        /// Byte offsets of kernel structure fields; [`ABSENT`] where the kernel has none.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct KernelOffsets { $($(#[$meta])* #[doc = concat!("`", $($place, "` `",)+ "`")] pub $field: u32,)* }

        impl KernelOffsets {
            /// Every field is absent.
            pub const NONE: Self = Self { $($field: ABSENT,)* };

            /// The list of fields, in the order of the structure.
            pub const FIELDS: &'static [Field] = &[
                $(Field { name: stringify!($field), places: &[$($place),+], needed: $needed$(.and($also))? },)*
            ];

            /// Builds the structure by asking for each field.
            pub fn resolve(mut offset: impl FnMut(&'static Field) -> Option<u32>) -> Self {
                let mut fields = Self::FIELDS.iter();
                let mut next = || fields.next().and_then(&mut offset).unwrap_or(ABSENT);
                Self { $($field: next(),)* }
            }

            /// The offsets by name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static Field, u32)> + use<> {
                let offsets = [$(self.$field),*];
                Self::FIELDS.iter().zip(offsets)
            }
        }
    };
}

offsets! {
    task_group_leader: ALL ["task_struct.group_leader"],
    task_tgid: ALL ["task_struct.tgid"],
    task_pid: ALL ["task_struct.pid"],
    /// `real_start_time` before 5.5 (kernel commit cf25e24db61c).
    task_start: ALL ["task_struct.start_boottime", "task_struct.real_start_time"],
    task_flags: ALL ["task_struct.flags"],
    task_cred: ALL ["task_struct.cred"],
    task_cgroups: ALL ["task_struct.cgroups"],
    task_real_cred: IDENTITY ["task_struct.real_cred"],
    /// Seccomp can be left out of a kernel.
    task_seccomp_mode: DETAIL ["task_struct.seccomp.mode"],
    task_atomic_flags: DETAIL ["task_struct.atomic_flags"],
    task_ptraced: CALLS ["task_struct.ptraced"],
    task_ptrace_entry: CALLS ["task_struct.ptrace_entry"],
    task_pid_links: FILES ["task_struct.pid_links"],
    pid_tasks: FILES ["pid.tasks"],
    task_nsproxy: IDENTITY ["task_struct.nsproxy"],
    task_thread_pid: IDENTITY ["task_struct.thread_pid"],
    task_real_parent: PROCESSES ["task_struct.real_parent"],
    task_mm: EXEC ["task_struct.mm"],
    task_fs: FILES ["task_struct.fs"],
    task_files: DESCRIPTORS ["task_struct.files"],
    task_signal: EXEC_AND_EXIT ["task_struct.signal"],
    task_exit_code: EXIT ["task_struct.exit_code"],
    /// Without audit support in the kernel nobody has a login user.
    task_loginuid: DETAIL ["task_struct.loginuid.val"],
    task_sessionid: DETAIL ["task_struct.sessionid"],
    signal_live: EXIT ["signal_struct.live.counter"],
    signal_group_exit_code: EXIT ["signal_struct.group_exit_code"],
    signal_tty: EXEC ["signal_struct.tty"],
    tty_name: EXEC ["tty_struct.name"],
    css_set_dfl_cgrp: ALL ["css_set.dfl_cgrp"],
    css_set_subsys: ALL ["css_set.subsys"],
    css_cgroup: ALL ["cgroup_subsys_state.cgroup"],
    css_parent: CGROUPS ["cgroup_subsys_state.parent"],
    cgroup_self: CGROUPS ["cgroup.self"],
    cgroup_kn: ALL ["cgroup.kn"],
    cgroup_root: CGROUPS ["cgroup.root"],
    cgroup_root_hierarchy_id: CGROUPS ["cgroup_root.hierarchy_id"],
    kernfs_id: ALL ["kernfs_node.id"],
    cred_uid: ALL ["cred.uid.val"],
    cred_gid: IDENTITY ["cred.gid.val"],
    cred_euid: IDENTITY ["cred.euid.val"],
    cred_egid: IDENTITY ["cred.egid.val"],
    /// `kernel_cap_t` was `u32 cap[2]` and is `u64 val` since 6.3 (kernel commit f122a08b197d): eight bytes
    /// either way, and the same bits on a little-endian machine.
    cred_cap_effective: IDENTITY ["cred.cap_effective"],
    cred_cap_permitted: IDENTITY ["cred.cap_permitted"],
    cred_cap_inheritable: IDENTITY ["cred.cap_inheritable"],
    cred_cap_bounding: IDENTITY ["cred.cap_bset"],
    cred_cap_ambient: IDENTITY ["cred.cap_ambient"],
    cred_user_ns: IDENTITY ["cred.user_ns"],
    nsproxy_mnt: IDENTITY ["nsproxy.mnt_ns"],
    nsproxy_net: IDENTITY ["nsproxy.net_ns"],
    nsproxy_uts: IDENTITY ["nsproxy.uts_ns"],
    nsproxy_ipc: IDENTITY ["nsproxy.ipc_ns"],
    nsproxy_cgroup: IDENTITY ["nsproxy.cgroup_ns"],
    nsproxy_pid_for_children: IDENTITY ["nsproxy.pid_ns_for_children"],
    mnt_ns_inum: IDENTITY ["mnt_namespace.ns.inum"],
    net_ns_inum: IDENTITY ["net.ns.inum"],
    uts_ns_inum: IDENTITY ["uts_namespace.ns.inum"],
    ipc_ns_inum: IDENTITY ["ipc_namespace.ns.inum"],
    cgroup_ns_inum: IDENTITY ["cgroup_namespace.ns.inum"],
    pid_ns_inum: IDENTITY ["pid_namespace.ns.inum"],
    user_ns_inum: IDENTITY ["user_namespace.ns.inum"],
    pid_level: IDENTITY ["pid.level"],
    pid_numbers: IDENTITY ["pid.numbers"],
    upid_size: IDENTITY ["sizeof upid"],
    upid_nr: IDENTITY ["upid.nr"],
    upid_ns: IDENTITY ["upid.ns"],
    mm_exe_file: EXEC ["mm_struct.exe_file"],
    mm_arg_start: EXEC ["mm_struct.arg_start"],
    mm_arg_end: EXEC ["mm_struct.arg_end"],
    mm_env_start: EXEC ["mm_struct.env_start"],
    mm_env_end: EXEC ["mm_struct.env_end"],
    bprm_filename: EXEC ["linux_binprm.filename"],
    bprm_interp: EXEC ["linux_binprm.interp"],
    fs_pwd_mnt: FILES ["fs_struct.pwd.mnt"],
    fs_pwd_dentry: FILES ["fs_struct.pwd.dentry"],
    fs_root_mnt: CALLS ["fs_struct.root.mnt"],
    fs_root_dentry: CALLS ["fs_struct.root.dentry"],
    files_fdt: DESCRIPTORS ["files_struct.fdt"],
    fdtable_max_fds: DESCRIPTORS ["fdtable.max_fds"],
    fdtable_fd: DESCRIPTORS ["fdtable.fd"],
    file_mnt: FILES ["file.f_path.mnt", "file.__f_path.mnt"],
    file_dentry: FILES ["file.f_path.dentry", "file.__f_path.dentry"],
    file_inode: DESCRIPTORS ["file.f_inode"],
    dentry_parent: FILES ["dentry.d_parent"],
    dentry_name: FILES ["dentry.d_name.name", "dentry.__d_name.name"],
    vfsmount_root: FILES ["vfsmount.mnt_root"],
    mount_vfsmount: FILES ["mount.mnt"],
    mount_parent: FILES ["mount.mnt_parent"],
    mount_mountpoint: FILES ["mount.mnt_mountpoint"],
    inode_number: FILES ["inode.i_ino"],
    inode_sb: FILES ["inode.i_sb"],
    inode_links: FILES ["inode.i_nlink", "inode.__i_nlink"],
    inode_mode: FILES ["inode.i_mode"],
    inode_uid: FILES ["inode.i_uid.val"],
    inode_size: FILES ["inode.i_size"],
    inode_rdev: FILES ["inode.i_rdev"],
    /// A `timespec64` called `i_ctime`, then `__i_ctime` (6.6), then two fields (6.11).
    inode_ctime_s: FILES ["inode.i_ctime.tv_sec", "inode.__i_ctime.tv_sec", "inode.i_ctime_sec"],
    inode_ctime_ns: FILES ["inode.i_ctime.tv_nsec", "inode.__i_ctime.tv_nsec", "inode.i_ctime_nsec"],
    sb_device: FILES ["super_block.s_dev"],
    sb_magic: FILES ["super_block.s_magic"],
    sb_flags: FILES ["super_block.s_flags"],
    task_stack: CALLS.and(SOCKET_CALLS) ["task_struct.stack"],
    registers_size: CALLS.and(SOCKET_CALLS) ["sizeof pt_regs"],
    registers_number: CALLS.and(SOCKET_CALLS) ["pt_regs.orig_ax", "pt_regs.syscallno"],
    registers_0: CALLS.and(SOCKET_CALLS) ["pt_regs.di", "pt_regs.orig_x0"],
    registers_1: CALLS.and(SOCKET_CALLS) ["pt_regs.si", "pt_regs.regs+8"],
    registers_2: CALLS.and(SOCKET_CALLS) ["pt_regs.dx", "pt_regs.regs+16"],
    registers_3: CALLS.and(SOCKET_CALLS) ["pt_regs.r10", "pt_regs.regs+24"],
    registers_4: CALLS.and(SOCKET_CALLS) ["pt_regs.r8", "pt_regs.regs+32"],
    registers_5: CALLS.and(SOCKET_CALLS) ["pt_regs.r9", "pt_regs.regs+40"],
    file_mode: OPEN ["file.f_mode"],
    file_flags: OPEN ["file.f_flags"],
    file_private: DESCRIPTORS.and(CALLS) ["file.private_data"],
    /// Length and hash of the name in one word, the length in the upper half of it.
    dentry_name_length: OPEN ["dentry.d_name.len", "dentry.__d_name.len"],
    /// Without this and the next one, a hard link hides a watched file. In a union until 7.3.
    dentry_alias: DETAIL ["dentry.d_u.d_alias", "dentry.d_alias"],
    inode_private: CALLS ["inode.i_private"],
    inode_aliases: DETAIL ["inode.i_dentry"],
    mount_namespace: OPEN ["mount.mnt_ns"],
    proc_inode_pid: OPEN ["proc_inode.pid"],
    proc_inode_vfs: OPEN ["proc_inode.vfs_inode"],
    socket_sk: DESCRIPTORS ["socket.sk"],
    sock_family: SOCKETS.and(DESCRIPTORS) ["sock.__sk_common.skc_family"],
    sock_type: SOCKETS ["sock.sk_type"],
    sock_protocol: SOCKETS ["sock.sk_protocol"],
    sock_error: TCP ["sock.sk_err"],
    sock_flags: TCP ["sock.__sk_common.skc_flags", "sock.sk_flags"],
    sock_local: SOCKETS ["sock.__sk_common.skc_rcv_saddr"],
    sock_remote: SOCKETS ["sock.__sk_common.skc_daddr"],
    /// IPv6 can be left out of a kernel.
    sock_local6: DETAIL ["sock.__sk_common.skc_v6_rcv_saddr"],
    sock_remote6: DETAIL ["sock.__sk_common.skc_v6_daddr"],
    /// In the order of the machine.
    sock_local_port: SOCKETS ["sock.__sk_common.skc_num"],
    /// In the order of the network.
    sock_own_port: SOCKETS ["inet_sock.inet_sport"],
    sock_remote_port: SOCKETS ["sock.__sk_common.skc_dport"],
    tcp_bytes_sent: TCP ["tcp_sock.bytes_sent"],
    tcp_bytes_sent_again: TCP ["tcp_sock.bytes_retrans"],
    tcp_bytes_received: TCP ["tcp_sock.bytes_received"],
    unix_peer: SOCKET_CALLS ["unix_sock.peer"],
    unix_path_dentry: SOCKET_CALLS ["unix_sock.path.dentry"],
    unix_address: SOCKET_CALLS ["unix_sock.addr"],
    unix_address_length: SOCKET_CALLS ["unix_address.len"],
    unix_address_name: SOCKET_CALLS ["unix_address.name"],
    dentry_inode: OPEN.and(SOCKET_CALLS) ["dentry.d_inode"],
    siginfo_code: SIGNALS ["kernel_siginfo.si_code"],
    /// Where the operation is not an argument of the tracepoint.
    kiocb_opcode: DETAIL ["io_kiocb.opcode"],
    /// Since 5.19 (kernel commit cef216fc32d7).
    kiocb_result: DETAIL ["io_kiocb.cqe.res"],
    /// The request of one kind of operation: `struct io_open` for opens (io_uring/openclose.c, since 6.0).
    kiocb_command: DETAIL ["io_kiocb.cmd"],
    io_open_flags: DETAIL ["io_open.how"],
    io_open_slot: DETAIL ["io_open.file_slot"],
    /// The same where the request is in a union (5.15 to 5.19, and taken back to 5.10.162).
    kiocb_open_slot: DETAIL ["io_kiocb.open.file_slot"],
    /// The ring's own table of files: of nodes since 6.13 (kernel commit 3597f2786b68), of entries of one word before.
    uring_nodes: DETAIL ["io_ring_ctx.file_table.data.nodes"],
    uring_node_count: DETAIL ["io_ring_ctx.file_table.data.nr"],
    uring_node_file: DETAIL ["io_rsrc_node.file_ptr"],
    uring_files: DETAIL ["io_ring_ctx.file_table.files"],
    uring_file_count: DETAIL ["io_ring_ctx.nr_user_files"],
    module_name: MODULES ["module.name"],
    denial_requested: SELINUX ["selinux_audit_data.requested"],
    denial_denied: SELINUX ["selinux_audit_data.denied"],
    /// What the caller is told: 0 where the policy is permissive.
    denial_result: SELINUX ["selinux_audit_data.result"],
    /// The registers are behind a pointer since 5.16 (kernel commit 87d0e5be0fac), and in the structure itself before.
    fpu_fpstate: DETAIL ["fpu.fpstate"],
    fpstate_regs: DETAIL ["fpstate.regs"],
    fpu_state: DETAIL ["fpu.state"],
    /// Only in the type information of overlayfs, which may be a module that is not loaded.
    ovl_inode_vfs: DETAIL ["ovl_inode.vfs_inode"],
    ovl_inode_upper: DETAIL ["ovl_inode.__upperdentry"],
}

/// Settings that are fixed when the programs are loaded.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where `css_set` leads to the cgroup of the watched hierarchy: [`ABSENT`] for the unified one,
    /// else the index of a version 1 controller in `css_set.subsys`.
    pub controller: u32,
    /// `cgroup_root.hierarchy_id` of the watched hierarchy; 0 for the unified one.
    pub hierarchy_id: u32,
    /// Inode number of the host's mount namespace.
    pub host_mnt_ns: u32,
    /// Inode number of the host's pid namespace.
    pub host_pid_ns: u32,
    /// Inode number of the host's network namespace.
    pub host_net_ns: u32,
    /// Set of [`Class`](crate::loss::Class) bits that are reported of the host's own processes.
    pub host_classes: u32,
    /// Process id of the agent: its own use of the kernel is not reported.
    pub agent_pid: u32,
    /// Number of the argument of the io_uring tracepoint that is the operation; 0 where it is a field of the first.
    pub uring_opcode_argument: u32,
    /// Not 0 where completions of io_uring name no request, and the operation is the one that was submitted with the same
    /// `user_data`: the argument after the operation there, and the second one here.
    pub uring_by_user_data: u32,
    /// Not 0 where `bpf_task_pt_regs` tells where the registers are that a task entered the kernel with (since 5.15).
    pub has_registers_helper: u32,
    /// Bytes of a task's kernel stack, where it does not.
    pub stack_size: u32,
    /// Budgets by class.
    pub budgets: [Budget; Class::PLACES],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_resolved_in_the_order_of_the_structure() {
        let mut next = 0;
        let offsets = KernelOffsets::resolve(|_| {
            next += 1;
            Some(next)
        });
        assert_eq!(offsets.task_group_leader, 1);
        assert_eq!(offsets.task_tgid, 2);
        assert_eq!(
            offsets.ovl_inode_upper as usize,
            KernelOffsets::FIELDS.len()
        );
        let by_name: Vec<_> = offsets.iter().collect();
        assert_eq!(by_name[1].0.name, "task_tgid");
        assert_eq!(by_name[1].1, 2);
    }

    #[test]
    fn a_missing_field_is_absent_and_nothing_else() {
        let offsets = KernelOffsets::resolve(|field| (field.name != "task_tgid").then_some(4));
        assert_eq!(offsets.task_tgid, ABSENT);
        assert_eq!(offsets.task_pid, 4);
    }

    #[test]
    fn a_field_needed_by_exec_alone_leaves_the_other_sensors() {
        let field = KernelOffsets::FIELDS
            .iter()
            .find(|field| field.name == "mm_arg_start")
            .expect("listed");
        assert!(field.needed.by(Sensor::Exec));
        assert!(!field.needed.by(Sensor::Fork) && !field.needed.by(Sensor::CgroupMkdir));
    }
}
