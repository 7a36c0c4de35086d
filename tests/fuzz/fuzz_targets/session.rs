//! Whole conversations by the targets, mostly right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain_fuzz::targets;

fuzz_target!(|input: &[u8]| targets::session(input));
