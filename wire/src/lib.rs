//! MQTT bytes to meaning and back, the frames that cores exchange, and the entries that a journal keeps.
//!
//! ```text
//!            socket bytes                                                          ring bytes
//!  peer ──▶ mqtt::deframe ──▶ RawPacket ──▶ mqtt::decode* ──▶ Publish ──▶ frame::Frame::write ──▶ other cores
//!  peer ◀────────────────── mqtt::PublishImage::encode, Packet::encode ◀── frame::Frame::read ◀── other cores
//! ```
//! Between a browser's socket and the MQTT stream stands [`websocket`], which also reads and writes bytes alone.
//!
//! The crate is a set of pure functions over byte slices: no sockets, no clock, no allocation while decoding. A decoded
//! packet borrows from the bytes that it was decoded from; an encoder writes into the caller's buffer.
//!
//! Invariants worth naming:
//! - **What a peer sends never panics.** Every way of being wrong is a variant of [`Malformed`], which knows the
//!   statement that it breaks and the reason code to answer with. The panics that exist (a buffer of another size than
//!   the encoder asked for, a string longer than the protocol can carry) are errors of the calling code, and
//!   documented.
//! - **Nothing is believed.** No length is used before it was checked against the bytes that are there, nothing is
//!   allocated for a declared length, and decoding is linear in the bytes of the packet.
//! - **What decodes can be forwarded.** Strings, topic names and properties are checked on the way in, so that bytes
//!   copied from one client to another never make the other one disconnect.
//! - **A length is never computed twice.** An encoder's length is found by running the encoder into a counter.
//!
//! Read next: [`mqtt`], then [`frame`] and [`entry`]. This crate imports no other crate of the workspace.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod entry;
mod error;
pub mod frame;
pub mod limits;
pub mod mqtt;
pub mod proxy;
mod reader;
pub mod websocket;
mod writer;

pub use error::Malformed;
