//! What every test with real processes needs: brokers that start and stop by events, and a client that sees every
//! byte.
//!
//! ```text
//! program.rs   which broker, where its program is, its configuration file
//! process.rs   a child that cannot outlive the tests, and its log
//! data.rs      data directories, gone when the last who holds one is
//! broker.rs    Setup → Broker: started when it says that it listens, stopped with a deadline
//! case.rs      one test against a shared broker: names of its own, one client builder; `broker_tests!`
//! property.rs  the properties of MQTT 5.0
//! packet.rs    packets as bytes and back
//! client.rs    one connection, every wait with a deadline
//! stream.rs    over TCP, WebSocket, TLS or both (RINGMAIN_TEST_TRANSPORT=ws|tls|wss)
//! tls.rs       a client of TLS
//! authority.rs certificates, and who issues and revokes them
//! websocket.rs frames, right and wrong ones
//! ```
//!
//! Worth naming:
//! - The codec here is written apart from `wire` on purpose: a mistake that encoder and decoder of one crate share
//!   would be invisible. Each packet that a broker sends is also given to `wire`, so each of the two checks the
//!   other.
//! - Nothing sleeps to let something happen. Only the absence of a packet is waited for, briefly, after a PINGREQ
//!   came back.
//! - With `RINGMAIN_TEST_BROKER=mosquitto` the same tests run against Debian's mosquitto: those that hold for any
//!   conforming broker must pass there, which tests the tests.

pub mod authority;
pub mod broker;
pub mod case;
pub mod client;
pub mod data;
pub mod options;
pub mod packet;
pub mod process;
pub mod program;
pub mod property;
pub mod stream;
pub mod tls;
pub mod websocket;

pub use authority::Authority;
pub use broker::{Broker, Setup};
pub use case::Case;
pub use client::{Client, SILENCE};
pub use data::DataDirectory;
pub use options::Options;
pub use packet::{Packet, Publish, Version};
pub use property::Property;
pub use stream::Transport;
pub use tls::TlsClient;
pub use websocket::WebSocket;

/// How long anything that must happen may take: generous, as test machines are busy.
pub const DEADLINE: std::time::Duration = std::time::Duration::from_secs(20);
