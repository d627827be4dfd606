//! Sockets and packets.

use crate::wire;

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
    /// Body of [`Kind::Socket`](super::Kind::Socket); the variable bytes are the path of a Unix socket.
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
    /// Body of [`Kind::Packet`](super::Kind::Packet); the variable bytes are the beginning of its payload. The process of the header is 0 where it
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
