//! Where a publish goes: the owner of its topic, and from there to the shards that want it.

pub mod place;
