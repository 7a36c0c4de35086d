//! The body of PUBACK, PUBREC, PUBREL or PUBCOMP, as the first byte chooses, in both versions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain_fuzz::targets;

fuzz_target!(|input: &[u8]| targets::ack(input));
