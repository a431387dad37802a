//! Bytes of a client after its start: messages, refusals or a violation, never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    gateway::decode_all(bytes, 1 << 20);
});
