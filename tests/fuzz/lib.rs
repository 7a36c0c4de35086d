//! What the fuzz targets run: the laws of the codec's property tests, the filter tree's model, a journal's files that are
//! damaged, records of TLS that are changed on their way, and a grammar of what clients say. [`targets`] cuts inputs into
//! their arguments.
//!
//! Needs nightly and cargo-fuzz (`cargo install cargo-fuzz`); from the root of the repository:
//!
//! ```text
//! make fuzz                                              # every target for some seconds
//! cargo +nightly fuzz run --fuzz-dir tests/fuzz publish  # one until it fails or is stopped
//! cargo +nightly fuzz cmin --fuzz-dir tests/fuzz publish # what a long run found, as small as it goes
//! ```
//!
//! What a run finds lies in `artifacts/`: make it small with `cargo fuzz tmin`, put it into the target's corpus under a
//! name that says what it is, and the stable toolchain replays it from then on (`cargo test -p ringmain-tests --test
//! replay`).

#[path = "../../switch/src/counters.rs"]
pub mod counters;
pub mod grammar;
pub mod journal;
#[path = "../../wire/tests/codec/laws/mod.rs"]
pub mod laws;
#[path = "../../persistence/tests/persistence/node.rs"]
mod node;
#[path = "../harness/packet.rs"]
pub mod packet;
#[path = "../harness/property.rs"]
pub mod property;
pub mod records;
mod script;
pub mod targets;
pub mod tls;
mod topic;
pub mod tree;
#[path = "../../persistence/tests/persistence/world.rs"]
mod world;

use topic::tree as topic_tree;
