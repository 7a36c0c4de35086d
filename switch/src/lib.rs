//! The broker: a pure handler of shard events, and the binary that gives it a kernel.

pub mod config;
pub mod limits;
pub mod program;
pub mod routing;
pub mod topic;
