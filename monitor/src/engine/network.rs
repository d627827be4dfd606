//! Records about the network: connections, datagrams, DNS and the first bytes of flows, with the names that addresses were
//! asked for.

use std::{collections::HashMap, num::NonZeroUsize};

use lru::LruCache;
use watchkeeper_ebpf::{
    record::{Header, MAX_PACKET, Packet, Socket, packet_purpose, socket_operation},
    tables::Connecting,
};

use super::{Engine, figures::Caches};
use crate::{
    container::{registry::Place, runtime_sockets::RuntimeSockets},
    event::Detail,
    interpret::socket::{self, address},
    kernel::paths,
    network::{dns, names::Names, payload},
    process::execution::ProcessKey,
    proto::v1::{self, EventKind},
};

/// Queries whose sender is remembered until the answer.
pub(super) const QUERIES: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");
/// Connections whose first bytes are gathered.
pub(super) const GATHERED: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");
/// How long a connection may be under way before that is told, in nanoseconds.
const SLOW_NS: u64 = 1_000_000_000;

/// Port of DNS servers.
const DNS_PORT: u16 = 53;

/// A query that waits for its answer: cgroup, own port, server, id.
type Query = (u64, u16, [u8; 16], u16);

/// Names a connection: cgroup, own port, the other end.
type Flow = (u64, u16, [u8; 16], u16);

/// What is remembered about the network.
pub(super) struct Network {
    names: Names,
    queries: LruCache<Query, ProcessKey>,
    runtime_sockets: RuntimeSockets,
    /// What connections began with, while that may still turn out to be a protocol.
    gathered: LruCache<Flow, Vec<u8>>,
    /// Connections under way that were told of, by socket, with their beginning.
    told: HashMap<u64, u64>,
}

impl Network {
    pub(super) fn new(runtime_sockets: RuntimeSockets) -> Self {
        Self {
            names: Names::new(),
            queries: LruCache::new(QUERIES),
            runtime_sockets,
            gathered: LruCache::new(GATHERED),
            told: HashMap::new(),
        }
    }

    /// Tells how much is remembered.
    pub(super) fn report(&self, caches: &Caches) {
        caches.names.set(self.names.count());
        caches.queries.set(self.queries.len());
        caches.payloads.set(self.gathered.len());
    }

    /// Forgets what was remembered of a container.
    pub(super) fn forget(&mut self, slot: u32) {
        self.names.forget(slot);
    }
}

/// Adds a segment to what a connection began with; `None` where there is enough already.
fn gather<'a>(gathered: &'a mut Vec<u8>, data: &[u8]) -> Option<&'a [u8]> {
    let room = MAX_PACKET.checked_sub(gathered.len())?;
    if room == 0 {
        return None;
    }
    gathered.extend_from_slice(&data[..data.len().min(room)]);
    Some(gathered)
}

impl Engine {
    /// Something happened to a socket.
    pub(super) fn socket(&mut self, header: &Header, socket: &Socket, path: &[u8]) {
        if socket.operation == socket_operation::UNIX_CONNECTED {
            self.unix_connected(header, socket, path);
            return;
        }
        let Some((kind, mut detail)) = socket::meaning(socket) else {
            return;
        };
        if let v1::event::Detail::Connection(connection) = &mut detail {
            connection.remote_name = self.remote_name(header, socket.addresses.remote);
        }
        self.emit_message(header, kind, detail, None);
    }

    /// The name that a container asked an address for.
    fn remote_name(&self, header: &Header, remote: [u8; 16]) -> String {
        self.network
            .names
            .name(self.slot(header), address(remote), header.time_ns)
            .map(|name| name.to_string())
            .unwrap_or_default()
    }

    /// Slot of the container that a record is from; 0 for none.
    fn slot(&self, header: &Header) -> u32 {
        match self.registry.place(header.cgroup_id, header.container_slot) {
            Place::Container(container, _) => container.slot,
            Place::Host(_) | Place::Unknown => 0,
        }
    }

    fn unix_connected(&mut self, header: &Header, socket: &Socket, path: &[u8]) {
        // The agent asks the runtime for names itself.
        if header.pid == std::process::id() {
            return;
        }
        let Some(runtime) = self
            .network
            .runtime_sockets
            .runtime(socket.device, socket.inode)
        else {
            return;
        };
        let connection = v1::Connection {
            protocol: v1::Protocol::Unix.into(),
            outcome: v1::Outcome::Established.into(),
            outbound: true,
            path: paths::text(path),
            runtime: runtime.to_owned(),
            ..v1::Connection::default()
        };
        self.emit_message(
            header,
            EventKind::Connect,
            v1::event::Detail::Connection(connection),
            None,
        );
    }

    /// A packet that is looked at.
    pub(super) fn packet(&mut self, header: &Header, packet: &Packet, data: &[u8]) {
        match packet.purpose {
            packet_purpose::DATAGRAM => {
                let mut datagram = socket::datagram(packet);
                datagram.remote_name = self.remote_name(header, packet.addresses.remote);
                self.emit_message(
                    header,
                    EventKind::Connect,
                    v1::event::Detail::Connection(datagram),
                    None,
                );
            }
            packet_purpose::DNS => self.dns(header, packet, data),
            packet_purpose::FIRST_BYTES => self.first_bytes(header, packet, data),
            _ => {}
        }
    }

    fn dns(&mut self, header: &Header, packet: &Packet, data: &[u8]) {
        const TCP: u32 = 6;
        // Over TCP, a segment may hold less than a message, or its length alone.
        let Ok(message) = dns::parse(data, packet.protocol == TCP) else {
            return;
        };
        let addresses = &packet.addresses;
        // Where the server is in a container, too, each message is seen twice: as it leaves one process, and enters another.
        if addresses.local_port == DNS_PORT {
            return;
        }
        let query = (
            header.cgroup_id,
            addresses.local_port,
            addresses.remote,
            message.id,
        );
        let mut process = ProcessKey::from(header);
        if message.answer {
            // An answer that nobody asked for must not name anything.
            if let Some(asked) = self.network.queries.pop(&query) {
                process = asked;
                let slot = self.slot(header);
                self.network.names.learn(slot, &message, header.time_ns);
            }
        } else {
            self.network.queries.put(query, process);
        }
        let detail = v1::Dns {
            answer: message.answer,
            protocol: socket::protocol(packet.protocol).into(),
            server: Some(socket::remote(&packet.addresses)),
            id: u32::from(message.id),
            response_code: if message.answer {
                message.response_code
            } else {
                String::new()
            },
            name: message.name,
            r#type: message.record_type,
            answers: message
                .answers
                .iter()
                .map(|answer| answer.data.to_string())
                .collect(),
            incomplete: message.truncated,
        };
        self.emit_at(
            header,
            process,
            Detail::Message(EventKind::Dns, Box::new(v1::event::Detail::Dns(detail))),
            None,
        );
    }

    fn first_bytes(&mut self, header: &Header, packet: &Packet, data: &[u8]) {
        let addresses = &packet.addresses;
        let flow = (
            header.cgroup_id,
            addresses.local_port,
            addresses.remote,
            addresses.remote_port,
        );
        let gathered = self.network.gathered.get_or_insert_mut(flow, Vec::new);
        let Some(bytes) = gather(gathered, data) else {
            return;
        };
        let Some(recognised) = payload::recognise(bytes) else {
            return;
        };
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        // Once is enough: a full buffer takes no more.
        gathered.resize(MAX_PACKET, 0);
        let detail = v1::Payload {
            protocol: recognised.protocol.to_owned(),
            local: Some(socket::local(&packet.addresses)),
            remote: Some(socket::remote(&packet.addresses)),
            remote_name: self.remote_name(header, packet.addresses.remote),
            method: recognised.method,
            agent: recognised.agent.unwrap_or_default(),
            length,
        };
        self.emit_message(
            header,
            EventKind::Payload,
            v1::event::Detail::Payload(detail),
            None,
        );
    }

    /// Tells of connections that have been under way for long.
    pub(super) fn tell_slow_connections(&mut self, now_ns: u64) {
        let under_way: HashMap<u64, Connecting> = self
            .maps
            .connecting
            .iter()
            .filter_map(Result::ok)
            .map(|(socket, connecting)| (socket, connecting.0))
            .collect();
        self.figures.caches.connecting.set(under_way.len());
        self.network.told.retain(|socket, started| {
            under_way
                .get(socket)
                .is_some_and(|found| found.flow.started_ns == *started)
        });
        for (socket, connecting) in under_way {
            let flow = connecting.flow;
            let duration_ns = now_ns.saturating_sub(flow.started_ns);
            if duration_ns < SLOW_NS
                || self.network.told.insert(socket, flow.started_ns) == Some(flow.started_ns)
            {
                continue;
            }
            let header = Header {
                time_ns: now_ns,
                cgroup_id: flow.cgroup_id,
                start_ns: flow.process.start_ns,
                pid: flow.process.pid,
                tid: flow.tid,
                uid: flow.uid,
                ..Header::default()
            };
            let mut connection = socket::in_progress(&connecting.addresses, duration_ns);
            connection.remote_name = self.remote_name(&header, connecting.addresses.remote);
            self.emit_message(
                &header,
                EventKind::Connect,
                v1::event::Detail::Connection(connection),
                None,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_gathered_up_to_a_ceiling() {
        let mut gathered = Vec::new();
        assert_eq!(gather(&mut gathered, b"{\"a\""), Some(&b"{\"a\""[..]));
        assert_eq!(gather(&mut gathered, b":1}"), Some(&b"{\"a\":1}"[..]));
        let more = vec![b' '; 2 * MAX_PACKET];
        assert_eq!(
            gather(&mut gathered, &more).map(<[u8]>::len),
            Some(MAX_PACKET)
        );
        assert_eq!(gather(&mut gathered, b"x"), None);
    }
}
