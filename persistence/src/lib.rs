//! An append-only journal for each shard, in mapped memory first and in files soon after: bytes in, tickets out.
//!
//! ```text
//!   shard ──append──▶ staging ring (mapped tmpfs) ──write──▶ segment file ──sync──▶ durable
//!     ▲                    │ survives kill -9                    │ survives power loss
//!     │                    └───────────── keeper ────────────────┘
//!     └── synced position, doorbell ──────────┘
//! ```
//!
//! A record that was appended ends at a [`Position`], and that is its ticket: what was promised with it holds once the
//! journal says that this position is durable. Nothing here knows what a record says.
//!
//! Invariants worth naming:
//! - **One writer.** A shard appends to its own journal, and the keeper alone writes that journal's files.
//! - **Positions only grow**, over all segments and restarts; a byte of the log has one position for ever.
//! - **A segment is written after the one before it is synced**, so that only the last one can have a torn tail.
//! - **No epoch continues another's segment.** A start begins a new one, and records name their epoch under their
//!   checksum, so what a cut tail leaves behind cannot come back.
//! - **An error is never ignored.** A failed write, a failed sync or a page that is gone fences the journal: it takes
//!   nothing more, and nothing more of it becomes durable.
//!
//! Read next: [`layout`], then [`journal`] and [`keeper::plan`]. This crate imports no other crate of the workspace.

pub mod checkpoint;
pub mod files;
mod header;
pub mod inspect;
pub mod journal;
pub mod keeper;
pub mod layout;
pub mod manifest;
pub mod map;
pub mod recover;
pub mod segment;
pub mod shared;
pub mod staging;
pub mod store;

pub use header::{HeaderFault, Owner};
pub use journal::{Durability, Journal, Refused};
pub use keeper::{Keeper, KeeperCounts, KeeperError, KeeperHandle, KeeperOptions, KeeperStats};
pub use layout::{Position, RecordHeader};
pub use manifest::Shape;
pub use recover::Entry;
pub use shared::{Bell, Fence, Shared, Trouble};
pub use store::{Handover, Recovered, Seat, Store, StoreError, StoreOptions};
