//! `struct sock` and its relatives: addresses, kind, counters.

use watchkeeper_ebpf::record::Addresses;

use super::{Address, follow, read, read_if_present};

/// `AF_UNIX`, `AF_INET`, `AF_INET6` of include/linux/socket.h.
pub const AF_UNIX: u16 = 1;
/// See [`AF_UNIX`].
pub const AF_INET: u16 = 2;
/// See [`AF_UNIX`].
pub const AF_INET6: u16 = 10;
/// `IPPROTO_TCP` of include/uapi/linux/in.h.
pub const IPPROTO_TCP: u32 = 6;
/// `IPPROTO_UDP` likewise.
pub const IPPROTO_UDP: u32 = 17;

/// The socket behind a file; 0 where the file is none's.
#[inline(always)]
pub fn of_file(file: Address) -> Address {
    follow(follow(file, offset!(file_private)), offset!(socket_sk))
}

/// Its address family.
#[inline(always)]
pub fn family(sk: Address) -> u16 {
    read(sk, offset!(sock_family))
}

/// Its protocol: 16 bits since 5.6 (kernel commit bf9765145b85), of which no protocol that is looked for uses the upper.
#[inline(always)]
pub fn protocol(sk: Address) -> u32 {
    u32::from(read::<u16>(sk, offset!(sock_protocol)))
}

/// An IPv4 address in the form that maps it into IPv6.
#[inline(always)]
pub fn mapped(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Its addresses: those of IPv4 and IPv6, none of other families.
#[inline(always)]
pub fn addresses(sk: Address) -> Addresses {
    let family = family(sk);
    let mut addresses = Addresses {
        local: [0; 16],
        remote: [0; 16],
        local_port: 0,
        remote_port: 0,
        family,
        kind: read(sk, offset!(sock_type)),
    };
    if family == AF_INET {
        addresses.local = mapped(read(sk, offset!(sock_local)));
        addresses.remote = mapped(read(sk, offset!(sock_remote)));
    } else if family == AF_INET6 {
        addresses.local = read_if_present(sk, offset!(sock_local6)).unwrap_or([0; 16]);
        addresses.remote = read_if_present(sk, offset!(sock_remote6)).unwrap_or([0; 16]);
    } else {
        return addresses;
    }
    addresses.local_port = read(sk, offset!(sock_local_port));
    if addresses.local_port == 0 {
        // Given back, but not forgotten: the socket is closed.
        addresses.local_port = u16::from_be(read(sk, offset!(sock_own_port)));
    }
    addresses.remote_port = u16::from_be(read(sk, offset!(sock_remote_port)));
    addresses
}
