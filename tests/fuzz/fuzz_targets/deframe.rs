//! A byte stream: any packets, any cut, several limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain_fuzz::laws;

fuzz_target!(|stream: &[u8]| {
    laws::stream(stream, 64);
    laws::stream(stream, 1 << 20);
});
