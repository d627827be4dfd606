//! The ends of socket(2), bind(2), connect(2), accept(2) and accept4(2): what only their own task knows.
//!
//! TCP connections that are opened from here are reported by their states, see [`tcp`](super::tcp).

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use watchkeeper_ebpf::{
    calls::Call,
    loss::Class,
    record::{Kind, MAX_COMPONENT, Socket, socket_operation},
};

use super::{
    calls::{arguments_of, result_of, spec_of},
    tcp,
};
use crate::{
    credentials::check_credentials,
    kernel::{Address, file, follow, read, sock, task},
    maps::{CONNECTING, CRITICAL, TELEMETRY},
    output::Draft,
    subject::{Place, Subject},
};

/// include/linux/socket.h
const AF_NETLINK: u16 = 16;
const AF_PACKET: u16 = 17;
/// include/linux/net.h
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
/// `-EINPROGRESS` of include/uapi/asm-generic/errno.h.
const EINPROGRESS: i64 = -115;
/// `NETLINK_NETFILTER` of include/uapi/linux/netlink.h.
const NETLINK_NETFILTER: u32 = 12;
/// What comes before the path in an address (`sockaddr_un.sun_path`).
const SUN_PATH: u32 = 2;

/// Reports a call on a socket that has ended.
#[tracepoint]
pub fn socket_exit(ctx: TracePointContext) -> u32 {
    let Some((number, spec)) = spec_of(&ctx) else {
        return 0;
    };
    if !Place::current().wants(Class::Network as u32) {
        return 0;
    }
    let call = u32::from(spec.call);
    let sk = socket_of_call(call, number, result_of(&ctx) as u64);
    if sk == 0 {
        return 0;
    }
    let operation = socket_reports(call, sk, number);
    if operation == socket_operation::ACCEPTED {
        tcp::tcp_accepts(sk);
    }
    if operation != 0 {
        check_credentials(task::current());
    }
    0
}

/// The socket that a call was about; 0 where that is of no interest.
///
/// A global function, see [`append_path`](crate::kernel::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn socket_of_call(call: u32, number: u64, result: u64) -> Address {
    let result = result as i64;
    let is_under_way = result == EINPROGRESS && call == Call::Connect as u32;
    if result < 0 && !is_under_way {
        return 0;
    }
    let task = task::current();
    let mut descriptor = result as u32;
    if call == Call::Bind as u32 || call == Call::Connect as u32 {
        let arguments = arguments_of(task, number);
        if !arguments.known {
            return 0;
        }
        descriptor = arguments.values[0] as u32;
    }
    let sk = sock::of_file(file::of_descriptor(task, descriptor));
    if !is_under_way {
        return sk;
    }
    // The port was chosen after the connection began.
    if let Some(connecting) = CONNECTING.get_ptr_mut(&sk) {
        // SAFETY: the entry is valid as long as the program runs.
        unsafe { (*connecting).addresses = sock::addresses(sk) };
    }
    0
}

/// Reports a call on a socket, where it is of interest. Returns the operation when it was, else 0.
///
/// A global function, see [`append_path`](crate::kernel::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn socket_reports(call: u32, sk: Address, number: u64) -> u32 {
    let task = task::current();
    let place = Place::of(task);
    let family = sock::family(sk);
    let is_inet = family == sock::AF_INET || family == sock::AF_INET6;
    let mut protocol = sock::protocol(sk);
    let operation = if call == Call::Socket as u32 {
        let kind: u16 = read(sk, offset!(sock_type));
        if !is_unusual(family, kind, protocol) {
            return 0;
        }
        if family == AF_PACKET {
            // Its socket does not say.
            protocol = u32::from(u16::from_be(arguments_of(task, number).values[2] as u16));
        }
        socket_operation::CREATED
    } else if call == Call::Bind as u32 {
        if !is_inet {
            return 0;
        }
        socket_operation::BOUND
    } else if call == Call::Connect as u32 {
        if family != sock::AF_UNIX {
            return 0;
        }
        socket_operation::UNIX_CONNECTED
    } else {
        if !is_inet || protocol != sock::IPPROTO_TCP {
            return 0;
        }
        socket_operation::ACCEPTED
    };
    let Some(draft) = Draft::admitted(&place, Class::Network as u32) else {
        return 0;
    };
    let mut end = Draft::start::<Socket>();
    let start = end;
    let mut inode = 0;
    let mut device = 0;
    if operation == socket_operation::UNIX_CONNECTED {
        let peer = follow(sk, offset!(unix_peer));
        let dentry = follow(peer, offset!(unix_path_dentry));
        let address = follow(peer, offset!(unix_address));
        let length: u32 = read(address, offset!(unix_address_length));
        let path = address + u64::from(offset!(unix_address_name)) + u64::from(SUN_PATH);
        // An abstract address begins with NUL, and has no inode.
        if dentry == 0 || length <= SUN_PATH {
            draft.discard();
            return 0;
        }
        end = draft.append_string::<MAX_COMPONENT>(end, path);
        let found = follow(dentry, offset!(dentry_inode));
        inode = read(found, offset!(inode_number));
        device = read(follow(found, offset!(inode_sb)), offset!(sb_device));
    }
    let body = draft.body::<Socket>();
    let addresses = sock::addresses(sk);
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe {
        (*body).operation = operation;
        (*body).protocol = protocol;
        (*body).addresses = addresses;
        (*body).bytes_sent = 0;
        (*body).bytes_received = 0;
        (*body).duration_ns = 0;
        (*body).inode = inode;
        (*body).device = device;
        (*body).error = 0;
        (*body).outbound = 0;
        (*body).path_length = end - start;
    }
    let ring = if operation == socket_operation::CREATED {
        &CRITICAL
    } else {
        &TELEMETRY
    };
    draft.submit(ring, Kind::Socket, &Subject::new(place, task), 0, end);
    operation
}

/// Whether a socket is of a kind that ordinary programs do not make: neither TCP, UDP, ICMP echo nor Unix, and of netlink
/// only that of packet filters.
#[inline(always)]
fn is_unusual(family: u16, kind: u16, protocol: u32) -> bool {
    if family == sock::AF_UNIX {
        return false;
    }
    if family == AF_NETLINK {
        return protocol == NETLINK_NETFILTER;
    }
    if family == sock::AF_INET || family == sock::AF_INET6 {
        return kind != SOCK_STREAM && kind != SOCK_DGRAM;
    }
    true
}
