//! What happened in an event, taken apart for the store: what comes again and again, which is kept once, and the
//! numbers that differ each time.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow};
use watchkeeper_ebpf::loss;

use super::nanoseconds;
use crate::{
    event::{Cgroup, Detail, Event, Loss, LossReason, class_name},
    process::execution::ProcessKey,
    proto::{
        self,
        v1::{self, EventKind, event::Detail as Message},
    },
};

/// An event's detail in two parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    /// What may come again.
    pub fixed: Option<Message>,
    /// What differs each time; its meaning hangs on the kind, see `schema.sql`. Trailing zeros are left out.
    pub numbers: Vec<i64>,
}

/// Takes the detail of an event apart. The process it was done to is not part of it.
#[must_use]
pub fn parts(event: &Event) -> Parts {
    let (fixed, mut numbers) = match &event.detail {
        Detail::Exec => (None, Vec::new()),
        Detail::Fork { child, started } => (
            None,
            vec![
                i64::from(child.pid),
                signed(child.start_ticks),
                nanoseconds(*started).saturating_sub(nanoseconds(event.time)),
            ],
        ),
        Detail::Exit { status } => (None, vec![i64::from(*status)]),
        Detail::CgroupCreated(cgroup) | Detail::CgroupRemoved(cgroup) => (
            Some(Message::Cgroup(v1::Cgroup {
                id: cgroup.id,
                parent_id: cgroup.parent_id,
                path: cgroup.path.clone(),
            })),
            Vec::new(),
        ),
        Detail::CgroupAttach {
            cgroup_id, path, ..
        } => (
            Some(Message::CgroupAttach(v1::CgroupAttach {
                cgroup_id: *cgroup_id,
                path: path.as_deref().unwrap_or_default().to_owned(),
                ..v1::CgroupAttach::default()
            })),
            Vec::new(),
        ),
        Detail::Loss(loss) => (
            Some(Message::Loss(v1::Loss {
                cgroup_id: loss.cgroup_id,
                count: 0,
                class: class_name(loss.class).to_owned(),
                reason: loss.reason.name().to_owned(),
            })),
            vec![signed(loss.count)],
        ),
        Detail::Message(kind, message) => {
            let mut fixed = (**message).clone();
            let numbers = take_numbers(*kind, &mut fixed);
            (Some(fixed), numbers)
        }
    };
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    Parts { fixed, numbers }
}

/// Takes out what differs each time.
fn take_numbers(kind: EventKind, message: &mut Message) -> Vec<i64> {
    match message {
        Message::Connection(connection) => {
            let port = ephemeral(kind, connection).map_or(0, std::mem::take);
            vec![
                i64::from(port),
                signed(std::mem::take(&mut connection.bytes_sent)),
                signed(std::mem::take(&mut connection.bytes_received)),
                signed(std::mem::take(&mut connection.duration_ns)),
            ]
        }
        Message::Dns(dns) => vec![i64::from(std::mem::take(&mut dns.id))],
        Message::CpuUsage(usage) => vec![
            signed(std::mem::take(&mut usage.used_ns)),
            signed(std::mem::take(&mut usage.interval_ns)),
        ],
        _ => Vec::new(),
    }
}

/// Puts back what [`take_numbers`] took out.
fn put_numbers(kind: EventKind, message: &mut Message, numbers: &[i64]) {
    let number = |index: usize| numbers.get(index).copied().unwrap_or(0);
    match message {
        Message::Connection(connection) => {
            if let Some(port) = ephemeral(kind, connection) {
                *port = u32::try_from(number(0)).unwrap_or(0);
            }
            connection.bytes_sent = unsigned(number(1));
            connection.bytes_received = unsigned(number(2));
            connection.duration_ns = unsigned(number(3));
        }
        Message::Dns(dns) => dns.id = u32::try_from(number(0)).unwrap_or(0),
        Message::CpuUsage(usage) => {
            usage.used_ns = unsigned(number(0));
            usage.interval_ns = unsigned(number(1));
        }
        _ => {}
    }
}

/// The port that the kernel chose for the end that began the connection.
fn ephemeral(kind: EventKind, connection: &mut v1::Connection) -> Option<&mut u32> {
    let inbound = kind == EventKind::Accept || (kind == EventKind::Close && !connection.outbound);
    let end = if inbound {
        connection.remote.as_mut()
    } else {
        connection.local.as_mut()
    };
    end.map(|end| &mut end.port)
}

/// What the store keeps beside an event, about the process that something was done to.
pub struct Moved<'a> {
    /// Which.
    pub key: ProcessKey,
    /// What it runs.
    pub process: Option<&'a std::sync::Arc<crate::process::execution::Process>>,
}

/// Puts the parts together again. `moved` is the process of a [`Detail::CgroupAttach`].
///
/// # Errors
/// When the parts do not belong to the kind.
pub fn detail(
    kind: EventKind,
    parts: &Parts,
    time: SystemTime,
    moved: Option<Moved<'_>>,
) -> anyhow::Result<Detail> {
    let number = |index: usize| parts.numbers.get(index).copied().unwrap_or(0);
    let small = |index: usize| u32::try_from(number(index)).unwrap_or(0);
    let missing = || {
        anyhow!(
            "an event of kind {} lacks its detail",
            proto::kind_name(kind)
        )
    };
    let cgroup = |message: &v1::Cgroup| Cgroup {
        id: message.id,
        parent_id: message.parent_id,
        path: message.path.clone(),
    };
    Ok(match (kind, &parts.fixed) {
        (EventKind::Exec, _) => Detail::Exec,
        (EventKind::Fork, _) => Detail::Fork {
            child: ProcessKey {
                pid: small(0),
                start_ticks: unsigned(number(1)),
            },
            started: shifted(time, number(2)),
        },
        (EventKind::Exit, _) => Detail::Exit { status: small(0) },
        (EventKind::CgroupCreated, Some(Message::Cgroup(message))) => {
            Detail::CgroupCreated(cgroup(message))
        }
        (EventKind::CgroupRemoved, Some(Message::Cgroup(message))) => {
            Detail::CgroupRemoved(cgroup(message))
        }
        (EventKind::CgroupAttach, Some(Message::CgroupAttach(message))) => {
            let moved = moved.ok_or_else(missing)?;
            Detail::CgroupAttach {
                moved: moved.key,
                process: moved.process.cloned(),
                cgroup_id: message.cgroup_id,
                path: (!message.path.is_empty()).then(|| message.path.as_str().into()),
            }
        }
        (EventKind::Loss, Some(Message::Loss(message))) => Detail::Loss(Loss {
            cgroup_id: message.cgroup_id,
            class: loss::Class::ALL
                .into_iter()
                .find(|class| class_name(*class) == message.class)
                .with_context(|| format!("no class of events is called {:?}", message.class))?,
            reason: LossReason::ALL
                .into_iter()
                .find(|reason| reason.name() == message.reason)
                .with_context(|| format!("no loss has the reason {:?}", message.reason))?,
            count: unsigned(number(0)),
        }),
        (_, Some(message)) => {
            let mut message = message.clone();
            put_numbers(kind, &mut message, &parts.numbers);
            Detail::Message(kind, Box::new(message))
        }
        (_, None) => return Err(missing()),
    })
}

/// The fixed part as text: the JSON of an event of the API that has nothing but it.
///
/// # Errors
/// When it has no JSON form, which all messages have.
pub fn to_json(fixed: &Message) -> anyhow::Result<String> {
    proto::json(
        "Event",
        &v1::Event {
            detail: Some(fixed.clone()),
            ..v1::Event::default()
        },
    )
}

/// The reverse.
///
/// # Errors
/// When the text is something else.
pub fn from_json(text: &str) -> anyhow::Result<Message> {
    let event: v1::Event = proto::from_json("Event", text)?;
    event
        .detail
        .context("reading an event's detail: there is none")
}

/// Numbers as a JSON array; nothing for none.
#[must_use]
pub fn numbers_to_text(numbers: &[i64]) -> Option<String> {
    use std::fmt::Write as _;
    let (first, rest) = numbers.split_first()?;
    let mut text = String::with_capacity(8 * numbers.len() + 2);
    // Writing to a string does not fail.
    let _ = write!(text, "[{first}");
    for number in rest {
        let _ = write!(text, ",{number}");
    }
    text.push(']');
    Some(text)
}

/// The reverse.
///
/// # Errors
/// When the text is something else.
pub fn numbers_from_text(text: &str) -> anyhow::Result<Vec<i64>> {
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    inner
        .with_context(|| format!("{text:?} is no array"))?
        .split(',')
        .map(|number| {
            number
                .parse()
                .with_context(|| format!("{number:?} is no number"))
        })
        .collect()
}

/// SQLite's integers are signed: large numbers wrap, and come back the same.
#[must_use]
pub fn signed(number: u64) -> i64 {
    number.cast_signed()
}

/// The reverse.
#[must_use]
pub fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}

fn shifted(time: SystemTime, by_ns: i64) -> SystemTime {
    let by = Duration::from_nanos(by_ns.unsigned_abs());
    let shifted = if by_ns < 0 {
        time.checked_sub(by)
    } else {
        time.checked_add(by)
    };
    shifted.unwrap_or(time)
}
