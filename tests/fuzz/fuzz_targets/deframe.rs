//! A byte stream: any packets, any cut, several limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain_fuzz::targets;

fuzz_target!(|input: &[u8]| targets::deframe(input));
