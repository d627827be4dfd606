//! Records from the kernel: any bytes decode or are refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use watchkeeper_ebpf::{decode::decode, record::ABI};

fuzz_target!(|bytes: &[u8]| {
    let _ = decode(bytes);
    // With version and length put right, most inputs get to what depends on the kind.
    let mut record = bytes.to_vec();
    if let (Some(abi), Ok(length)) = (record.get_mut(0..2), u32::try_from(bytes.len())) {
        abi.copy_from_slice(&ABI.to_ne_bytes());
        if let Some(field) = record.get_mut(4..8) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        let _ = decode(&record);
    }
});
