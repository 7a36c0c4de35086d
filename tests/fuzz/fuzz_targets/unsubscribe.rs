//! The body of an UNSUBSCRIBE, in both versions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain_fuzz::targets;

fuzz_target!(|input: &[u8]| targets::unsubscribe(input));
