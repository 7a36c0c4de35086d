//! What a WebSocket client sends: any frames, any cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain_fuzz::targets;

fuzz_target!(|input: &[u8]| targets::websocket(input));
