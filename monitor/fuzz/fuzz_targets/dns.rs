//! DNS messages: any bytes are read or refused, and what is kept of them is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/network/dns.rs"]
mod dns;

use dns::{Data, MAX_ANSWERS, parse};

/// A name has at most 255 bytes, each written with at most four characters.
const MAX_NAME: usize = 4 * 255;
/// A text has at most 1,024 bytes that are kept.
const MAX_TEXT: usize = 4 * 1_024;

fuzz_target!(|bytes: &[u8]| {
    for over_tcp in [false, true] {
        let Ok(message) = parse(bytes, over_tcp) else {
            continue;
        };
        assert!(message.answers.len() <= MAX_ANSWERS);
        check(&message.name, MAX_NAME);
        for answer in &message.answers {
            check(&answer.name, MAX_NAME);
            match &answer.data {
                Data::Name(name) => check(name, MAX_NAME),
                Data::Text(text) => check(text, MAX_TEXT),
                Data::Address(_) | Data::Other(_) => {}
            }
        }
    }
});

/// What is shown is short and printable.
fn check(text: &str, most: usize) {
    assert!(text.len() <= most && text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
}
