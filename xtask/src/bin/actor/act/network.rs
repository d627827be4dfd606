//! TCP and UDP on the loopback interface of the container's network namespace.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::child::Child;
use super::{Action, Inside};

pub(super) const ACTIONS: &[Action] = &[
    Action::new(
        "tcp-connect",
        "Connects to a server, sends and receives",
        |_| connect(LOCAL.into(), LOCAL.into()),
    ),
    Action::new("tcp6-connect", "The same over IPv6", |_| {
        connect(LOCAL6.into(), LOCAL6.into())
    }),
    Action::new(
        "tcp4-mapped",
        "The same over IPv4 with a socket for IPv6",
        |_| connect(LOCAL.into(), LOCAL.to_ipv6_mapped().into()),
    ),
    Action::new("tcp-accept", "Accepts a connection of a client", accept),
    Action::new("tcp-refused", "Connects to where nobody listens", refused),
    Action::new(
        "tcp-in-progress",
        "Connects to a listener that does not answer",
        in_progress,
    ),
    Action::new(
        "udp-first-datagram",
        "Sends five datagrams to one place",
        |_| datagrams(LOCAL.into()),
    ),
    Action::new("udp6-first-datagram", "The same over IPv6", |_| {
        datagrams(LOCAL6.into())
    }),
    Action::new(
        "udp-connected",
        "Sends datagrams with a connected socket",
        connected_datagrams,
    ),
];

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;
const LOCAL6: Ipv6Addr = Ipv6Addr::LOCALHOST;

/// Bytes that a client sends, and that a server answers with.
const REQUEST: usize = 1_000;
const RESPONSE: usize = 30_000;

/// How long the connection that nobody answers is kept: longer than the agent waits before it says so.
const UNANSWERED: Duration = Duration::from_millis(2_500);

/// The client's part of an exchange, which also closes first.
fn client(address: SocketAddr) -> Result<SocketAddr> {
    let mut stream =
        TcpStream::connect(address).with_context(|| format!("could not connect to {address}"))?;
    stream.write_all(&[b'q'; REQUEST])?;
    let mut response = vec![0; RESPONSE];
    stream.read_exact(&mut response)?;
    Ok(stream.local_addr()?)
}

/// The server's part.
fn server(listener: &TcpListener) -> Result<SocketAddr> {
    let (mut stream, peer) = listener.accept()?;
    stream.read_exact(&mut [0; REQUEST])?;
    stream.write_all(&vec![b'r'; RESPONSE])?;
    // Until the client has closed.
    stream.read_to_end(&mut Vec::new())?;
    Ok(peer)
}

fn connect(listen: IpAddr, to: IpAddr) -> Result<Value> {
    let listener = TcpListener::bind((listen, 0)).context("could not listen")?;
    let port = listener.local_addr()?.port();
    let peer = Child::start(|| server(&listener).map(drop))?;
    drop(listener);
    let local = client((to, port).into())?;
    let server_pid = peer.host_pid;
    peer.finish()?;
    Ok(json!({
        "address": listen.to_string(),
        "port": port,
        "local_port": local.port(),
        "server_pid": server_pid,
        "sent": REQUEST,
        "received": RESPONSE,
    }))
}

fn accept(_: &Inside) -> Result<Value> {
    let listener = TcpListener::bind((LOCAL, 0)).context("could not listen")?;
    let address = listener.local_addr()?;
    let peer = Child::start(|| client(address).map(drop))?;
    let remote = server(&listener)?;
    let client_pid = peer.host_pid;
    peer.finish()?;
    Ok(json!({
        "address": LOCAL.to_string(),
        "port": address.port(),
        "remote_port": remote.port(),
        "client_pid": client_pid,
        "sent": RESPONSE,
        "received": REQUEST,
    }))
}

fn refused(_: &Inside) -> Result<Value> {
    let listener = TcpListener::bind((LOCAL, 0)).context("could not listen")?;
    let address = listener.local_addr()?;
    drop(listener);
    match TcpStream::connect(address) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Ok(json!({"address": LOCAL.to_string(), "port": address.port()}))
        }
        other => bail!("a connection to a closed port: {other:?}"),
    }
}

/// A listener whose queue is full ignores further clients. See listen(2).
fn in_progress(_: &Inside) -> Result<Value> {
    let listener = TcpListener::bind((LOCAL, 0)).context("could not listen")?;
    // SAFETY: the descriptor is open; listening again changes the length of the queue.
    let shortened = unsafe { libc::listen(listener.as_raw_fd(), 0) };
    nix::errno::Errno::result(shortened).context("could not shorten the queue")?;
    let address = listener.local_addr()?;
    let mut queued = Vec::new();
    for _ in 0..8 {
        let stream = begin(&address)?;
        if !writable(&stream, Duration::from_millis(200))? {
            let local = stream.local_addr()?;
            std::thread::sleep(UNANSWERED);
            return Ok(json!({
                "address": LOCAL.to_string(),
                "port": address.port(),
                "local_port": local.port(),
            }));
        }
        queued.push(stream);
    }
    bail!("a listener without a queue took {} clients", queued.len())
}

/// Begins a connection without waiting for it.
fn begin(address: &SocketAddr) -> Result<TcpStream> {
    // SAFETY: it takes numbers only.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0) };
    let socket = nix::errno::Errno::result(socket).context("could not make a socket")?;
    // SAFETY: it is open, and nothing else owns it.
    let stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(socket) });
    let name = libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET)?,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(LOCAL).to_be(),
        },
        sin_zero: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of_val(&name))?;
    // SAFETY: `name` is an address of the length that is given.
    let outcome = unsafe { libc::connect(socket, (&raw const name).cast(), length) };
    match nix::errno::Errno::result(outcome) {
        Ok(_) | Err(nix::errno::Errno::EINPROGRESS) => Ok(stream),
        Err(error) => Err(error).context("could not begin a connection"),
    }
}

/// Whether a connection is there within `limit`.
fn writable(stream: &TcpStream, limit: Duration) -> Result<bool> {
    let mut poll = libc::pollfd {
        fd: stream.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    let limit = libc::c_int::try_from(limit.as_millis())?;
    // SAFETY: it is one `pollfd`, as the number says.
    let ready = unsafe { libc::poll(&raw mut poll, 1, limit) };
    Ok(nix::errno::Errno::result(ready).context("could not wait for a connection")? > 0)
}

fn datagrams(to: IpAddr) -> Result<Value> {
    let receiver = UdpSocket::bind((to, 0)).context("could not make a receiver")?;
    let sender = UdpSocket::bind((to, 0)).context("could not make a sender")?;
    let address = receiver.local_addr()?;
    for _ in 0..5 {
        sender.send_to(b"watchkeeper", address)?;
        receiver.recv(&mut [0; 64])?;
    }
    Ok(json!({
        "address": to.to_string(),
        "port": address.port(),
        "local_port": sender.local_addr()?.port(),
    }))
}

fn connected_datagrams(_: &Inside) -> Result<Value> {
    let receiver = UdpSocket::bind((LOCAL, 0)).context("could not make a receiver")?;
    let sender = UdpSocket::bind((LOCAL, 0)).context("could not make a sender")?;
    let address = receiver.local_addr()?;
    sender.connect(address)?;
    for _ in 0..5 {
        sender.send(b"watchkeeper")?;
        receiver.recv(&mut [0; 64])?;
    }
    Ok(json!({
        "address": LOCAL.to_string(),
        "port": address.port(),
        "local_port": sender.local_addr()?.port(),
    }))
}
