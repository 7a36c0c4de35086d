//! An opening handshake of WebSocket, cut anywhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain_fuzz::targets;

fuzz_target!(|input: &[u8]| targets::handshake(input));
