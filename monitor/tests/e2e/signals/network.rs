//! Connections, datagrams, names, and what is said first.

use watchkeeper::proto::v1::{Event, EventKind, Outcome, Protocol};

use super::case::{By, Case, Facts, detail, endpoint, holds, same};

pub(super) const CASES: &[Case] = &[
    Case::new("tcp-connect", EventKind::Connect, TCP, connected),
    Case::new("tcp6-connect", EventKind::Connect, TCP, connected),
    Case::new("tcp4-mapped", EventKind::Connect, TCP, connected),
    Case::new("tcp-refused", EventKind::Connect, TCP, refused),
    Case::new("tcp-in-progress", EventKind::Connect, TCP, in_progress),
    Case::new("tcp-accept", EventKind::Accept, TCP, accepted),
    Case::new("tcp-close", EventKind::Close, TCP, closed).of("tcp-connect"),
    Case::new("tcp6-close", EventKind::Close, TCP, closed).of("tcp6-connect"),
    Case::new("tcp-close-accepted", EventKind::Close, TCP, closed_accepted).of("tcp-accept"),
    Case::new("udp-first-datagram", EventKind::Connect, UDP, datagram).once(),
    Case::new("udp6-first-datagram", EventKind::Connect, UDP, datagram).once(),
    Case::new("udp-connected", EventKind::Connect, UDP, datagram).once(),
    Case::new("dns-query-udp", EventKind::Dns, DNS, query_udp).of("dns-udp"),
    Case::new("dns-answer-udp", EventKind::Dns, DNS, answer_udp)
        .of("dns-udp")
        .by(By::Anyone),
    Case::new("dns-answer-missing", EventKind::Dns, DNS, answer_missing)
        .of("dns-missing")
        .by(By::Anyone),
    Case::new("dns-name-udp", EventKind::Connect, DNS, named).of("dns-udp"),
    Case::new("dns-query-tcp", EventKind::Dns, DNS, query_tcp).of("dns-tcp"),
    Case::new("dns-answer-tcp", EventKind::Dns, DNS, answer_tcp)
        .of("dns-tcp")
        .by(By::Anyone),
    Case::new("dns-name-tcp", EventKind::Connect, DNS, named).of("dns-tcp"),
    Case::new("stratum-subscribe", EventKind::Payload, PAYLOAD, stratum),
    Case::new("stratum-authorize", EventKind::Payload, PAYLOAD, stratum),
    Case::new("stratum-login", EventKind::Payload, PAYLOAD, stratum),
    Case::new("stratum-split", EventKind::Payload, PAYLOAD, stratum_split),
];

const TCP: &[&str] = &["inet_sock_set_state", "tcp", "connect"];
const UDP: &[&str] = &["udp", "sendmsg", "cgroup_skb"];
const DNS: &[&str] = &["dns", "cgroup_skb"];
const PAYLOAD: &[&str] = &["payload", "cgroup_skb"];

/// A connection was opened, from and to where the facts say.
fn connected(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Connection);
    same("protocol", found.protocol(), Protocol::Tcp)?;
    same("outcome", found.outcome(), Outcome::Established)?;
    same("error", found.error.as_str(), "")?;
    let (address, port) = (facts.text("address"), facts.number("port"));
    endpoint("remote", found.remote.as_ref(), address, port)?;
    let port = facts.number("local_port");
    endpoint("local", found.local.as_ref(), address, port)?;
    same("remote_name", found.remote_name.as_str(), "")?;
    holds("duration_ns is 0", found.duration_ns > 0)
}

pub(super) fn refused(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Connection);
    same("protocol", found.protocol(), Protocol::Tcp)?;
    same("outcome", found.outcome(), Outcome::Failed)?;
    same("error", found.error.as_str(), "ECONNREFUSED")?;
    let (address, port) = (facts.text("address"), facts.number("port"));
    endpoint("remote", found.remote.as_ref(), address, port)
}

fn in_progress(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Connection);
    same("protocol", found.protocol(), Protocol::Tcp)?;
    same("outcome", found.outcome(), Outcome::InProgress)?;
    let (address, port) = (facts.text("address"), facts.number("port"));
    endpoint("remote", found.remote.as_ref(), address, port)?;
    let port = facts.number("local_port");
    endpoint("local", found.local.as_ref(), address, port)
}

fn accepted(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Connection);
    same("protocol", found.protocol(), Protocol::Tcp)?;
    let (address, port) = (facts.text("address"), facts.number("port"));
    endpoint("local", found.local.as_ref(), address, port)?;
    let port = facts.number("remote_port");
    endpoint("remote", found.remote.as_ref(), address, port)
}

/// Of a connection that the acting process opened.
fn closed(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Connection);
    same("protocol", found.protocol(), Protocol::Tcp)?;
    let (address, port) = (facts.text("address"), facts.number("port"));
    endpoint("remote", found.remote.as_ref(), address, port)?;
    let port = facts.number("local_port");
    endpoint("local", found.local.as_ref(), address, port)?;
    same("outbound", found.outbound, true)?;
    counted(facts, event)
}

/// Of a connection that it accepted.
fn closed_accepted(facts: &Facts, event: &Event) -> Result<(), String> {
    accepted(facts, event)?;
    let found = detail!(event, Connection);
    same("outbound", found.outbound, false)?;
    counted(facts, event)
}

fn counted(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Connection);
    same("bytes_sent", found.bytes_sent, facts.number("sent"))?;
    same(
        "bytes_received",
        found.bytes_received,
        facts.number("received"),
    )?;
    holds("duration_ns is 0", found.duration_ns > 0)
}

fn datagram(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Connection);
    same("protocol", found.protocol(), Protocol::Udp)?;
    let (address, port) = (facts.text("address"), facts.number("port"));
    endpoint("remote", found.remote.as_ref(), address, port)?;
    let port = facts.number("local_port");
    let local = found.local.as_ref().map(|local| u64::from(local.port));
    same("local.port", local, Some(port))
}

fn query_udp(facts: &Facts, event: &Event) -> Result<(), String> {
    message(facts, event, Protocol::Udp, None)
}

fn query_tcp(facts: &Facts, event: &Event) -> Result<(), String> {
    message(facts, event, Protocol::Tcp, None)
}

fn answer_udp(facts: &Facts, event: &Event) -> Result<(), String> {
    message(facts, event, Protocol::Udp, Some(&[facts.text("address")]))
}

fn answer_tcp(facts: &Facts, event: &Event) -> Result<(), String> {
    message(facts, event, Protocol::Tcp, Some(&[facts.text("address")]))
}

fn answer_missing(facts: &Facts, event: &Event) -> Result<(), String> {
    message(facts, event, Protocol::Udp, Some(&[]))
}

/// A DNS message: a query, or an answer with these addresses.
fn message(
    facts: &Facts,
    event: &Event,
    protocol: Protocol,
    answers: Option<&[&str]>,
) -> Result<(), String> {
    let found = detail!(event, Dns);
    same("answer", found.answer, answers.is_some())?;
    same("protocol", found.protocol(), protocol)?;
    let (server, port) = (facts.text("server"), facts.number("server_port"));
    endpoint("server", found.server.as_ref(), server, port)?;
    same("id", u64::from(found.id), facts.number("id"))?;
    same("name", found.name.as_str(), facts.text("name"))?;
    same("type", found.r#type.as_str(), facts.text("type"))?;
    same("incomplete", found.incomplete, false)?;
    if let Some(answers) = answers {
        let code = facts.text("response_code");
        same("response_code", found.response_code.as_str(), code)?;
        same("answers", &found.answers[..], answers)?;
    }
    Ok(())
}

/// A connection to what a name server answered shows the name that was asked for.
fn named(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Connection);
    let (address, port) = (facts.text("address"), facts.number("port"));
    endpoint("remote", found.remote.as_ref(), address, port)?;
    same("outcome", found.outcome(), Outcome::Established)?;
    same(
        "remote_name",
        found.remote_name.as_str(),
        facts.text("name"),
    )
}

fn stratum(facts: &Facts, event: &Event) -> Result<(), String> {
    stratum_split(facts, event)?;
    let found = detail!(event, Payload);
    same("agent", found.agent.as_str(), facts.text("agent"))?;
    same("length", u64::from(found.length), facts.number("length"))
}

/// As above, where the agent and the length depend on how much was looked at.
fn stratum_split(facts: &Facts, event: &Event) -> Result<(), String> {
    let found = detail!(event, Payload);
    same("protocol", found.protocol.as_str(), "stratum")?;
    same("method", found.method.as_str(), facts.text("method"))?;
    let (address, port) = (facts.text("address"), facts.number("port"));
    endpoint("remote", found.remote.as_ref(), address, port)?;
    let port = facts.number("local_port");
    endpoint("local", found.local.as_ref(), address, port)
}
