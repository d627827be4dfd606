//! Sockets and packets.

use std::net::{IpAddr, Ipv6Addr};

use watchkeeper_ebpf::record::{Addresses, Packet, Socket, socket_operation};

use super::{constants, errors};
use crate::proto::v1::{self, EventKind, Outcome, Protocol, event::Detail};

/// include/uapi/linux/in.h
const IPPROTO_UDP: u32 = 17;

/// An address: those of IPv4 are mapped into IPv6 in records.
#[must_use]
pub fn address(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}

/// An end of a connection; empty where there is none.
fn endpoint(bytes: [u8; 16], port: u16) -> v1::Endpoint {
    v1::Endpoint {
        address: address(bytes).to_string(),
        port: u32::from(port),
    }
}

/// The own end.
#[must_use]
pub fn local(addresses: &Addresses) -> v1::Endpoint {
    endpoint(addresses.local, addresses.local_port)
}

/// The other end.
#[must_use]
pub fn remote(addresses: &Addresses) -> v1::Endpoint {
    endpoint(addresses.remote, addresses.remote_port)
}

/// A protocol by its number.
#[must_use]
pub fn protocol(number: u32) -> Protocol {
    if number == IPPROTO_UDP {
        Protocol::Udp
    } else {
        Protocol::Tcp
    }
}

/// What happened to a socket; `None` for an operation that is not known. A Unix socket is not here.
#[must_use]
pub fn meaning(socket: &Socket) -> Option<(EventKind, Detail)> {
    let addresses = &socket.addresses;
    let connection = |outcome: Outcome| v1::Connection {
        protocol: Protocol::Tcp.into(),
        local: Some(local(addresses)),
        remote: Some(remote(addresses)),
        outcome: outcome.into(),
        duration_ns: socket.duration_ns,
        outbound: socket.outbound != 0,
        ..v1::Connection::default()
    };
    let described = || {
        Detail::Socket(v1::Socket {
            family: constants::name(u64::from(addresses.family), constants::FAMILIES),
            r#type: constants::name(u64::from(addresses.kind), constants::SOCKET_TYPES),
            protocol: socket.protocol,
            local: (addresses.local_port != 0 || addresses.local != [0; 16])
                .then(|| local(addresses)),
        })
    };
    Some(match socket.operation {
        socket_operation::CONNECTED => (
            EventKind::Connect,
            Detail::Connection(connection(Outcome::Established)),
        ),
        socket_operation::FAILED => (
            EventKind::Connect,
            Detail::Connection(v1::Connection {
                error: match i32::try_from(socket.error) {
                    // Closed by the process itself before there was an answer.
                    Ok(0) | Err(_) => String::new(),
                    Ok(error) => errors::name(error),
                },
                ..connection(Outcome::Failed)
            }),
        ),
        socket_operation::ACCEPTED => (
            EventKind::Accept,
            Detail::Connection(v1::Connection {
                duration_ns: 0,
                ..connection(Outcome::Established)
            }),
        ),
        socket_operation::CLOSED => (
            EventKind::Close,
            Detail::Connection(v1::Connection {
                bytes_sent: socket.bytes_sent,
                bytes_received: socket.bytes_received,
                ..connection(Outcome::Established)
            }),
        ),
        socket_operation::LISTENING => (EventKind::Listen, described()),
        socket_operation::BOUND => (EventKind::Bind, described()),
        socket_operation::CREATED => (EventKind::Socket, described()),
        _ => return None,
    })
}

/// A connection under way, that takes long.
#[must_use]
pub fn in_progress(addresses: &Addresses, duration_ns: u64) -> v1::Connection {
    v1::Connection {
        protocol: Protocol::Tcp.into(),
        local: Some(local(addresses)),
        remote: Some(remote(addresses)),
        outcome: Outcome::InProgress.into(),
        duration_ns,
        outbound: true,
        ..v1::Connection::default()
    }
}

/// The first datagram of a UDP flow.
#[must_use]
pub fn datagram(packet: &Packet) -> v1::Connection {
    v1::Connection {
        protocol: Protocol::Udp.into(),
        local: Some(local(&packet.addresses)),
        remote: Some(remote(&packet.addresses)),
        outcome: Outcome::Established.into(),
        outbound: true,
        ..v1::Connection::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(last: u8) -> [u8; 16] {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, last]
    }

    #[test]
    fn mapped_addresses_are_shown_as_what_they_are() {
        assert_eq!(address(mapped(1)).to_string(), "127.0.0.1");
        assert_eq!(address([0; 16]).to_string(), "::");
    }

    #[test]
    fn a_refused_connection_has_its_error() {
        let socket = Socket {
            operation: socket_operation::FAILED,
            error: 111,
            addresses: Addresses {
                remote: mapped(9),
                remote_port: 81,
                ..Addresses::default()
            },
            ..Socket::default()
        };
        let Some((EventKind::Connect, Detail::Connection(found))) = meaning(&socket) else {
            panic!("a connection");
        };
        assert_eq!(found.error, "ECONNREFUSED");
        assert_eq!(found.outcome(), Outcome::Failed);
        let remote = found.remote.expect("known");
        assert_eq!((remote.address.as_str(), remote.port), ("127.0.0.9", 81));
    }

    #[test]
    fn an_unknown_operation_is_nothing() {
        assert!(meaning(&Socket::default()).is_none());
    }
}
