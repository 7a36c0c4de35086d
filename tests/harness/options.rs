//! How a client connects: its CONNECT, and what is expected of the answer.

use std::net::SocketAddr;

use crate::client::Client;
use crate::packet::{Connect, Version, Will};
use crate::property::Property;
use crate::stream::Transport;

/// A connection to be made.
#[derive(Clone, Debug)]
pub struct Options {
    /// The CONNECT that will be sent.
    pub packet: Connect,
    address: SocketAddr,
}

impl Options {
    /// A clean connection without a keep alive.
    pub fn new(address: SocketAddr, version: Version, client_id: &str) -> Self {
        Self { packet: Connect::new(version, client_id), address }
    }

    /// Clean Session or Clean Start off.
    pub fn resume(mut self) -> Self {
        self.packet.clean = false;
        self
    }

    /// A session that outlives the connection: resumed where there is one, kept for five minutes in 5.0.
    pub fn durable(self) -> Self {
        self.resume().expiry(300)
    }

    /// The Session Expiry Interval in seconds; 3.1.1 has none.
    pub fn expiry(self, seconds: u32) -> Self {
        self.property(Property::SessionExpiry(seconds))
    }

    /// Adds a property of the CONNECT; 3.1.1 has none.
    pub fn property(mut self, property: Property) -> Self {
        self.packet.properties.push(property);
        self
    }

    /// The Keep Alive in seconds.
    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.packet.keep_alive = seconds;
        self
    }

    /// The Will Message.
    pub fn will(mut self, will: Will) -> Self {
        self.packet.will = Some(will);
        self
    }

    /// Connects by another transport than this run's; anything but success panics.
    pub fn connect_by(&self, transport: Transport) -> Client {
        let mut client = self.send_by(transport);
        client.connack();
        assert_eq!(client.code, 0, "{:?} was refused", self.packet);
        client
    }

    /// Sends the CONNECT by another transport than this run's, and does not wait.
    pub fn send_by(&self, transport: Transport) -> Client {
        let mut client = Client::over(transport.open(self.address), self.packet.version);
        client.send(&self.packet.bytes());
        client
    }

    /// Connects; anything but success panics.
    pub fn connect(&self) -> Client {
        let client = self.answer();
        assert_eq!(client.code, 0, "{:?} was refused", self.packet);
        client
    }

    /// Connects and takes the CONNACK, whatever it says.
    pub fn answer(&self) -> Client {
        let mut client = self.send();
        client.connack();
        client
    }

    /// Sends the CONNECT and does not wait.
    pub fn send(&self) -> Client {
        let mut client = Client::open(self.address, self.packet.version);
        client.send(&self.packet.bytes());
        client
    }

    /// Connects, takes the refusing CONNACK and sees the connection close; the code.
    pub fn refused(&self) -> u8 {
        let mut client = self.answer();
        assert_ne!(client.code, 0, "{:?} was accepted", self.packet);
        assert!(!client.session_present, "[MQTT-3.2.2-6] a refusal says that no session is present");
        client.closed();
        client.code
    }
}
