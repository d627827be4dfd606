//! First bytes of connections: anything is recognised or not, and what is kept of it is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/network/payload.rs"]
mod payload;

fuzz_target!(|bytes: &[u8]| {
    if let Some(found) = payload::recognise(bytes) {
        assert!(found.method.len() <= 128);
        assert!(
            found
                .agent
                .is_none_or(|agent| !agent.is_empty() && agent.len() <= 128)
        );
    }
});
