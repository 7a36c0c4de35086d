//! A PUBLISH: flags from the first byte, then its body, in both versions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain_fuzz::laws;

fuzz_target!(|input: &[u8]| {
    if let [flags, body @ ..] = input {
        laws::packet(0x30 | flags & 0x0f, body);
    }
});
