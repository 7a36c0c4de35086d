//! A journal's files, damaged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain_fuzz::journal;

fuzz_target!(|input: &[u8]| journal::damage(input));
