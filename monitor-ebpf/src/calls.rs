//! System calls that are reported from their arguments and their result: one table for both sides.
//!
//! A single pair of programs serves all of them. What a call's arguments mean is in a map, keyed by the number of the
//! system call and filled by the agent; a call more is a line more here.

use crate::{loss::Class, offsets::Sensor};

/// No argument.
pub const NONE: u8 = 0xff;
/// The working directory, in place of an argument that holds a descriptor of a directory.
pub const CWD: u8 = 0xfe;
/// The result, in place of an argument that holds a descriptor.
pub const RESULT: u8 = 0xfd;

/// In place of a [`Call`] of a record: it was no system call but an operation of `io_uring`.
pub const IO_URING: u32 = 0xffff_ffff;

/// Strings of a call that are reported.
pub const STRINGS: usize = 3;
/// Directories that they are relative to.
pub const BASES: usize = 2;
/// Most bytes of one string, its NUL included.
pub const MAX_STRING: usize = 512;

/// Flags of [`Spec::flags`].
pub mod spec_flag {
    /// Only reported when it succeeded.
    pub const SUCCESS_ONLY: u16 = 1 << 0;
    /// Only reported when a name near the end of one of its paths is watched, or it makes a file that can be run.
    pub const WATCHED: u16 = 1 << 1;
    /// Credentials and namespaces are noted before it.
    pub const BEFORE: u16 = 1 << 2;
    /// Only from the thread that stands for its process.
    pub const LEADER_ONLY: u16 = 1 << 3;
    /// The root directory is reported afterwards, in place of a descriptor's path.
    pub const ROOT: u16 = 1 << 4;
    /// The descriptor is that of a process: whose is reported.
    pub const PIDFD: u16 = 1 << 5;
    /// The process that was attached to last is its target.
    pub const PTRACED: u16 = 1 << 6;
    /// A call that changes credentials: what it changes is explained.
    pub const CREDENTIALS: u16 = 1 << 7;
    /// The mode in argument [`Spec::mode`](super::Spec::mode) decides: reported where it lets the file be run, or
    /// stands for a device.
    pub const MODE: u16 = 1 << 8;
}

/// What the arguments of a system call mean: the value of the map `CALLS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// A [`Call`]; 0 for a system call that is not reported.
    pub call: u16,
    /// Bits of [`spec_flag`].
    pub flags: u16,
    /// A [`Class`].
    pub class: u32,
    /// Values of the first argument that are reported, as a set of bits; all where it is 0.
    pub accepted: u64,
    /// One more value, above 63.
    pub accepted_large: u32,
    /// Arguments that hold strings, or [`NONE`].
    pub strings: [u8; STRINGS],
    /// For the first two strings, the argument that holds the directory they are relative to, [`CWD`], or [`NONE`].
    pub bases: [u8; BASES],
    /// The argument that holds a descriptor, [`RESULT`], or [`NONE`].
    pub descriptor: u8,
    /// The argument that holds a mode, or [`NONE`].
    pub mode: u8,
    /// The argument that points to a structure whose beginning is reported, or [`NONE`].
    pub pointed: u8,
    /// Always 0.
    pub reserved: [u8; 4],
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Which.
    pub call: Call,
    /// Its name, as that of its tracepoints after `sys_enter_` and `sys_exit_`.
    pub name: &'static str,
    /// The sensor it is part of.
    pub sensor: Sensor,
    /// What its arguments mean.
    pub spec: Spec,
}

const fn bits(values: &[u8]) -> u64 {
    let mut set = 0;
    let mut index = 0;
    while index < values.len() {
        set |= 1 << values[index];
        index += 1;
    }
    set
}

macro_rules! calls {
    ($($(#[$meta:meta])* $call:ident $name:literal $sensor:ident $class:ident {
        $(strings: $strings:expr,)? $(bases: $bases:expr,)? $(descriptor: $descriptor:expr,)? $(mode: $mode:expr,)? $(pointed: $pointed:expr,)?
        $(accepted: $accepted:expr,)? $(large: $large:expr,)? $(flags: $flags:expr,)?
    })*) => {
        /// A system call.
        #[repr(u16)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Call {
            /// No system call: leaves 0 free.
            None = 0,
            $($(#[$meta])* #[doc = concat!($name, "(2)")] $call,)*
        }

        /// The table.
        pub const TABLE: &[Row] = &[$(Row {
            call: Call::$call,
            name: $name,
            sensor: Sensor::$sensor,
            spec: {
                let spec = Spec {
                    call: Call::$call as u16,
                    flags: 0,
                    class: Class::$class as u32,
                    accepted: 0,
                    accepted_large: 0,
                    strings: [NONE; STRINGS],
                    bases: [NONE; BASES],
                    descriptor: NONE,
                    mode: NONE,
                    pointed: NONE,
                    reserved: [0; 4],
                };
                $(let spec = Spec { strings: $strings, ..spec };)?
                $(let spec = Spec { bases: $bases, ..spec };)?
                $(let spec = Spec { descriptor: $descriptor, ..spec };)?
                $(let spec = Spec { mode: $mode, ..spec };)?
                $(let spec = Spec { pointed: $pointed, ..spec };)?
                $(let spec = Spec { accepted: bits(&$accepted), ..spec };)?
                $(let spec = Spec { accepted_large: $large, ..spec };)?
                $(let spec = Spec { flags: { use spec_flag::*; $flags }, ..spec };)?
                spec
            },
        },)*];
    };
}

calls! {
    Mount "mount" Mounts Namespace { strings: [0, 1, 2], bases: [CWD, CWD], }
    Umount "umount" Mounts Namespace { strings: [0, NONE, NONE], bases: [CWD, NONE], }
    MoveMount "move_mount" Mounts Namespace { strings: [1, 3, NONE], bases: [0, 2], }
    Fsopen "fsopen" Mounts Namespace { strings: [0, NONE, NONE], }
    Fsconfig "fsconfig" Mounts Namespace { strings: [2, 3, NONE], }
    Fsmount "fsmount" Mounts Namespace {}
    OpenTree "open_tree" Mounts Namespace { strings: [1, NONE, NONE], bases: [0, NONE], }
    MountSetattr "mount_setattr" Mounts Namespace { strings: [1, NONE, NONE], bases: [0, NONE], }
    PivotRoot "pivot_root" Mounts Namespace { strings: [0, 1, NONE], bases: [CWD, CWD], flags: ROOT, }
    Chroot "chroot" Mounts Namespace { strings: [0, NONE, NONE], bases: [CWD, NONE], flags: ROOT, }

    Setns "setns" Namespaces Namespace { flags: BEFORE | CREDENTIALS, }
    Unshare "unshare" Namespaces Namespace { flags: BEFORE | CREDENTIALS, }

    Setuid "setuid" Credentials Credential { flags: BEFORE | CREDENTIALS, }
    Setgid "setgid" Credentials Credential { flags: BEFORE | CREDENTIALS, }
    Setreuid "setreuid" Credentials Credential { flags: BEFORE | CREDENTIALS, }
    Setregid "setregid" Credentials Credential { flags: BEFORE | CREDENTIALS, }
    Setresuid "setresuid" Credentials Credential { flags: BEFORE | CREDENTIALS, }
    Setresgid "setresgid" Credentials Credential { flags: BEFORE | CREDENTIALS, }
    Setfsuid "setfsuid" Credentials Credential { flags: BEFORE | CREDENTIALS, }
    Setfsgid "setfsgid" Credentials Credential { flags: BEFORE | CREDENTIALS, }
    Setgroups "setgroups" Credentials Credential { flags: BEFORE | CREDENTIALS, }
    Capset "capset" Credentials Credential { flags: BEFORE | CREDENTIALS, }

    /// Requests: PEEKTEXT and PEEKDATA are left out; POKETEXT, POKEDATA, POKEUSR, SETREGS, SETFPREGS, ATTACH, SEIZE.
    Ptrace "ptrace" ProcessAccess Tampering {
        accepted: [4, 5, 6, 13, 15, 16], large: 0x4206, flags: PTRACED,
    }
    ProcessVmWritev "process_vm_writev" ProcessAccess Tampering {}
    ProcessVmReadv "process_vm_readv" ProcessAccess Tampering {}
    PidfdGetfd "pidfd_getfd" ProcessAccess Tampering { descriptor: 0, flags: PIDFD, }

    MemfdCreate "memfd_create" ProcessControl Tampering { strings: [0, NONE, NONE], descriptor: RESULT, }
    Userfaultfd "userfaultfd" ProcessControl Tampering {}
    /// Options: SET_DUMPABLE, SET_NAME, SET_SECCOMP, SET_MM, SET_NO_NEW_PRIVS, CAP_AMBIENT.
    Prctl "prctl" ProcessControl Tampering {
        strings: [1, NONE, NONE], accepted: [4, 15, 22, 35, 38, 47], flags: LEADER_ONLY,
    }

    InitModule "init_module" KernelCalls Kernel { strings: [2, NONE, NONE], }
    FinitModule "finit_module" KernelCalls Kernel { strings: [1, NONE, NONE], descriptor: 0, }
    DeleteModule "delete_module" KernelCalls Kernel { strings: [0, NONE, NONE], }
    /// All commands but those on elements of maps, and those that ask for information.
    Bpf "bpf" KernelCalls Kernel {
        pointed: 1,
        accepted: [0, 5, 6, 7, 8, 9, 10, 13, 14, 17, 19, 21, 28, 29, 30, 32, 33, 34, 35, 36],
    }
    PerfEventOpen "perf_event_open" KernelCalls Kernel { pointed: 0, }
    KexecLoad "kexec_load" KernelCalls Kernel {}
    KexecFileLoad "kexec_file_load" KernelCalls Kernel { descriptor: 0, }
    Keyctl "keyctl" KernelCalls Kernel {}
    AddKey "add_key" KernelCalls Kernel { strings: [0, 1, NONE], }
    RequestKey "request_key" KernelCalls Kernel { strings: [0, 1, NONE], }
    IoUringSetup "io_uring_setup" KernelCalls Kernel {}

    Rename "rename" FileChanges File { strings: [0, 1, NONE], bases: [CWD, CWD], flags: SUCCESS_ONLY | WATCHED, }
    Renameat "renameat" FileChanges File { strings: [1, 3, NONE], bases: [0, 2], flags: SUCCESS_ONLY | WATCHED, }
    Renameat2 "renameat2" FileChanges File { strings: [1, 3, NONE], bases: [0, 2], flags: SUCCESS_ONLY | WATCHED, }
    Unlink "unlink" FileChanges File { strings: [0, NONE, NONE], bases: [CWD, NONE], flags: SUCCESS_ONLY | WATCHED, }
    Unlinkat "unlinkat" FileChanges File { strings: [1, NONE, NONE], bases: [0, NONE], flags: SUCCESS_ONLY | WATCHED, }
    Link "link" FileChanges File { strings: [0, 1, NONE], bases: [CWD, CWD], flags: SUCCESS_ONLY | WATCHED, }
    Linkat "linkat" FileChanges File { strings: [1, 3, NONE], bases: [0, 2], flags: SUCCESS_ONLY | WATCHED, }
    /// The target is not relative to anything yet.
    Symlink "symlink" FileChanges File { strings: [0, 1, NONE], bases: [NONE, CWD], flags: SUCCESS_ONLY | WATCHED, }
    Symlinkat "symlinkat" FileChanges File { strings: [0, 2, NONE], bases: [NONE, 1], flags: SUCCESS_ONLY | WATCHED, }
    Truncate "truncate" FileChanges File { strings: [0, NONE, NONE], bases: [CWD, NONE], flags: SUCCESS_ONLY | WATCHED, }
    Chmod "chmod" FileChanges File {
        strings: [0, NONE, NONE], bases: [CWD, NONE], mode: 1, flags: SUCCESS_ONLY | WATCHED | MODE,
    }
    Fchmod "fchmod" FileChanges File { descriptor: 0, mode: 1, flags: SUCCESS_ONLY | WATCHED | MODE, }
    Fchmodat "fchmodat" FileChanges File {
        strings: [1, NONE, NONE], bases: [0, NONE], mode: 2, flags: SUCCESS_ONLY | WATCHED | MODE,
    }
    Fchmodat2 "fchmodat2" FileChanges File {
        strings: [1, NONE, NONE], bases: [0, NONE], mode: 2, flags: SUCCESS_ONLY | WATCHED | MODE,
    }
    Chown "chown" FileChanges File { strings: [0, NONE, NONE], bases: [CWD, NONE], flags: SUCCESS_ONLY | WATCHED, }
    Lchown "lchown" FileChanges File { strings: [0, NONE, NONE], bases: [CWD, NONE], flags: SUCCESS_ONLY | WATCHED, }
    Fchown "fchown" FileChanges File { descriptor: 0, flags: SUCCESS_ONLY | WATCHED, }
    Fchownat "fchownat" FileChanges File { strings: [1, NONE, NONE], bases: [0, NONE], flags: SUCCESS_ONLY | WATCHED, }
    Mknod "mknod" FileChanges File {
        strings: [0, NONE, NONE], bases: [CWD, NONE], mode: 1, flags: WATCHED | MODE,
    }
    Mknodat "mknodat" FileChanges File {
        strings: [1, NONE, NONE], bases: [0, NONE], mode: 2, flags: WATCHED | MODE,
    }
    Setxattr "setxattr" FileChanges File { strings: [0, 1, NONE], bases: [CWD, NONE], flags: SUCCESS_ONLY, }
    Lsetxattr "lsetxattr" FileChanges File { strings: [0, 1, NONE], bases: [CWD, NONE], flags: SUCCESS_ONLY, }
    Fsetxattr "fsetxattr" FileChanges File { strings: [NONE, 1, NONE], descriptor: 0, flags: SUCCESS_ONLY, }

    Socket "socket" SocketCalls Network { descriptor: RESULT, }
    Bind "bind" SocketCalls Network { descriptor: 0, }
    Connect "connect" SocketCalls Network { descriptor: 0, }
    Accept "accept" SocketCalls Network { descriptor: RESULT, }
    Accept4 "accept4" SocketCalls Network { descriptor: RESULT, }

    Open "open" FileOpen File { descriptor: RESULT, }
    Creat "creat" FileOpen File { descriptor: RESULT, }
    Openat "openat" FileOpen File { descriptor: RESULT, }
    Openat2 "openat2" FileOpen File { descriptor: RESULT, }
    OpenByHandleAt "open_by_handle_at" FileOpen File { descriptor: RESULT, }

    Execve "execve" CredentialCheck Credential {}
    Execveat "execveat" CredentialCheck Credential {}
}

impl Call {
    /// The call with this number in the table; `None` for another.
    #[must_use]
    pub fn from_number(number: u32) -> Option<&'static Row> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        TABLE.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_found_by_its_number() {
        for row in TABLE {
            let found = Call::from_number(u32::from(row.spec.call)).expect("listed");
            assert_eq!((found.call, found.name), (row.call, row.name));
        }
        assert!(Call::from_number(0).is_none());
        assert!(Call::from_number(u32::MAX).is_none());
    }

    #[test]
    fn names_come_once() {
        let mut names: Vec<_> = TABLE.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }
}
