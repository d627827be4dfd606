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
pub(super) const REMEMBERED: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

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

    /// How many processes are remembered.
    pub(super) fn len(&self) -> usize {
        self.told.len()
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
        // It is asked by one thread, and not while it answers.
        let mut procfs = self
            .procfs
            .as_ref()
            .and_then(|procfs| procfs.try_borrow_mut().ok());
        if let Some(port) = self.told.peek(&process.key) {
            // Programs that try whether a port is free listen for a moment, and are no services.
            let has_closed =
                procfs.is_some_and(|mut procfs| procfs.has_closed(process.key, slot, *port));
            return (!has_closed).then_some(*port);
        }
        if process.source != Source::Procfs {
            return None;
        }
        procfs.as_mut()?.port(process.key, slot)
    }
}

impl Memory for Listeners {
    fn listening_port(&self, process: &Process, slot: u32) -> Option<u16> {
        self.port(process, slot)
    }
}
