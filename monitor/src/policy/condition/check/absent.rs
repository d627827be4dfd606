//! What is known of a condition before there is an event: one of a kind has none of the fields that only others have.
//!
//! A rule about several kinds of events mostly says something of each. What is left of it for one kind is less to ask, and says
//! more of the events that it can hold for.

use std::time::SystemTime;

use super::{Checker, Kind, Node, Scope};
use crate::{
    container::registry::Place,
    event::{Detail, Event},
    policy::condition::{
        View,
        schema::{self, Named},
        subject::Memory,
        truth::Questions,
    },
    process::execution::Process,
    proto::v1::{self, EventKind},
};

/// What is remembered of nothing.
struct Nothing;

impl Memory for Nothing {
    fn listening_port(&self, _: &Process, _: u32) -> Option<u16> {
        None
    }
}

impl Checker<'_> {
    /// Whether a field is the same in all events of the kind that the condition is asked of.
    pub(super) fn is_known(&self, named: &Named) -> bool {
        let Some(kind) = self.kind else {
            return false;
        };
        match named {
            Named::Event(field) => field.path == "kind",
            Named::Detail(_) => {
                let kinds = schema::events_of(named);
                !kinds.is_empty() && kinds.iter().all(|&name| schema::kind(name) != Some(kind))
            }
            Named::Process(_) | Named::OfProcess(..) | Named::Ancestors => false,
        }
    }

    /// Works a part out for which no more was read of an event than `before` it.
    pub(super) fn worked_out(&mut self, node: Node, before: usize) -> Node {
        let node = match (self.kind, node.kind) {
            (Some(kind), Kind::Bool(test)) if self.reads == before => {
                let event = bare(kind);
                let view = View::new(&event, &Nothing);
                let scope = Scope {
                    view: &view,
                    local: None,
                };
                Kind::ConstBool(Questions::from(test).hold(&scope)).into()
            }
            (_, kind) => Node { kind, ..node },
        };
        if matches!(node.kind, Kind::ConstBool(_)) {
            self.reads = before;
        }
        node
    }
}

/// An event of a kind, of which nothing else is known.
fn bare(kind: EventKind) -> Event {
    Event {
        time: SystemTime::UNIX_EPOCH,
        process: None,
        origin: None,
        injected_by: None,
        ancestors: Vec::new(),
        place: Place::Unknown,
        target: None,
        detail: Detail::Message(kind, Box::new(v1::event::Detail::Fork(v1::Fork::default()))),
    }
}
