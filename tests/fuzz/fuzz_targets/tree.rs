//! Changes of a filter tree and look-ups in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain_fuzz::tree;

fuzz_target!(|input: &[u8]| tree::operations(input));
