//! Who a process is, what it may do, and in which namespaces it is.

use crate::wire;

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

wire! {
    /// What a process may do, and where it is.
    pub struct Identity {
        /// Credentials.
        pub credentials: Credentials,
        /// Namespaces.
        pub namespaces: Namespaces,
    }
}

wire! {
    /// Body of [`Kind::CredentialJump`](super::Kind::CredentialJump).
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
