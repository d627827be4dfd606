//! What belongs together: the events of a process, of a session in a container, of a container.

use crate::{
    container::membership::Origin, event::Event, policy::file::Scope,
    process::execution::ProcessKey,
};

/// Names what belongs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A process.
    Process(ProcessKey),
    /// The process that a session began with, in a container.
    Session(u32, ProcessKey),
    /// A container by its number; 0 for the host.
    Container(u32),
}

/// All that there are.
pub const ALL: [Scope; 3] = [Scope::Process, Scope::Session, Scope::Container];

/// What an event belongs to; `None` where nothing is known of the process that it is asked for.
#[must_use]
pub fn key(scope: Scope, event: &Event) -> Option<Key> {
    let slot = event.container().map_or(0, |container| container.slot);
    Some(match scope {
        Scope::Process => Key::Process(event.process.as_ref()?.key),
        Scope::Container => Key::Container(slot),
        Scope::Session => match event.origin {
            Some(Origin::Injected | Origin::NamespaceEntry) => {
                // The last of the process and its ancestors that is in the container is where the session began.
                let mut first = event.process.as_ref()?.key;
                for ancestor in &event.ancestors {
                    let is_inside = ancestor
                        .membership
                        .as_ref()
                        .is_some_and(|found| found.container.slot == slot);
                    if !is_inside {
                        break;
                    }
                    first = ancestor.process.key;
                }
                Key::Session(slot, first)
            }
            _ => Key::Container(slot),
        },
    })
}
