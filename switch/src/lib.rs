//! The broker: a pure handler of shard events, and the binary that gives it a kernel.
//!
//! # The life of a PUBLISH
//!
//! ```text
//!   connection/inbound    bytes to packets, in place; what cannot be passed on parks the connection
//!          │
//!   session/publish       alias, window, QoS 2 repeats; the frame
//!          │
//!   routing/publish       to the topic's owner: retained, interest, a parcel to each interested shard
//!          │
//!   delivery/deliver      match this shard's filters ─┬─ delivery/feed    encoded once, read by cursor
//!          │                                          └─ delivery/write   encoded for one: outbox, or session/outgoing
//!   delivery/flush        one send for each connection that has something, in slices
//! ```
//!
//! The acknowledgement comes back the other way: shards resolve parcels, the owner acknowledges to the publisher's
//! shard, and [`session::incoming`] lets PUBACK and PUBREC out in the order of the publishes.
//!
//! # Who asks whom
//!
//! - [`session::connect`]: CONNECT is checked where the socket is, decided by the client's home ([`routing::home`]),
//!   and accepted where the session lives.
//! - [`session::subscribe`]: every SUBSCRIBE asks the owners of its filters ([`routing::interest`]); it is in force
//!   when the last has confirmed, and retained messages follow in slices.
//! - [`connection::close`]: the session lets go at once, the socket some turns later.
//!
//! # Invariants worth naming
//!
//! - No handler waits, locks, or reads a clock; what has no room stays at the head of its ring, in a queue with a
//!   bound, or in the client's socket.
//! - A slot is a connection, an index with a generation a session: nothing else names them across turns.
//! - `matched = delivered + dropped + waiting` for every shard at any quiet instant ([`counters`]).
//! - Nothing is allocated for a message in the steady state: scratch space is kept, buffers are pooled.
//!
//! [`config`] and [`program`] are the outside: what an operator says, and what a process does. Everything else must not
//! know that there are files, threads or sockets.

pub mod access;
pub mod admission;
pub mod audit;
pub mod config;
pub mod connection;
pub mod counters;
pub mod delivery;
pub mod frames;
pub mod journal;
pub mod limits;
pub mod listener;
pub mod node;
pub mod packets;
pub mod planted;
pub mod program;
pub mod routing;
pub mod session;
pub mod stopping;
pub mod switch;
pub mod sys;
pub mod tls;
pub mod topic;
