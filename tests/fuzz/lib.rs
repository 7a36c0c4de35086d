//! What the fuzz targets check: the same laws as the property tests of the codec.
//!
//! ```text
//! cargo +nightly fuzz run --fuzz-dir tests/fuzz publish -- -max_total_time=60
//! ```

#[path = "../../wire/tests/codec/laws.rs"]
pub mod laws;
