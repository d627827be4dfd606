//! Numbers of the system calls in the table that both sides share, on the architecture this is built for.

use watchkeeper_ebpf::calls::Call;

macro_rules! numbers {
    ($call:expr, { $($name:ident $number:ident,)* } legacy { $($old:ident $old_number:ident,)* }) => {
        match $call {
            $(Call::$name => libc::$number,)*
            // Newer architectures only have the calls with a directory descriptor.
            $(#[cfg(target_arch = "x86_64")] Call::$old => libc::$old_number,)*
            _ => return None,
        }
    };
}

/// Number of a system call; `None` where the architecture has none of this name.
#[must_use]
pub fn number(call: Call) -> Option<u32> {
    let number = numbers!(call, {
        Mount SYS_mount, Umount SYS_umount2, MoveMount SYS_move_mount, Fsopen SYS_fsopen, Fsconfig SYS_fsconfig,
        Fsmount SYS_fsmount, OpenTree SYS_open_tree, MountSetattr SYS_mount_setattr, PivotRoot SYS_pivot_root,
        Chroot SYS_chroot, Setns SYS_setns, Unshare SYS_unshare, Setuid SYS_setuid, Setgid SYS_setgid,
        Setreuid SYS_setreuid, Setregid SYS_setregid, Setresuid SYS_setresuid, Setresgid SYS_setresgid,
        Setfsuid SYS_setfsuid, Setfsgid SYS_setfsgid, Setgroups SYS_setgroups, Capset SYS_capset, Ptrace SYS_ptrace,
        ProcessVmWritev SYS_process_vm_writev, ProcessVmReadv SYS_process_vm_readv, PidfdGetfd SYS_pidfd_getfd,
        MemfdCreate SYS_memfd_create, Userfaultfd SYS_userfaultfd, Prctl SYS_prctl, InitModule SYS_init_module,
        FinitModule SYS_finit_module, DeleteModule SYS_delete_module, Bpf SYS_bpf, PerfEventOpen SYS_perf_event_open,
        KexecLoad SYS_kexec_load, KexecFileLoad SYS_kexec_file_load, Keyctl SYS_keyctl, AddKey SYS_add_key,
        RequestKey SYS_request_key, IoUringSetup SYS_io_uring_setup, Renameat SYS_renameat, Renameat2 SYS_renameat2,
        Unlinkat SYS_unlinkat, Linkat SYS_linkat, Symlinkat SYS_symlinkat, Truncate SYS_truncate, Fchmod SYS_fchmod,
        Fchmodat SYS_fchmodat, Fchmodat2 SYS_fchmodat2, Fchown SYS_fchown, Fchownat SYS_fchownat, Mknodat SYS_mknodat,
        Setxattr SYS_setxattr, Lsetxattr SYS_lsetxattr, Fsetxattr SYS_fsetxattr, Socket SYS_socket, Bind SYS_bind,
        Connect SYS_connect, Accept SYS_accept, Accept4 SYS_accept4, Openat SYS_openat, Openat2 SYS_openat2,
        OpenByHandleAt SYS_open_by_handle_at, Execve SYS_execve, Execveat SYS_execveat,
    } legacy {
        Rename SYS_rename, Unlink SYS_unlink, Link SYS_link, Symlink SYS_symlink, Chmod SYS_chmod, Chown SYS_chown,
        Lchown SYS_lchown, Mknod SYS_mknod, Open SYS_open, Creat SYS_creat,
    });
    u32::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use watchkeeper_ebpf::{calls::TABLE, tables::MAX_SYSTEM_CALLS};

    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn every_call_has_a_number_of_its_own_that_fits_the_map() {
        let mut numbers: Vec<_> = TABLE
            .iter()
            .map(|row| number(row.call).unwrap_or_else(|| panic!("{} has no number", row.name)))
            .collect();
        assert!(numbers.iter().all(|number| *number < MAX_SYSTEM_CALLS));
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), TABLE.len());
    }
}
