//! Bytes of a frame, as they are and as they would be with a header that says so.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain_fuzz::targets;

fuzz_target!(|input: &[u8]| targets::frame(input));
