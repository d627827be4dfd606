//! `inet_sock_set_state`: the life of TCP connections. Most states change in a soft interrupt, where the current task is
//! nobody in particular: whose a connection is was noted when it began.

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_boot_ns, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use watchkeeper_ebpf::{
    loss::Class,
    record::{Kind, Socket, socket_operation},
    tables::{Connecting, Flow},
};

use crate::{
    credentials::check_credentials,
    kernel::{Address, argument, read, sock, task},
    maps::{CONNECTING, FLOWS, TELEMETRY},
    output::Draft,
    subject::{Place, Subject},
};

/// include/net/tcp_states.h
const TCP_ESTABLISHED: i32 = 1;
const TCP_SYN_SENT: i32 = 2;
const TCP_CLOSE: i32 = 7;
const TCP_LISTEN: i32 = 10;

/// Bit of `SOCK_DONE` of include/net/sock.h: the other end has closed.
const SOCK_DONE: u64 = 1 << 1;

/// `TP_PROTO(const struct sock *sk, const int oldstate, const int newstate)`, include/trace/events/sock.h
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    let sk = argument(&ctx, 0);
    let old = ctx.arg::<i32>(1);
    let new = ctx.arg::<i32>(2);
    if sock::protocol(sk) != sock::IPPROTO_TCP {
        return 0;
    }
    // Each in a frame of its own: the stacks of what one calls add up.
    if new == TCP_SYN_SENT {
        tcp_begins(sk);
    } else if new == TCP_LISTEN {
        tcp_reports(sk, socket_operation::LISTENING);
    } else if old == TCP_SYN_SENT && new == TCP_ESTABLISHED {
        tcp_reports(sk, socket_operation::CONNECTED);
    } else if old == TCP_SYN_SENT {
        tcp_reports(sk, socket_operation::FAILED);
    } else if new == TCP_CLOSE {
        tcp_reports(sk, socket_operation::CLOSED);
    }
    if new == TCP_SYN_SENT || new == TCP_LISTEN {
        check_credentials(task::current());
    }
    0
}

/// Whose a connection is that the current task begins in `place`.
#[inline(always)]
fn flow(place: &Place, task: Address, outbound: u32) -> Flow {
    let subject = Subject::new(*place, task);
    Flow {
        process: subject.process,
        cgroup_id: place.cgroup_id,
        // SAFETY: the helper has no preconditions.
        started_ns: unsafe { bpf_ktime_get_boot_ns() },
        tid: subject.tid,
        uid: subject.uid,
        outbound,
        reserved: 0,
    }
}

/// Who began a connection.
#[inline(always)]
fn subject_of(flow: &Flow) -> Subject {
    Subject {
        place: Place::of_cgroup(flow.cgroup_id),
        process: flow.process,
        tid: flow.tid,
        uid: flow.uid,
    }
}

/// connect(2), in the task that calls it: notes whose the connection is.
///
/// A global function, see [`append_path`](crate::kernel::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tcp_begins(sk: Address) -> u32 {
    let task = task::current();
    let place = Place::of(task);
    if !place.wants(Class::Network as u32) {
        return 0;
    }
    let connecting = Connecting {
        flow: flow(&place, task, 1),
        addresses: sock::addresses(sk),
    };
    let _ = CONNECTING.insert(&sk, &connecting, 0);
    1
}

/// accept(2), in the task that calls it: notes whose the connection is.
///
/// A global function, see [`append_path`](crate::kernel::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tcp_accepts(sk: Address) -> u32 {
    let task = task::current();
    let _ = FLOWS.insert(&sk, &flow(&Place::of(task), task, 0), 0);
    0
}

/// Reports what became of a socket.
///
/// A global function, see [`append_path`](crate::kernel::path::append_path).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tcp_reports(sk: Address, operation: u32) -> u32 {
    let flow = if operation == socket_operation::LISTENING {
        let task = task::current();
        let place = Place::of(task);
        if !place.wants(Class::Network as u32) {
            return 0;
        }
        Flow {
            started_ns: 0,
            ..flow(&place, task, 0)
        }
    } else if operation == socket_operation::CLOSED {
        let Some(flow) = FLOWS.get_ptr(&sk) else {
            return 0;
        };
        // SAFETY: the entry is copied at once.
        let flow = unsafe { *flow };
        let _ = FLOWS.remove(&sk);
        flow
    } else {
        let Some(connecting) = CONNECTING.get_ptr(&sk) else {
            return 0;
        };
        // SAFETY: the entry is copied at once.
        let flow = unsafe { (*connecting).flow };
        let _ = CONNECTING.remove(&sk);
        if operation == socket_operation::CONNECTED {
            let _ = FLOWS.insert(&sk, &flow, 0);
        }
        flow
    };
    report(sk, operation, &flow);
    1
}

#[inline(always)]
fn report(sk: Address, operation: u32, flow: &Flow) {
    let subject = subject_of(flow);
    let Some(draft) = Draft::admitted(&subject.place, Class::Network as u32) else {
        return;
    };
    let duration_ns = if flow.started_ns == 0 {
        0
    } else {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_ktime_get_boot_ns() }.saturating_sub(flow.started_ns)
    };
    let counted = operation == socket_operation::CLOSED;
    let record = Socket {
        operation,
        protocol: sock::IPPROTO_TCP,
        addresses: sock::addresses(sk),
        bytes_sent: if counted {
            read::<u64>(sk, offset!(tcp_bytes_sent))
                .saturating_sub(read(sk, offset!(tcp_bytes_sent_again)))
        } else {
            0
        },
        bytes_received: if counted {
            // The other end's FIN counts as a byte.
            let received: u64 = read(sk, offset!(tcp_bytes_received));
            let has_fin = read::<u64>(sk, offset!(sock_flags)) & SOCK_DONE != 0;
            received.saturating_sub(u64::from(has_fin))
        } else {
            0
        },
        duration_ns,
        inode: 0,
        device: 0,
        error: read(sk, offset!(sock_error)),
        outbound: flow.outbound,
        path_length: 0,
    };
    // SAFETY: the body belongs to this program until the draft is submitted.
    unsafe { *draft.body::<Socket>() = record };
    let end = Draft::start::<Socket>();
    draft.submit(&TELEMETRY, Kind::Socket, &subject, 0, end);
}
