//! The body of a SUBACK, in both versions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain_fuzz::laws;

fuzz_target!(|body: &[u8]| laws::packet(0x90, body));
