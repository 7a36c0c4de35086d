//! MQTT over WebSocket (RFC 6455; MQTT 5.0, section 6): the opening handshake, and frames both ways.
//!
//! ```text
//!   client ──▶ handshake::read_request ──▶ Upgrade ──▶ 101, or a Refusal that says why
//!   client ──▶ Decoder::decode ──▶ bytes of the MQTT stream, and pings and closes as events
//!   client ◀── FrameHeader + one MQTT packet, or a whole feed of them ready made
//! ```
//!
//! The payload of binary frames is a byte stream, as if there were no frames: packets may begin and end anywhere in it
//! \[MQTT-6.0.0-2\]. So a decoder never collects a message, and no length that a client declares is ever allocated.
//! No extension is negotiated, permessage-deflate neither: there is nothing that a client could make us inflate.
//!
//! Pure functions over bytes, like the rest of the crate.

mod close;
mod decoder;
mod frame;
mod handshake;
mod mask;

pub use close::{CloseCode, Violation};
pub use decoder::{Decoder, Event, Progress};
pub use frame::{CONTROL_BYTES_MAX, FRAME_HEADER_BYTES_MAX, FrameHeader, Opcode, frame_of_len, payload_at};
pub use handshake::{Refusal, Rules, Subprotocol, Upgrade, read_request};
pub use mask::unmask;
