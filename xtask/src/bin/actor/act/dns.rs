//! Names that are looked up, with a name server that knows one answer.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::child::Child;
use super::{Action, Inside};

pub(super) const ACTIONS: &[Action] = &[
    Action::new(
        "dns-udp",
        "Asks for a name over UDP, and connects to the answer",
        over_udp,
    ),
    Action::new(
        "dns-tcp",
        "Asks for a name over TCP, and connects to the answer",
        over_tcp,
    ),
    Action::new(
        "dns-missing",
        "Asks for a name that does not exist",
        missing,
    ),
];

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

/// What the name server answers with.
const ANSWER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

const ID: u16 = 0x5747;

/// Response codes of RFC 1035, section 4.1.1.
const NO_ERROR: u16 = 0;
const NO_SUCH_NAME: u16 = 3;

fn over_udp(_: &Inside) -> Result<Value> {
    look_up_udp("pool.over-udp.test", NO_ERROR)
}

fn missing(_: &Inside) -> Result<Value> {
    look_up_udp("missing.over-udp.test", NO_SUCH_NAME)
}

fn look_up_udp(name: &str, code: u16) -> Result<Value> {
    let server = UdpSocket::bind(SERVER).context("could not be a name server")?;
    let peer = Child::start(|| {
        let mut query = [0; 512];
        let (length, from) = server.recv_from(&mut query)?;
        server.send_to(&answer(&query[..length], code), from)?;
        Ok(())
    })?;
    drop(server);
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    client.send_to(&query(name), SERVER)?;
    let mut response = [0; 512];
    let length = client.recv(&mut response)?;
    ensure!(length > 12, "the answer is cut");
    followed(name, code, peer)
}

fn over_tcp(_: &Inside) -> Result<Value> {
    const NAME: &str = "pool.over-tcp.test";
    let server = TcpListener::bind(SERVER).context("could not be a name server")?;
    let peer = Child::start(|| {
        let (mut stream, _) = server.accept()?;
        let query = read_message(&mut stream)?;
        write_message(&mut stream, &answer(&query, NO_ERROR))?;
        stream.read_to_end(&mut Vec::new())?;
        Ok(())
    })?;
    drop(server);
    let mut stream = TcpStream::connect(SERVER)?;
    write_message(&mut stream, &query(NAME))?;
    read_message(&mut stream)?;
    drop(stream);
    followed(NAME, NO_ERROR, peer)
}

/// Connects to the address that was answered, and gathers the facts.
fn followed(name: &str, code: u16, server: Child) -> Result<Value> {
    let server_pid = server.host_pid;
    server.finish()?;
    let listener = TcpListener::bind((ANSWER, 0)).context("could not listen")?;
    let address = listener.local_addr()?;
    if code == NO_ERROR {
        TcpStream::connect(address).context("could not connect to what was answered")?;
    }
    Ok(json!({
        "id": ID, "name": name, "type": "A",
        "response_code": if code == NO_ERROR { "NOERROR" } else { "NXDOMAIN" },
        "address": ANSWER.to_string(), "port": address.port(),
        "server": SERVER.ip().to_string(), "server_port": SERVER.port(),
        "server_pid": server_pid,
    }))
}

/// A query for the address of `name`. See RFC 1035, section 4.1.
fn query(name: &str) -> Vec<u8> {
    let mut message = Vec::new();
    // Id, recursion desired, one question.
    for word in [ID, 0x0100, 1, 0, 0, 0] {
        message.extend(word.to_be_bytes());
    }
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(63));
        message.extend(label.bytes());
    }
    // The root, type A, class IN.
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// The answer to a query with one question.
fn answer(query: &[u8], code: u16) -> Vec<u8> {
    let found = u16::from(code == NO_ERROR);
    let mut message = query.get(..2).unwrap_or_default().to_vec();
    for word in [0x8180 | code, 1, found, 0, 0] {
        message.extend(word.to_be_bytes());
    }
    message.extend(query.get(12..).unwrap_or_default());
    if found == 1 {
        // The name of the question, type A, class IN, for 60 s, four bytes.
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        message.extend(ANSWER.octets());
    }
    message
}

/// A message over TCP has its length before it.
fn write_message(stream: &mut TcpStream, message: &[u8]) -> Result<()> {
    let mut whole = u16::try_from(message.len())?.to_be_bytes().to_vec();
    whole.extend(message);
    stream.write_all(&whole).context("could not send a message")
}

fn read_message(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    Ok(message)
}
