//! Processes: created, running a program, ended.

use super::{Credentials, Descriptor, File, Namespaces, ProcessId};
use crate::wire;

wire! {
    /// Body of [`Kind::Fork`](super::Kind::Fork). The header is that of the process which called fork or clone.
    pub struct Fork {
        /// The new process.
        pub child: ProcessId,
        /// Its parent as the kernel records it: not the caller where `CLONE_PARENT` was given.
        pub parent: ProcessId,
        /// The new process's cgroup: not the caller's where `CLONE_INTO_CGROUP` was given.
        pub child_cgroup_id: u64,
        /// Container slot of that cgroup; 0 for none.
        pub child_container_slot: u32,
        /// Not 0 where the child is in other namespaces than the caller: only then are the next two filled in.
        pub new_namespaces: u32,
        /// Pid namespace of the child.
        pub child_pid_ns: u32,
        /// Its id there.
        pub child_pid_inside: u32,
        /// Namespaces of the caller.
        pub caller_namespaces: Namespaces,
        /// Namespaces of the child.
        pub child_namespaces: Namespaces,
    }
}

/// Flags of [`Exec::flags`].
pub mod exec_flag {
    /// Arguments were cut at [`MAX_ARGV`](super::super::MAX_ARGV) bytes.
    pub const ARGV_TRUNCATED: u32 = 1 << 0;
    /// Arguments could not be read.
    pub const ARGV_UNREADABLE: u32 = 1 << 1;
    /// The executable's path was cut: the components nearest to the root are missing.
    pub const EXE_TRUNCATED: u32 = 1 << 2;
    /// The working directory's path was cut likewise.
    pub const CWD_TRUNCATED: u32 = 1 << 3;
    /// The executable has no place in a directory tree (memfd): its path is a bare name.
    pub const EXE_DETACHED: u32 = 1 << 4;
    /// The working directory has no place in a directory tree, or lies in that of another mount namespace.
    pub const CWD_DETACHED: u32 = 1 << 5;
    /// The kernel was asked to run a script, and runs its interpreter.
    pub const SCRIPT: u32 = 1 << 6;
    /// The process can't gain privileges by running programs (`no_new_privs`).
    pub const NO_NEW_PRIVILEGES: u32 = 1 << 7;
    /// Not all of the environment was searched for variables of the dynamic loader.
    pub const ENVIRONMENT_TRUNCATED: u32 = 1 << 8;
    /// The kernel itself started the process: its parent is a thread of the kernel (a usermode helper).
    pub const KERNEL_STARTED: u32 = 1 << 9;
}

wire! {
    /// Body of [`Kind::Exec`](super::Kind::Exec). The variable bytes follow in the order of their lengths here.
    pub struct Exec {
        /// Parent of the process at this moment.
        pub parent: ProcessId,
        /// Credentials after the exec.
        pub credentials: Credentials,
        /// Effective capabilities before the exec.
        pub before_effective: u64,
        /// Permitted capabilities before the exec.
        pub before_permitted: u64,
        /// uid, gid, euid and egid before the exec.
        pub before_ids: [u32; 4],
        /// Namespaces.
        pub namespaces: Namespaces,
        /// The executable: of a script, the interpreter's.
        pub exe: File,
        /// Descriptors 0, 1 and 2.
        pub stdio: [Descriptor; 3],
        /// Name of the controlling terminal (`pts0`), NUL-terminated; empty for none.
        pub tty: [u8; 32],
        /// Bits of [`exec_flag`].
        pub flags: u32,
        /// Bytes of the executable's path components, the last component first, each ended by NUL.
        pub exe_length: u32,
        /// Bytes of the working directory's path components, likewise.
        pub cwd_length: u32,
        /// Bytes of the path that was given to execve(2), at most [`MAX_COMPONENT`](super::MAX_COMPONENT).
        pub filename_length: u32,
        /// Bytes of the arguments, each ended by NUL.
        pub argv_length: u32,
        /// Bytes of the variables of the environment that make the dynamic loader run other code, each ended by NUL.
        pub loader_length: u32,
        /// Seccomp: 0 for off, 1 for strict, 2 for a filter.
        pub seccomp: u32,
        /// Not 0 where the credentials before the exec are known.
        pub before_known: u32,
    }
}

wire! {
    /// Body of [`Kind::Exit`](super::Kind::Exit).
    pub struct Exit {
        /// Wait status, as waitpid(2) gives it: exit code << 8 | signal.
        pub status: u32,
        /// Not 0 where only one of its threads ended, killed by seccomp.
        pub thread_only: u32,
    }
}
