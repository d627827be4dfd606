//! Where the running kernel keeps the fields that the programs read.
//!
//! Rust emits no CO-RE relocations, so the agent resolves every offset from the kernel's own type
//! information (BTF) and hands them over as one frozen global: the verifier sees constants and removes
//! the branches of what a kernel lacks. This table is the single list of fields, of the names they have had,
//! and of who needs them.

/// Offset of a field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// The sensors: one eBPF program each, which loads or fails alone.
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
}

impl Sensor {
    /// Every sensor.
    pub const ALL: [Self; 6] = [
        Self::Fork,
        Self::Exec,
        Self::Exit,
        Self::CgroupMkdir,
        Self::CgroupRmdir,
        Self::CgroupAttach,
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

const DETAIL: Needed = Needed(0);
const EXEC: Needed = Needed(Sensor::Exec.bit());
const EXIT: Needed = Needed(Sensor::Exit.bit());
const EXEC_AND_EXIT: Needed = Needed(Sensor::Exec.bit() | Sensor::Exit.bit());
const CGROUPS: Needed =
    Needed(Sensor::CgroupMkdir.bit() | Sensor::CgroupRmdir.bit() | Sensor::CgroupAttach.bit());
const ALL: Needed = Needed(u32::MAX);
const PROCESSES: Needed =
    Needed(Sensor::Fork.bit() | Sensor::Exec.bit() | Sensor::CgroupAttach.bit());

/// One field: its name in [`KernelOffsets`], the places to look for it in order, and who needs it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name in [`KernelOffsets`].
    pub name: &'static str,
    /// `type.member.member`, alternatives in the order to try; `sizeof type` asks for a size.
    pub places: &'static [&'static str],
    /// Who needs it.
    pub needed: Needed,
}

macro_rules! offsets {
    ($($(#[$meta:meta])* $field:ident: $needed:ident [$($place:literal),+],)*) => {
        /// Byte offsets of kernel structure fields; [`ABSENT`] where the kernel has none.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct KernelOffsets { $($(#[$meta])* #[doc = concat!("`", $($place, "` `",)+ "`")] pub $field: u32,)* }

        impl KernelOffsets {
            /// Every field is absent.
            pub const NONE: Self = Self { $($field: ABSENT,)* };

            /// The list of fields, in the order of the structure.
            pub const FIELDS: &'static [Field] = &[
                $(Field { name: stringify!($field), places: &[$($place),+], needed: $needed },)*
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
    task_nsproxy: EXEC ["task_struct.nsproxy"],
    task_thread_pid: EXEC ["task_struct.thread_pid"],
    task_real_parent: PROCESSES ["task_struct.real_parent"],
    task_mm: EXEC ["task_struct.mm"],
    task_fs: EXEC ["task_struct.fs"],
    task_files: EXEC ["task_struct.files"],
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
    cred_gid: EXEC ["cred.gid.val"],
    cred_euid: EXEC ["cred.euid.val"],
    cred_egid: EXEC ["cred.egid.val"],
    /// `kernel_cap_t` was `u32 cap[2]` and is `u64 val` since 6.3 (kernel commit f122a08b197d): eight bytes
    /// either way, and the same bits on a little-endian machine.
    cred_cap_effective: EXEC ["cred.cap_effective"],
    cred_cap_permitted: EXEC ["cred.cap_permitted"],
    cred_cap_inheritable: EXEC ["cred.cap_inheritable"],
    cred_cap_bounding: EXEC ["cred.cap_bset"],
    cred_cap_ambient: EXEC ["cred.cap_ambient"],
    cred_user_ns: EXEC ["cred.user_ns"],
    nsproxy_mnt: EXEC ["nsproxy.mnt_ns"],
    nsproxy_net: EXEC ["nsproxy.net_ns"],
    nsproxy_uts: EXEC ["nsproxy.uts_ns"],
    nsproxy_ipc: EXEC ["nsproxy.ipc_ns"],
    nsproxy_cgroup: EXEC ["nsproxy.cgroup_ns"],
    mnt_ns_inum: EXEC ["mnt_namespace.ns.inum"],
    net_ns_inum: EXEC ["net.ns.inum"],
    uts_ns_inum: EXEC ["uts_namespace.ns.inum"],
    ipc_ns_inum: EXEC ["ipc_namespace.ns.inum"],
    cgroup_ns_inum: EXEC ["cgroup_namespace.ns.inum"],
    pid_ns_inum: EXEC ["pid_namespace.ns.inum"],
    user_ns_inum: EXEC ["user_namespace.ns.inum"],
    pid_level: EXEC ["pid.level"],
    pid_numbers: EXEC ["pid.numbers"],
    upid_size: EXEC ["sizeof upid"],
    upid_nr: EXEC ["upid.nr"],
    upid_ns: EXEC ["upid.ns"],
    mm_exe_file: EXEC ["mm_struct.exe_file"],
    mm_arg_start: EXEC ["mm_struct.arg_start"],
    mm_arg_end: EXEC ["mm_struct.arg_end"],
    bprm_filename: EXEC ["linux_binprm.filename"],
    bprm_interp: EXEC ["linux_binprm.interp"],
    fs_pwd_mnt: EXEC ["fs_struct.pwd.mnt"],
    fs_pwd_dentry: EXEC ["fs_struct.pwd.dentry"],
    files_fdt: EXEC ["files_struct.fdt"],
    fdtable_max_fds: EXEC ["fdtable.max_fds"],
    fdtable_fd: EXEC ["fdtable.fd"],
    file_mnt: EXEC ["file.f_path.mnt", "file.__f_path.mnt"],
    file_dentry: EXEC ["file.f_path.dentry", "file.__f_path.dentry"],
    file_inode: EXEC ["file.f_inode"],
    dentry_parent: EXEC ["dentry.d_parent"],
    dentry_name: EXEC ["dentry.d_name.name", "dentry.__d_name.name"],
    vfsmount_root: EXEC ["vfsmount.mnt_root"],
    mount_vfsmount: EXEC ["mount.mnt"],
    mount_parent: EXEC ["mount.mnt_parent"],
    mount_mountpoint: EXEC ["mount.mnt_mountpoint"],
    inode_number: EXEC ["inode.i_ino"],
    inode_sb: EXEC ["inode.i_sb"],
    inode_links: EXEC ["inode.i_nlink", "inode.__i_nlink"],
    inode_mode: EXEC ["inode.i_mode"],
    inode_uid: EXEC ["inode.i_uid.val"],
    inode_size: EXEC ["inode.i_size"],
    inode_rdev: EXEC ["inode.i_rdev"],
    /// A `timespec64` called `i_ctime`, then `__i_ctime` (6.6), then two fields (6.11).
    inode_ctime_s: EXEC ["inode.i_ctime.tv_sec", "inode.__i_ctime.tv_sec", "inode.i_ctime_sec"],
    inode_ctime_ns: EXEC ["inode.i_ctime.tv_nsec", "inode.__i_ctime.tv_nsec", "inode.i_ctime_nsec"],
    sb_device: EXEC ["super_block.s_dev"],
    sb_magic: EXEC ["super_block.s_magic"],
    sb_flags: EXEC ["super_block.s_flags"],
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
