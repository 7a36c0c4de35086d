//! The body of PUBACK, PUBREC, PUBREL or PUBCOMP, as the first byte chooses, in both versions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain_fuzz::laws;

fuzz_target!(|input: &[u8]| {
    if let [kind, body @ ..] = input {
        laws::packet([0x40, 0x50, 0x62, 0x70][usize::from(kind & 0b11)], body);
    }
});
