//! TLS behind the handshake: records, cut and changed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain_fuzz::records;

fuzz_target!(|input: &[u8]| records::conversation(input));
