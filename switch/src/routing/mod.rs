//! Where a publish goes: the owner of its topic, and from there to the shards that want it. Who a client is: its home.

pub mod home;
pub mod interest;
pub mod own;
pub mod parcel;
pub mod place;
pub mod publish;
pub mod resolve;
pub mod shard_set;
