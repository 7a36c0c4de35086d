//! Two filters, or a filter and a name, a line each.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmain_fuzz::laws;

fuzz_target!(|lines: &str| {
    if let Some((one, other)) = lines.split_once('\n') {
        laws::topics(one, other);
        laws::topics(other, one);
    }
});
