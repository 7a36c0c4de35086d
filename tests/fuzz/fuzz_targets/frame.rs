//! Bytes of a frame, as they are and as they would be with a header that says so.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain_fuzz::laws;

fuzz_target!(|bytes: &[u8]| {
    laws::frame(bytes);
    if let [topic, properties, rest @ ..] = bytes {
        let body = usize::from(*topic) + usize::from(*properties);
        let mut framed = [&[0; 64], rest].concat();
        framed[48] = *topic;
        framed[52] = *properties;
        framed[56..60].copy_from_slice(&(rest.len().saturating_sub(body) as u32).to_le_bytes());
        framed[63] = 1;
        laws::frame(&framed);
    }
});
