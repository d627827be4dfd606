//! Sockets that are made, bound or listen, and the sockets of container runtimes.

use watchkeeper::proto::v1::{Event, EventKind, Outcome, Protocol};

use super::case::{Case, Facts, detail, endpoint, same};

pub(super) const CASES: &[Case] = &[
    Case::new("listen", EventKind::Listen, &["listen", "inet_sock"], bound),
    Case::new("bind-tcp", EventKind::Bind, &["bind"], bound).of("listen"),
    Case::new("bind-udp", EventKind::Bind, &["bind"], bound),
    Case::new("bind-udp6", EventKind::Bind, &["bind"], bound),
    Case::new("raw-socket", EventKind::Socket, SOCKET, made),
    Case::new("raw6-socket", EventKind::Socket, SOCKET, made),
    Case::new("packet-socket", EventKind::Socket, SOCKET, packet),
    Case::new("alg-socket", EventKind::Socket, SOCKET, made),
    Case::new("vsock-socket", EventKind::Socket, SOCKET, made),
    Case::new("netlink-nftables", EventKind::Socket, SOCKET, made),
    Case::new(
        "runtime-socket",
        EventKind::Connect,
        &["unix", "connect"],
        runtime,
    ),
];

const SOCKET: &[&str] = &["sys_enter_socket", "sys_exit_socket", "socket"];

fn made(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Socket);
    same("family", found.family.as_str(), facts.text("family"))?;
    same("type", found.r#type.as_str(), facts.text("type"))?;
    let protocol = facts.number("protocol");
    same("protocol", u64::from(found.protocol), protocol)
}

/// ETH_P_ALL is given in network byte order; either is right.
fn packet(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Socket);
    same("family", found.family.as_str(), facts.text("family"))?;
    same("type", found.r#type.as_str(), facts.text("type"))?;
    let either = found.protocol == 3 || u64::from(found.protocol) == facts.number("protocol");
    same("protocol is ETH_P_ALL", either, true)
}

fn bound(facts: &Facts, event: &Event) -> Result<(), String> {
    made(facts, event)?;
    let found = detail!(event, Socket);
    let (address, port) = (facts.text("address"), facts.number("port"));
    endpoint("local", found.local.as_ref(), address, port)
}

fn runtime(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Connection);
    same("protocol", found.protocol(), Protocol::Unix)?;
    same("outcome", found.outcome(), Outcome::Established)?;
    same("path", found.path.as_str(), facts.text("path"))?;
    same("runtime", found.runtime.as_str(), facts.text("runtime"))
}
