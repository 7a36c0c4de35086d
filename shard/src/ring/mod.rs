//! The rings between two cores, and what goes with them: bytes one way, room and words back, and a way to wake.
//!
//! ```text
//!            Sender (shard i)                          Receiver (shard j)
//!   claim ─▶ Producer of rank 0 ══ bytes in place ══▶ Consumer of rank 0 ─▶ peek, release
//!            Producer of rank 1 ═════════════════════▶ Consumer of rank 1
//!            seen ───────────────────────────────────▶
//!                 ◀─────────────────────────────────── released, resolved, refused
//!            publish, once a turn                      publish, once a turn
//!                     └──── Notice of j: "news from i"; Doorbell where j sleeps
//! ```
//! Everything has one writer and one reader, so there is no lock and no compare-and-swap. [`pair`] is the unsafe
//! heart's outside; [`crate::mesh`] puts pairs between all shards and contains no unsafe code.

mod doorbell;
mod memory;
mod notice;
mod pair;
mod record;
mod spsc;
pub(crate) mod sync;

#[cfg(all(test, loom))]
mod loom_tests;

pub use doorbell::Doorbell;
pub use notice::Notice;
pub use pair::{PAIR_WORDS_BYTES, RANKS_MAX, Receiver, Sender, pair, ring_bytes};
pub use record::{RING_MAX, RING_MIN, largest};
pub use spsc::{Claim, Consumer, Parcel, Producer};
