//! Packets at the root cgroup: the first datagram of a UDP flow, DNS messages, and the first bytes of TCP connections.
//!
//! The programs never touch a packet. They run for every packet of every cgroup, so most of them end after a look at
//! protocol and ports.

use aya_ebpf::{
    helpers::generated::{
        bpf_ktime_get_boot_ns, bpf_sk_fullsock, bpf_skb_cgroup_id, bpf_skb_load_bytes, bpf_tcp_sock,
    },
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use watchkeeper_ebpf::{
    loss::Class,
    record::{Addresses, Kind, MAX_PACKET, Packet, packet_purpose},
};

use crate::{
    kernel::{cgroup, sock, task},
    maps::{DATAGRAM_FLOWS, JSON_FLOWS, TELEMETRY},
    output::Draft,
    subject::{Place, Subject},
};

/// Let the packet pass.
const PASS: i32 = 1;

const DNS_PORT: u16 = 53;
/// Segments with data that may hold the first bytes: a client may send them in small pieces.
const FIRST_SEGMENTS: u32 = 8;
/// Those that may be the very first one: it may be sent twice.
const FIRST_SEGMENT: u32 = 2;
/// How a JSON document begins, which is all that is looked for in first bytes.
const JSON: u8 = b'{';

/// Bits of an IPv4 header's word that say where a fragment belongs (`IP_OFFSET`, include/net/ip.h).
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Length of the headers.
const IPV6_HEADER: u32 = 40;
const UDP_HEADER: u32 = 8;

/// Packets that go out.
#[cgroup_skb(egress)]
pub fn packet_out(ctx: SkBuffContext) -> i32 {
    look(&ctx, true);
    PASS
}

/// Packets that come in.
#[cgroup_skb(ingress)]
pub fn packet_in(ctx: SkBuffContext) -> i32 {
    look(&ctx, false);
    PASS
}

/// What the headers of a packet say.
struct Headers {
    source: [u8; 16],
    destination: [u8; 16],
    family: u16,
    protocol: u32,
    /// Where the transport's header begins.
    transport: u32,
}

#[inline(always)]
fn internet_header(ctx: &SkBuffContext) -> Option<Headers> {
    let first = ctx.load::<u8>(0).ok()?;
    if first >> 4 == 4 {
        // Only the first fragment of a packet has ports.
        if u16::from_be(ctx.load(6).ok()?) & FRAGMENT_OFFSET != 0 {
            return None;
        }
        return Some(Headers {
            source: sock::mapped(ctx.load(12).ok()?),
            destination: sock::mapped(ctx.load(16).ok()?),
            family: sock::AF_INET,
            protocol: u32::from(ctx.load::<u8>(9).ok()?),
            transport: u32::from(first & 0xf) * 4,
        });
    }
    Some(Headers {
        source: ctx.load(8).ok()?,
        destination: ctx.load(24).ok()?,
        family: sock::AF_INET6,
        protocol: u32::from(ctx.load::<u8>(6).ok()?),
        transport: IPV6_HEADER,
    })
}

#[inline(always)]
fn look(ctx: &SkBuffContext, outbound: bool) -> Option<()> {
    let headers = internet_header(ctx)?;
    let is_udp = headers.protocol == sock::IPPROTO_UDP;
    if !is_udp && (headers.protocol != sock::IPPROTO_TCP) {
        return None;
    }
    let ports: [u16; 2] = ctx.load(headers.transport as usize).ok()?;
    let (source_port, destination_port) = (u16::from_be(ports[0]), u16::from_be(ports[1]));
    let is_dns = source_port == DNS_PORT || destination_port == DNS_PORT;
    // Of what comes in only answers of DNS are looked at.
    if !outbound && !is_dns {
        return None;
    }
    let segment = if is_udp || is_dns { 0 } else { segment(ctx) };
    if !is_udp && !is_dns && !(1..=FIRST_SEGMENTS).contains(&segment) {
        return None;
    }
    // SAFETY: the context is that of the program.
    let cgroup_id = unsafe { bpf_skb_cgroup_id(ctx.skb.skb) };
    let place = Place::of_cgroup(cgroup_id);
    let class = if is_dns { Class::Dns } else { Class::Network } as u32;
    if !place.wants(class) {
        return None;
    }

    let header_length = if is_udp {
        UDP_HEADER
    } else {
        u32::from(ctx.load::<u8>(headers.transport as usize + 12).ok()? >> 4) * 4
    };
    let data = headers.transport + header_length;
    let length = ctx.len();
    if length <= data {
        return None;
    }
    let total = length - data;
    let (local, remote, local_port, remote_port) = if outbound {
        (
            headers.source,
            headers.destination,
            source_port,
            destination_port,
        )
    } else {
        (
            headers.destination,
            headers.source,
            destination_port,
            source_port,
        )
    };
    let addresses = Addresses {
        local,
        remote,
        local_port,
        remote_port,
        family: headers.family,
        kind: 0,
    };
    let purpose = if is_dns {
        packet_purpose::DNS
    } else if is_udp {
        if DATAGRAM_FLOWS.get_ptr(&addresses).is_some() {
            return None;
        }
        // SAFETY: the helper has no preconditions.
        let now_ns = unsafe { bpf_ktime_get_boot_ns() };
        let _ = DATAGRAM_FLOWS.insert(&addresses, &now_ns, 0);
        packet_purpose::DATAGRAM
    } else {
        if segment <= FIRST_SEGMENT && ctx.load::<u8>(data as usize).ok()? == JSON {
            let _ = JSON_FLOWS.insert(&addresses, &segment, 0);
        } else if JSON_FLOWS.get_ptr(&addresses).is_none() {
            return None;
        }
        packet_purpose::FIRST_BYTES
    };

    let draft = Draft::admitted(&place, class)?;
    let start = Draft::start::<Packet>();
    let wanted = if purpose == packet_purpose::DATAGRAM {
        0
    } else {
        copy(ctx, &draft, start, data, total)
    };
    let body = draft.body::<Packet>();
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe {
        (*body) = Packet {
            addresses,
            purpose,
            protocol: headers.protocol,
            outbound: u32::from(outbound),
            total_length: total,
            data_length: wanted,
            reserved: 0,
        };
    }
    draft.submit(
        &TELEMETRY,
        Kind::Packet,
        &sender(place, outbound),
        0,
        start + wanted,
    );
    Some(())
}

/// Who sends: the current task, where it is in the cgroup of the socket. A packet may also be sent when another one is
/// acknowledged, in whatever task that interrupts.
#[inline(always)]
fn sender(place: Place, outbound: bool) -> Subject {
    let task = task::current();
    if outbound && cgroup::id(cgroup::of_task(task)) == place.cgroup_id {
        Subject::new(place, task)
    } else {
        Subject::unknown(place)
    }
}

/// Copies the beginning of the payload; returns how many bytes.
#[inline(always)]
fn copy(ctx: &SkBuffContext, draft: &Draft, start: u32, data: u32, total: u32) -> u32 {
    let length = if total > MAX_PACKET as u32 {
        MAX_PACKET as u32
    } else {
        total
    };
    // Not 0, and at most the ceiling: in a form that the verifier can follow.
    let length = (length.wrapping_sub(1) & (MAX_PACKET as u32 - 1)) + 1;
    // SAFETY: `at` gives a place with slack of more than that after it.
    let outcome = unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast(), data, draft.at(start), length) };
    if outcome == 0 { length } else { 0 }
}

/// How many segments with data the socket has sent, this one included; 0 where that is not known.
#[inline(always)]
fn segment(ctx: &SkBuffContext) -> u32 {
    // SAFETY: the context is that of the program; the kernel checks that there is a socket.
    unsafe {
        let sk = (*ctx.skb.skb).__bindgen_anon_2.sk;
        if sk.is_null() {
            return 0;
        }
        let full = bpf_sk_fullsock(sk);
        if full.is_null() {
            return 0;
        }
        let tcp = bpf_tcp_sock(full);
        if tcp.is_null() {
            return 0;
        }
        (*tcp).data_segs_out
    }
}
