//! One core of a thread-per-core server: its io_uring, its memory, its clock, and its rings to the other cores.
//!
//! A *shard* is one pinned thread that owns all that it touches. This crate gives it a loop and a contract, and knows
//! nothing of MQTT:
//!
//! ```text
//!            ┌──────────────────────────── Reactor::turn(now) ───────────────────────────┐
//!   kernel ──┤ Driver::reap ─▶ Handler::handle ─▶ Handler::work ─▶ timers ─▶ flush slices ├──▶ kernel
//!            └──────▲──────────────────────────────┬──────▲─────────────────────┬─────────┘
//!                   │ ops (owned)                  │ mesh │                     │ Driver::send_batch
//!                   └───────────── Effects ◀───────┘ rings└── other shards      └ (nothing lent beyond the call)
//! ```
//!
//! Invariants worth naming:
//! - **One thread.** Nothing here is shared but the bytes of the [`mesh`] rings and the counters, each with one writer.
//! - **Time is an argument.** [`Instant`] is read once a turn; no handler reads a clock.
//! - **Sends never linger.** [`Driver::send_batch`] returns when every send has completed, so no memory is lent to the
//!   kernel between calls.
//! - **A slot is a connection.** The index in the direct-descriptor table is the index of the connection, and the
//!   generation beside it tells completions of an old connection from those of the new one.
//!
//! Read next: [`handler`], then [`reactor`]. This crate imports no other crate of the workspace.

pub mod affinity;
pub mod buffer;
pub mod config;
pub mod counters;
pub mod driver;
pub mod error;
pub mod handler;
pub mod idle;
pub mod launch;
pub mod listen;
pub mod mesh;
pub mod profile;
pub mod reactor;
pub mod ring;
pub mod stall;
pub mod time;
pub mod timer;
pub mod uring;

pub use driver::{Completion, Driver, Errno, Generation, ListenerId, Op, RecvBuffer, SendResult, Slot, Wait};
pub use handler::{Effects, Event, Handler, ReceiveEnd, Span};
pub use time::Instant;
