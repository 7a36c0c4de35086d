//! What a shard knows about topics: which filters match a name, what is retained, and who shares a subscription.
//!
//! All three are plain values of one shard: no lock, no clock, no kernel. Topics and filters come in already validated
//! ([`wire::mqtt::topic`]); an invalid one gives useless answers here, never a panic.

pub(crate) mod id_table;
pub(crate) mod paged;
pub mod retained;
pub mod shared;
#[cfg(test)]
pub(crate) mod strategy;
pub mod tree;
