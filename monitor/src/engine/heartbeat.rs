//! Records of the programs that the agent runs as signs of life.

use watchkeeper_ebpf::record::Header;

use super::Engine;
use crate::{
    heartbeat::{ARGUMENT, Stage},
    process::execution::{Process, ProcessKey},
    proto::v1::{self, EventKind},
};

impl Engine {
    /// The number of the heartbeat that a program is, if it is one: nobody but the agent is its parent.
    pub(super) fn heartbeat_of(process: &Process) -> Option<u64> {
        if process.parent?.pid != std::process::id() {
            return None;
        }
        let mut arguments = process.program.argv.iter().skip(1);
        if arguments.next() != Some(ARGUMENT) {
            return None;
        }
        arguments.next()?.parse().ok()
    }

    /// One has come from the kernel, and goes on as an event. Its process is no event by itself.
    pub(super) fn heartbeat(&mut self, header: &Header, number: u64) {
        self.beating = Some(ProcessKey::from(header));
        self.heartbeats.reached(Stage::Kernel, number);
        self.emit_message(
            header,
            EventKind::Heartbeat,
            v1::event::Detail::Heartbeat(v1::NodeHeartbeat { number }),
            None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::execution::{Arguments, tests::process};

    #[test]
    fn only_children_of_the_agent_are_heartbeats() {
        let key = |pid| ProcessKey {
            pid,
            start_ticks: 1,
        };
        let program = |parent, arguments: &str| {
            let mut process = process(key(9), Some(key(parent)), "/usr/bin/watchkeeper");
            let program = std::sync::Arc::make_mut(&mut process.program);
            program.argv = Arguments::new(arguments.as_bytes());
            process
        };
        let own = std::process::id();
        let of = |process: &Process| Engine::heartbeat_of(process);
        assert_eq!(of(&program(own, "watchkeeper\0heartbeat\x007")), Some(7));
        assert_eq!(of(&program(own + 1, "watchkeeper\0heartbeat\x007")), None);
        assert_eq!(of(&program(own, "watchkeeper\0status")), None);
        assert_eq!(of(&program(own, "watchkeeper\0heartbeat\x00x")), None);
    }
}
