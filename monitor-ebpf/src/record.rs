//! The layout of the records that cross the ring buffers: a fixed header, a body per kind, and the bytes after it.
//!
//! A record is `Header`, then the body of its kind, then that kind's variable bytes; [`Header::length`]
//! counts all three, and only used bytes cross. They are read by [`decode`](crate::decode).

use crate::wire;

/// Version of this format; the agent refuses records of another.
pub const ABI: u16 = 2;

/// Most bytes of a path that the kernel side collects, in bytes of its components.
pub const MAX_PATH: usize = 4_096;
/// Most bytes of the arguments that cross.
pub const MAX_ARGV: usize = 4_096;
/// Most bytes of one path component, its terminating NUL included (`NAME_MAX` + 1).
pub const MAX_COMPONENT: usize = 256;

/// Kinds of records.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A process (not a thread) was created.
    Fork = 1,
    /// A process runs a new program.
    Exec = 2,
    /// The last thread of a process ended.
    Exit = 3,
    /// A cgroup was created.
    CgroupMkdir = 4,
    /// A cgroup was removed.
    CgroupRmdir = 5,
    /// A process was moved to another cgroup.
    CgroupAttach = 6,
    /// A system call of the table in [`calls`](crate::calls) ended.
    Call = 7,
    /// Something happened to a socket.
    Socket = 8,
    /// A packet that is looked at.
    Packet = 9,
    /// A file was opened.
    Open = 10,
    /// Credentials changed, and no system call that was seen explains it.
    CredentialJump = 11,
    /// A signal was sent to a process of another container, or of the host.
    Signal = 12,
    /// A process used an io_uring operation for the first time.
    IoUring = 13,
    /// A kernel module was loaded or unloaded.
    Module = 14,
    /// SELinux denied something.
    Denial = 15,
}

/// Flags of [`Header::flags`].
pub mod flag {
    /// The mount namespace of the process is the host's.
    pub const HOST_MNT_NS: u32 = 1 << 0;
    /// The pid namespace of the process is the host's.
    pub const HOST_PID_NS: u32 = 1 << 1;
    /// The network namespace of the process is the host's.
    pub const HOST_NET_NS: u32 = 1 << 2;
}

wire! {
    /// What every record begins with.
    pub struct Header {
        /// [`ABI`].
        pub abi: u16,
        /// A [`Kind`].
        pub kind: u16,
        /// Bytes of the whole record.
        pub length: u32,
        /// When, in nanoseconds since boot, suspended time included (`CLOCK_BOOTTIME`).
        pub time_ns: u64,
        /// Cgroup of the process in the hierarchy that the agent watches.
        pub cgroup_id: u64,
        /// When the process (its thread-group leader) started, in nanoseconds since boot.
        pub start_ns: u64,
        /// Process id in the host's pid namespace (the kernel's `tgid`).
        pub pid: u32,
        /// Thread id (the kernel's `pid`).
        pub tid: u32,
        /// Real user id, in the initial user namespace.
        pub uid: u32,
        /// Bits of [`flag`].
        pub flags: u32,
        /// Container slot of the cgroup, see [`crate::cgroup::CgroupState`]; 0 for none.
        pub container_slot: u32,
        /// Always 0.
        pub reserved: u32,
    }
}

wire! {
    /// A process by what never comes twice: its id together with its start.
    pub struct ProcessId {
        /// When it started, in nanoseconds since boot.
        pub start_ns: u64,
        /// Process id in the host's pid namespace.
        pub pid: u32,
        /// Always 0.
        pub reserved: u32,
    }
}

wire! {
    /// Body of [`Kind::Fork`]. The header is that of the process which called fork or clone.
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

/// Flags of [`File::flags`].
pub mod file_flag {
    /// The file lies on an overlay filesystem.
    pub const OVERLAY: u32 = 1 << 0;
    /// The file lies in the overlay's upper layer: written since the container was created.
    pub const UPPER_LAYER: u32 = 1 << 1;
    /// The kernel's type information does not say where overlayfs keeps the upper layer's entry.
    pub const UPPER_LAYER_UNKNOWN: u32 = 1 << 2;
    /// The file exists in memory only: on the kernel's own tmpfs mount, as from memfd_create(2).
    pub const MEMFD: u32 = 1 << 3;
    /// The file lies on a tmpfs.
    pub const TMPFS: u32 = 1 << 4;
}

wire! {
    /// A file as the kernel knows it, whatever it was called.
    pub struct File {
        /// Inode number (`inode.i_ino`).
        pub inode: u64,
        /// Bytes.
        pub size: u64,
        /// Seconds since the epoch of its last change (`ctime`).
        pub ctime_s: u64,
        /// Nanoseconds of the same.
        pub ctime_ns: u32,
        /// Device of its filesystem, in the kernel's encoding (major << 20 | minor).
        pub device: u32,
        /// Names it has: 0 when it was unlinked.
        pub links: u32,
        /// Type and permission bits, as `st_mode`.
        pub mode: u32,
        /// Owner, in the initial user namespace.
        pub uid: u32,
        /// Bits of [`file_flag`].
        pub flags: u32,
        /// Magic number of its filesystem (include/uapi/linux/magic.h).
        pub filesystem: u32,
        /// Always 0.
        pub reserved: u32,
    }
}

/// What a file descriptor of a process leads to ([`Descriptor::kind`]).
pub mod descriptor {
    /// Nothing: closed.
    pub const CLOSED: u32 = 0;
    /// A terminal.
    pub const TTY: u32 = 1;
    /// A pipe or named pipe.
    pub const PIPE: u32 = 2;
    /// A socket.
    pub const SOCKET: u32 = 3;
    /// A regular file.
    pub const FILE: u32 = 4;
    /// `/dev/null`.
    pub const NULL: u32 = 5;
    /// Another character or block device.
    pub const DEVICE: u32 = 6;
    /// Anything else: a directory, an eventfd, a pidfd.
    pub const OTHER: u32 = 7;
}

wire! {
    /// A file descriptor.
    pub struct Descriptor {
        /// Inode number: of a pipe or socket it names both ends' object.
        pub inode: u64,
        /// One of [`descriptor`].
        pub kind: u32,
        /// Device that a device file stands for, in the kernel's encoding; 0 for others.
        pub device: u32,
    }
}

wire! {
    /// User and group ids in the initial user namespace, and capability sets as bit masks.
    pub struct Credentials {
        /// Effective capabilities.
        pub cap_effective: u64,
        /// Permitted capabilities.
        pub cap_permitted: u64,
        /// Inheritable capabilities.
        pub cap_inheritable: u64,
        /// Bounding set.
        pub cap_bounding: u64,
        /// Ambient capabilities.
        pub cap_ambient: u64,
        /// Real user.
        pub uid: u32,
        /// Real group.
        pub gid: u32,
        /// Effective user.
        pub euid: u32,
        /// Effective group.
        pub egid: u32,
        /// User who logged in, as the audit system records it; `u32::MAX` where none did.
        pub loginuid: u32,
        /// Audit session; `u32::MAX` for none.
        pub sessionid: u32,
    }
}

wire! {
    /// Inode numbers of the namespaces of a process; 0 where it could not be read.
    pub struct Namespaces {
        /// Mount namespace.
        pub mnt: u32,
        /// Pid namespace of the process itself.
        pub pid: u32,
        /// Network namespace.
        pub net: u32,
        /// UTS namespace.
        pub uts: u32,
        /// IPC namespace.
        pub ipc: u32,
        /// Cgroup namespace.
        pub cgroup: u32,
        /// User namespace of its credentials.
        pub user: u32,
        /// Process id in its own pid namespace.
        pub pid_inside: u32,
        /// Pid namespace that its next children begin in.
        pub pid_for_children: u32,
        /// Always 0.
        pub reserved: u32,
    }
}

/// Flags of [`Exec::flags`].
pub mod exec_flag {
    /// Arguments were cut at [`super::MAX_ARGV`] bytes.
    pub const ARGV_TRUNCATED: u32 = 1 << 0;
    /// Arguments could not be read.
    pub const ARGV_UNREADABLE: u32 = 1 << 1;
    /// The executable's path was cut: the components nearest to the root are missing.
    pub const EXE_TRUNCATED: u32 = 1 << 2;
    /// The working directory's path was cut likewise.
    pub const CWD_TRUNCATED: u32 = 1 << 3;
    /// The executable has no place in a directory tree (memfd): its path is a bare name.
    pub const EXE_DETACHED: u32 = 1 << 4;
    /// The working directory has no place in a directory tree.
    pub const CWD_DETACHED: u32 = 1 << 5;
    /// The kernel was asked to run a script, and runs its interpreter.
    pub const SCRIPT: u32 = 1 << 6;
    /// The process can't gain privileges by running programs (`no_new_privs`).
    pub const NO_NEW_PRIVILEGES: u32 = 1 << 7;
    /// Not all of the environment was searched for variables of the dynamic loader.
    pub const ENVIRONMENT_TRUNCATED: u32 = 1 << 8;
}

wire! {
    /// Body of [`Kind::Exec`]. The variable bytes follow in the order of their lengths here.
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
        /// Bytes of the path that was given to execve(2), at most [`MAX_COMPONENT`].
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
    /// Body of [`Kind::Exit`].
    pub struct Exit {
        /// Wait status, as waitpid(2) gives it: exit code << 8 | signal.
        pub status: u32,
        /// Not 0 where only one of its threads ended, killed by seccomp.
        pub thread_only: u32,
    }
}

wire! {
    /// Body of [`Kind::CgroupMkdir`] and [`Kind::CgroupRmdir`]; the variable bytes are the cgroup's path
    /// from the root of its hierarchy. The header is that of the process which did it.
    pub struct Cgroup {
        /// The cgroup.
        pub id: u64,
        /// The cgroup above it; 0 for the root.
        pub parent_id: u64,
        /// Bytes of the path.
        pub path_length: u32,
        /// Always 0.
        pub reserved: u32,
    }
}

wire! {
    /// Body of [`Kind::CgroupAttach`]. The header is that of the process which moved it.
    pub struct CgroupAttach {
        /// Cgroup it is in now.
        pub cgroup_id: u64,
        /// The process that was moved.
        pub process: ProcessId,
        /// Thread that was moved; the whole process where it equals its id.
        pub tid: u32,
        /// Container slot of that cgroup; 0 for none.
        pub container_slot: u32,
    }
}

wire! {
    /// What a process may do, and where it is.
    pub struct Identity {
        /// Credentials.
        pub credentials: Credentials,
        /// Namespaces.
        pub namespaces: Namespaces,
    }
}

/// Flags of [`Call::flags`].
pub mod call_flag {
    /// The arguments are not known.
    pub const NO_ARGUMENTS: u32 = 1 << 0;
    /// [`Call::before`](super::Call::before) is filled in.
    pub const BEFORE: u32 = 1 << 1;
    /// Number of the first of six bits, two for each of the paths (the bases of the strings, and the descriptor's): it has no
    /// place in a directory tree, and it was cut.
    pub const PATHS: u32 = 2;
    /// The first of a path's two bits.
    pub const DETACHED: u32 = 1 << 0;
    /// The second.
    pub const TRUNCATED: u32 = 1 << 1;
    /// The process has a seccomp filter.
    pub const SECCOMP: u32 = 1 << 11;
}

wire! {
    /// Body of [`Kind::Call`]. The variable bytes follow in the order of their lengths here.
    pub struct Call {
        /// A [`calls::Call`](crate::calls::Call).
        pub call: u32,
        /// Bits of [`call_flag`].
        pub flags: u32,
        /// What it returned, as the bits of an `i64`.
        pub result: u64,
        /// Its arguments.
        pub arguments: [u64; 6],
        /// The state of the process before.
        pub before: Identity,
        /// The state of the process now.
        pub after: Identity,
        /// What its descriptor leads to.
        pub file: File,
        /// The process that it is about.
        pub target: ProcessId,
        /// Cgroup of that process.
        pub target_cgroup_id: u64,
        /// Bits of [`watch`](crate::watch) of the names that its paths are made of.
        pub watched: u32,
        /// Bytes of the strings, without NUL.
        pub string_lengths: [u32; 3],
        /// Bytes of the path components of the directories that the first two strings are relative to, and of the
        /// descriptor's file, the last component first.
        pub path_lengths: [u32; 3],
        /// Device of the descriptor's file, where it is a device file.
        pub device: u32,
        /// The beginning of the structure that an argument points to.
        pub pointed: [u64; 8],
    }
}

/// Values of [`Socket::operation`].
pub mod socket_operation {
    /// A TCP connection was established from here.
    pub const CONNECTED: u32 = 1;
    /// A TCP connection was not established: see `error`.
    pub const FAILED: u32 = 2;
    /// A connection was accepted.
    pub const ACCEPTED: u32 = 3;
    /// A TCP connection was closed.
    pub const CLOSED: u32 = 4;
    /// It began to listen.
    pub const LISTENING: u32 = 5;
    /// It was given an address.
    pub const BOUND: u32 = 6;
    /// A socket of an unusual kind was made.
    pub const CREATED: u32 = 7;
    /// A Unix socket was connected to another one's path.
    pub const UNIX_CONNECTED: u32 = 8;
}

wire! {
    /// Addresses of a socket. IPv4 addresses are in the form that maps them into IPv6.
    pub struct Addresses {
        /// Own address.
        pub local: [u8; 16],
        /// The other end's address.
        pub remote: [u8; 16],
        /// Own port.
        pub local_port: u16,
        /// The other end's port.
        pub remote_port: u16,
        /// Address family (`AF_INET` 2, `AF_INET6` 10, ...).
        pub family: u16,
        /// Socket type (`SOCK_STREAM` 1, ...).
        pub kind: u16,
    }
}

wire! {
    /// Body of [`Kind::Socket`]; the variable bytes are the path of a Unix socket.
    pub struct Socket {
        /// One of [`socket_operation`].
        pub operation: u32,
        /// Protocol (`IPPROTO_TCP` 6, ...).
        pub protocol: u32,
        /// Where and with whom.
        pub addresses: Addresses,
        /// Payload sent, in bytes.
        pub bytes_sent: u64,
        /// Payload received, in bytes.
        pub bytes_received: u64,
        /// Since the connection began; 0 where that was not seen.
        pub duration_ns: u64,
        /// Inode of the path that a Unix socket is bound to.
        pub inode: u64,
        /// Device of that inode's filesystem, in the kernel's encoding.
        pub device: u32,
        /// Error number of a connection that failed.
        pub error: u32,
        /// Not 0 where the connection was opened from here.
        pub outbound: u32,
        /// Bytes of the path, without NUL.
        pub path_length: u32,
    }
}

/// Values of [`Packet::purpose`].
pub mod packet_purpose {
    /// The first datagram of a UDP flow.
    pub const DATAGRAM: u32 = 1;
    /// A DNS message.
    pub const DNS: u32 = 2;
    /// The first bytes of a TCP connection.
    pub const FIRST_BYTES: u32 = 3;
}

/// Most bytes of a packet's payload that cross.
pub const MAX_PACKET: usize = 1_024;

wire! {
    /// Body of [`Kind::Packet`]; the variable bytes are the beginning of its payload. The process of the header is 0 where it
    /// is not known.
    pub struct Packet {
        /// Where and with whom.
        pub addresses: Addresses,
        /// One of [`packet_purpose`].
        pub purpose: u32,
        /// Protocol: 6 for TCP, 17 for UDP.
        pub protocol: u32,
        /// Not 0 where it goes out.
        pub outbound: u32,
        /// Bytes of the payload in the packet.
        pub total_length: u32,
        /// Bytes of it that follow.
        pub data_length: u32,
        /// Always 0.
        pub reserved: u32,
    }
}

/// Bits of [`Open::reasons`]: why an open is reported.
pub mod open_reason {
    /// A name near the end of its path is watched.
    pub const WATCHED: u32 = 1 << 0;
    /// It is a file by which the kernel itself is controlled, open for writing.
    pub const KERNEL_CONTROL: u32 = 1 << 1;
    /// It is a block device, or raw memory or ports.
    pub const DEVICE: u32 = 1 << 2;
    /// It was opened by its handle.
    pub const HANDLE: u32 = 1 << 3;
    /// It lies in another mount namespace than the process.
    pub const OTHER_MOUNT_NAMESPACE: u32 = 1 << 4;
    /// One of its other names is watched.
    pub const LINKED: u32 = 1 << 5;
    /// It is about another process: a file below `/proc/PID`.
    pub const OTHER_PROCESS: u32 = 1 << 6;
}

/// Flags of [`Open::path_flags`], for the path, the path in the filesystem and the linked path.
pub mod path_flag {
    /// The path was cut.
    pub const TRUNCATED: [u32; 3] = [1 << 0, 1 << 1, 1 << 2];
    /// The path has no place in a directory tree.
    pub const DETACHED: [u32; 3] = [1 << 3, 1 << 4, 1 << 5];
}

wire! {
    /// Body of [`Kind::Open`]. The variable bytes follow in the order of their lengths here.
    pub struct Open {
        /// The file.
        pub file: File,
        /// The process that a file below `/proc/PID` is about.
        pub target: ProcessId,
        /// Cgroup of that process.
        pub target_cgroup_id: u64,
        /// A [`calls::Call`](crate::calls::Call).
        pub call: u32,
        /// Flags it was opened with (`file.f_flags`).
        pub open_flags: u32,
        /// Bits of [`open_reason`].
        pub reasons: u32,
        /// Bits of [`watch`](crate::watch) of the names that are watched.
        pub watched: u32,
        /// Device that a device file stands for, in the kernel's encoding.
        pub device: u32,
        /// Inode number of the mount namespace that it lies in, where that is another one.
        pub mount_ns: u32,
        /// Bits of [`path_flag`].
        pub path_flags: u32,
        /// Bytes of the path components, the last one first, each ended by NUL.
        pub path_length: u32,
        /// The same from the root of its filesystem.
        pub inner_length: u32,
        /// The same of another name of the file that is watched.
        pub linked_length: u32,
    }
}

wire! {
    /// Body of [`Kind::CredentialJump`].
    pub struct CredentialJump {
        /// The user and group ids as they were known: uid, gid, suid, sgid, euid, egid, fsuid, fsgid.
        pub before_ids: [u32; 8],
        /// Capabilities as they were known.
        pub before_effective: u64,
        /// The same.
        pub before_permitted: u64,
        /// The user who logged in, as it was known.
        pub before_loginuid: u32,
        /// Always 0.
        pub reserved: u32,
        /// The user and group ids now, in the same order.
        pub after_ids: [u32; 8],
        /// Credentials now.
        pub after: Credentials,
    }
}

wire! {
    /// Body of [`Kind::Signal`].
    pub struct Signal {
        /// To whom.
        pub target: ProcessId,
        /// Cgroup of that process.
        pub target_cgroup_id: u64,
        /// Its number.
        pub number: u32,
        /// Container slot of that cgroup; 0 for none.
        pub target_container_slot: u32,
    }
}

wire! {
    /// Body of [`Kind::IoUring`].
    pub struct IoUring {
        /// The operation (`IORING_OP_*`).
        pub opcode: u32,
        /// Always 0.
        pub reserved: u32,
    }
}

wire! {
    /// Body of [`Kind::Module`]; the variable bytes are its name.
    pub struct Module {
        /// Not 0 where it was unloaded.
        pub unloaded: u32,
        /// Bytes of the name, without NUL.
        pub name_length: u32,
    }
}

wire! {
    /// Body of [`Kind::Denial`]. The variable bytes follow in the order of their lengths here.
    pub struct Denial {
        /// Permissions asked for, as bits of the class.
        pub requested: u32,
        /// Those that were denied.
        pub denied: u32,
        /// Bytes of the subject's context, without NUL.
        pub source_length: u32,
        /// Bytes of the object's context.
        pub target_length: u32,
        /// Bytes of the object's class.
        pub class_length: u32,
        /// Always 0.
        pub reserved: u32,
    }
}
