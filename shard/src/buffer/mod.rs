//! Memory that a shard hands out: chunks for what it keeps, cells for what waits, counted bytes for what it shares.

pub mod arena;
pub mod blob;
pub mod cells;

pub use arena::{Arena, Chunk};
pub use blob::Blob;
pub use cells::{Cell, Cells};
