//! Memory that a shard hands out: chunks for what it keeps, counted bytes for what it shares.

pub mod arena;
pub mod blob;

pub use arena::{Arena, Chunk};
pub use blob::Blob;
