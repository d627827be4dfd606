//! Sockets that are made, bound or listen, and the socket of a container runtime.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

use super::facts::offered;
use super::host::Outside;
use super::root::HOST_RUN;
use super::{Action, Inside};

pub(super) const ACTIONS: &[Action] = &[
    Action::new("listen", "Listens on a TCP port", listen),
    Action::new("bind-udp", "Gives a UDP socket an address", bind_udp),
    Action::new("bind-udp6", "The same over IPv6", bind_udp6),
    Action::new("raw-socket", "Makes a raw socket for ICMP", |_| {
        socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)
    }),
    Action::new("raw6-socket", "Makes a raw socket for ICMPv6", |_| {
        socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6)
    }),
    Action::new(
        "packet-socket",
        "Makes a socket that hears every packet",
        |_| {
            let all = (libc::ETH_P_ALL as u16).to_be();
            socket(libc::AF_PACKET, libc::SOCK_RAW, all.into())
        },
    ),
    Action::new(
        "alg-socket",
        "Makes a socket for kernel cryptography",
        |_| alg(),
    ),
    Action::new("vsock-socket", "Makes a socket to the hypervisor", |_| {
        socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)
    }),
    Action::new(
        "netlink-nftables",
        "Makes a netfilter socket in a new user namespace",
        netfilter,
    ),
    Action::new(
        "runtime-socket",
        "Connects to a container runtime's socket through a bind mount of its directory",
        runtime_socket,
    )
    .with(Outside::RuntimeSocket),
];

/// Free in a new network namespace.
const PORT: u16 = 7_100;

fn listen(_: &Inside) -> Result<Value> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).context("could not listen")?;
    Ok(json!({
        "family": "inet", "type": "stream", "protocol": libc::IPPROTO_TCP,
        "address": listener.local_addr()?.ip().to_string(), "port": PORT,
    }))
}

fn bind_udp(_: &Inside) -> Result<Value> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, PORT)).context("could not bind")?;
    Ok(json!({
        "family": "inet", "type": "dgram", "protocol": libc::IPPROTO_UDP,
        "address": socket.local_addr()?.ip().to_string(), "port": PORT,
    }))
}

fn bind_udp6(_: &Inside) -> Result<Value> {
    let socket = UdpSocket::bind((Ipv6Addr::LOCALHOST, PORT)).context("could not bind")?;
    Ok(json!({
        "family": "inet6", "type": "dgram", "protocol": libc::IPPROTO_UDP,
        "address": socket.local_addr()?.ip().to_string(), "port": PORT,
    }))
}

/// A socket for kernel cryptography.
pub(super) fn alg() -> Result<Value> {
    socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)
}

/// Makes a socket and closes it.
fn socket(family: i32, kind: i32, protocol: i32) -> Result<Value> {
    // SAFETY: it takes numbers only.
    let made = unsafe { libc::socket(family, kind, protocol) };
    let made = nix::errno::Errno::result(made).map_err(Into::into);
    let made = offered(made, "could not make the socket")?;
    // SAFETY: it is open, and nothing else owns it.
    drop(unsafe { OwnedFd::from_raw_fd(made) });
    let family = match family {
        libc::AF_INET => "inet",
        libc::AF_INET6 => "inet6",
        libc::AF_PACKET => "packet",
        libc::AF_NETLINK => "netlink",
        libc::AF_ALG => "alg",
        libc::AF_VSOCK => "vsock",
        _ => "other",
    };
    let kind = match kind {
        libc::SOCK_RAW => "raw".to_owned(),
        libc::SOCK_STREAM => "stream".to_owned(),
        libc::SOCK_SEQPACKET => "seqpacket".to_owned(),
        other => other.to_string(),
    };
    Ok(json!({"family": family, "type": kind, "protocol": protocol}))
}

fn netfilter(_: &Inside) -> Result<Value> {
    let new = unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(Into::into);
    offered(new, "could not enter a new user namespace")?;
    socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER)
}

fn runtime_socket(inside: &Inside) -> Result<Value> {
    let path = inside.get("socket")?;
    let through = path.replacen("/run", HOST_RUN, 1);
    UnixStream::connect(&through).with_context(|| format!("could not connect to {through}"))?;
    Ok(json!({"path": path, "through": through, "runtime": inside.get("runtime")?}))
}
