//! The switch on a simulated kernel: real shards, real rings and timers, one thread, one seed.
//!
//! ```text
//!   seed ─▶ swarm: sizes, limits, fault rates, manners of clients
//!    │
//!    ▼
//!   world ─▶ actions ──▶ kernel ◀── driver ◀── reactor ◀── switch      (machine: N shards take turns)
//!      ▲                   │
//!      └── reactions ◀─────┘  each packet, each rest and the end are looked at: oracle
//! ```
//!
//! Only the kernel is replaced, at [`shard::Driver`], and the clock with it. What a seed does, it does again.
//!
//! - [`kernel`] and [`driver`] do what the kernel may do, and are as unkind as the seed wants.
//! - [`machine`] is a node: whose turn it is, when time passes. It knows nothing of MQTT.
//! - [`world`] is a run: clients that act ([`model`] is what they believe), and the oracles. [`guarded`] is another one,
//!   with rules and users: one seed of eight.
//!
//! An oracle asks only for what the protocol and the promises make certain; where the switch may do either, the model
//! is left open.

mod actions;
mod buffers;
mod crash;
pub mod disk;
pub mod driver;
mod endings;
pub mod guarded;
mod hostile;
pub mod kernel;
pub mod machine;
pub mod model;
mod oracle;
pub mod packet;
mod reactions;
pub mod socket;
pub mod swarm;
pub mod topics;
pub mod trace;
pub mod world;

use guarded::Guarded;
use world::{Check, Report, World};

/// Of so many seeds one is a run under access control.
const GUARDED: u64 = 8;

/// Runs a seed until the switch has handled that many events, and then to the end.
///
/// # Errors
/// The first promise that was not kept.
pub fn run(seed: u64, events: u64, print: bool) -> Check<Report> {
    if seed % GUARDED == GUARDED - 1 {
        Guarded::new(seed, print).run(events)
    } else {
        World::new(seed, print).run(events)
    }
}
