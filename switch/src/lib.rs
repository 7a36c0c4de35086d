//! The broker: a pure handler of shard events, and the binary that gives it a kernel.

pub mod config;
pub mod connection;
pub mod counters;
pub mod delivery;
pub mod frames;
pub mod limits;
pub mod packets;
pub mod program;
pub mod routing;
pub mod session;
pub mod switch;
pub mod sys;
pub mod topic;
