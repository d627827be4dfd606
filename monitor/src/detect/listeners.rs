//! Which processes listen on the network: from events, and for processes that were there before the agent from procfs.

use std::{cell::RefCell, num::NonZeroUsize};

use lru::LruCache;

use super::listening::Listening;
use crate::{
    event::{Detail, Event},
    policy::condition::subject::Memory,
    process::execution::{Process, ProcessKey, Source},
    proto::v1,
};

/// Processes that are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// See the module.
#[derive(Debug)]
pub struct Listeners {
    told: LruCache<ProcessKey, u16>,
    procfs: Option<RefCell<Listening>>,
}

impl Listeners {
    /// For live events: procfs is asked of processes that were there before the agent.
    #[must_use]
    pub fn live() -> Self {
        Self {
            told: LruCache::new(REMEMBERED),
            procfs: Some(RefCell::default()),
        }
    }

    /// For events of the past: only events tell.
    #[must_use]
    pub fn of_the_past() -> Self {
        Self {
            told: LruCache::new(REMEMBERED),
            procfs: None,
        }
    }

    /// Takes note of a process that begins to listen.
    pub fn note(&mut self, event: &Event) {
        if let (Detail::Message(v1::EventKind::Listen, detail), Some(process)) =
            (&event.detail, &event.process)
            && let v1::event::Detail::Socket(socket) = &**detail
            && let Some(local) = &socket.local
            && let Ok(port) = u16::try_from(local.port)
        {
            self.told.put(process.key, port);
        }
    }

    /// A TCP port that a process of the container with this slot listens on.
    #[must_use]
    pub fn port(&self, process: &Process, slot: u32) -> Option<u16> {
        if let Some(port) = self.told.peek(&process.key) {
            return Some(*port);
        }
        if process.source != Source::Procfs {
            return None;
        }
        // It is asked by one thread, and not while it answers.
        self.procfs
            .as_ref()?
            .try_borrow_mut()
            .ok()?
            .port(process.key, slot)
    }
}

impl Memory for Listeners {
    fn listening_port(&self, process: &Process, slot: u32) -> Option<u16> {
        self.port(process, slot)
    }
}
