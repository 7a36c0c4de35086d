//! Who may connect, and who may publish and subscribe.
//!
//! ```text
//!   shard                                     service threads
//!   CONNECT ─▶ gate ── Request (bounded) ──▶  service: attempts ─▶ back ends, in order
//!                │                              hash, users   password file
//!                │                              jwt           tokens, keys from a file or a JWKS address
//!                │                              http          a request to somebody's service
//!                │                              scram         SCRAM-SHA-256, step by step
//!                ◀── News, and the doorbell ──  Verdict
//!   PUBLISH, SUBSCRIBE, delivery ─▶ policy (rules, compiled once) ─▶ decisions (a small cache of each session)
//! ```
//!
//! - [`identity`]: who a client is, and what it said to prove that.
//! - [`service`]: everything that costs time or waits for somebody; no shard ever does.
//! - [`gate`]: the shard's side. A client waits for its verdict in a phase of its own, in which nothing is read from it.
//! - [`enhanced`]: AUTH packets, of a client that waits there and of one that is connected.
//! - [`ask`], [`asked`] and [`decider`]: a service that decides about packets. A connection waits for it, no shard does.
//! - [`recall`]: subscriptions that are asked about again, when their client comes back and after a reload.
//! - [`source`]: who published a retained message, which is judged again when it is delivered.
//! - [`policy`] and [`rules`]: what an identity may do, from mosquitto's file ([`mosquitto`]), our own ([`native`]), tokens
//!   and answers of services ([`json`]).
//!
//! Invariants:
//! - Where access control is off there is no gate, and a message costs one look at that.
//! - Neither a user name, nor a password, nor a token stands in any line of the log.
//! - A feed serves only those that may receive whatever its filter matches; for others each message is judged.

pub mod ask;
pub mod asked;
pub mod attempts;
pub mod bans;
pub mod decider;
pub mod decisions;
pub mod desk;
pub mod enhanced;
pub mod gate;
pub mod hash;
pub mod http;
pub mod identity;
pub mod json;
pub mod jwt;
pub mod live;
pub mod mosquitto;
pub mod native;
pub mod policy;
pub mod recall;
pub mod rules;
pub mod scram;
pub mod service;
pub mod source;
pub mod template;
pub mod users;

pub use desk::Desk;
pub use identity::{Credentials, Identity, Verdict};
pub use policy::Policy;
