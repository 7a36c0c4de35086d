//! A TCP connection as its two ends see it: bytes on their way, limits of what the kernel keeps, and how it ends.

use std::collections::VecDeque;
use std::net::SocketAddr;

/// One connection between a simulated client and the switch.
#[derive(Debug)]
pub struct Socket {
    /// The client's address.
    pub peer: SocketAddr,
    /// Bytes that the client sent and the switch has not received.
    pub to_switch: VecDeque<u8>,
    /// Bytes that the switch sent and the client has not read; the kernel keeps `send_bytes_max` of them.
    pub to_client: VecDeque<u8>,
    /// What the kernel keeps of `to_client`.
    pub send_bytes_max: usize,
    /// The client closed its sending half.
    pub client_fin: bool,
    /// The client closed both halves.
    pub client_closed: bool,
    /// The client went without a goodbye: what was on its way is lost.
    pub client_reset: bool,
    /// The switch shut its sending half down, or closed.
    pub switch_fin: bool,
    /// The switch closed with bytes unread: the client is reset.
    pub switch_reset: bool,
    /// Slots, on any shard, that hold this socket.
    pub holders: u32,
    /// The shard and slot where it was seen last; events of the client's side go there.
    pub place: Option<(u16, u32)>,
}

impl Socket {
    /// A connection from `peer` that nobody has accepted.
    pub fn new(peer: SocketAddr, send_bytes_max: usize) -> Socket {
        Socket {
            peer,
            to_switch: VecDeque::new(),
            to_client: VecDeque::new(),
            send_bytes_max,
            client_fin: false,
            client_closed: false,
            client_reset: false,
            switch_fin: false,
            switch_reset: false,
            holders: 0,
            place: None,
        }
    }

    /// Whether a receive would complete now.
    pub fn readable(&self) -> bool {
        !self.to_switch.is_empty() || self.client_fin || self.client_reset
    }

    /// Bytes that a send could leave with the kernel now.
    pub fn room(&self) -> usize {
        self.send_bytes_max.saturating_sub(self.to_client.len())
    }

    /// Whether the client sees that the switch has ended the connection, all bytes read.
    pub fn ended(&self) -> bool {
        self.switch_reset || (self.switch_fin && self.to_client.is_empty())
    }
}
