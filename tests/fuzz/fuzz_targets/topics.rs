//! Two filters, or a filter and a name, a line each.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain_fuzz::targets;

fuzz_target!(|input: &[u8]| targets::topics(input));
