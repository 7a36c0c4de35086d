//! What the fuzz targets check: the same laws as the property tests of the codec.
//!
//! Needs nightly and `cargo install cargo-fuzz`; from the root of the repository:
//!
//! ```text
//! cargo +nightly fuzz run --fuzz-dir tests/fuzz publish -- -max_total_time=60
//! ```

#[path = "../../wire/tests/codec/laws.rs"]
pub mod laws;
