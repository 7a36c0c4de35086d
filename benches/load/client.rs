//! One connection of the load generator: what it has sent, what it waits for, and the MQTT handshakes of both
//! directions.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use crate::layers::Layers;
use crate::packet::{self, Malformed, Packet, Publish, Version};

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Until CONNACK.
    Connecting,
    /// Until SUBACK.
    Subscribing,
    /// Subscribed, if it wanted to be.
    Ready,
    /// Closed by either side.
    Closed,
}

/// Unsent bytes above which a client takes no more to publish.
const UNSENT_BYTES_MAX: usize = 1 << 20;

/// Unacknowledged publishes of one client, whatever the broker would allow: the search for an id is linear.
const INFLIGHT_MAX: usize = 4096;

/// Filters in one SUBSCRIBE; the next one leaves when it has been granted.
const FILTERS_MAX: usize = 100;

/// One connection.
pub struct Client {
    pub socket: OwnedFd,
    pub phase: Phase,
    pub version: Version,
    /// Which of all connections ever begun it is.
    pub number: usize,
    /// When it began to connect, in nanoseconds of the run's clock.
    pub started: u64,
    /// The front of a packet whose end has not come.
    pub partial: Vec<u8>,
    /// Is in the list of those to flush.
    pub listed: bool,
    /// Reads nothing while set.
    pub paused: bool,
    /// What lies between the socket and MQTT, and what that has made of packets for the wire.
    pub layers: Option<Box<Layers>>,
    pub wire: Vec<u8>,
    unsent: Vec<u8>,
    /// How many of `unsent`, or of `wire` where there are layers, the kernel has.
    sent: usize,
    /// What it subscribes to after CONNACK.
    subscriptions: Vec<(String, u8)>,
    /// How many of them it has.
    granted: usize,
    /// PINGREQs without an answer.
    pub pings: u32,
    /// Packet ids of unacknowledged publishes, oldest first.
    unacknowledged: VecDeque<u16>,
    last_id: u16,
    receive_maximum: usize,
}

/// What a packet from the broker means to the run.
pub enum Heard<'a> {
    /// Nothing.
    Nothing,
    /// Some of its subscriptions are granted, and more are asked for.
    Subscribing,
    /// The connection is ready.
    Ready,
    /// A message.
    Message(Publish<'a>),
    /// A publish is complete, with a reason code; there is room for another.
    Acknowledged(u8),
    /// The broker ends the connection, and why.
    End(String),
}

impl Client {
    /// A connection that has begun on `socket`, with its CONNECT in `unsent`.
    pub fn new(socket: OwnedFd, version: Version, connect: Vec<u8>, subscriptions: Vec<(String, u8)>) -> Client {
        Client {
            socket,
            phase: Phase::Connecting,
            version,
            number: 0,
            started: 0,
            partial: Vec::new(),
            listed: false,
            paused: false,
            layers: None,
            wire: Vec::new(),
            unsent: connect,
            sent: 0,
            subscriptions,
            granted: 0,
            pings: 0,
            unacknowledged: VecDeque::new(),
            last_id: 0,
            receive_maximum: usize::from(u16::MAX),
        }
    }

    /// Whether a message at this QoS may be published now.
    pub fn has_room(&self, qos: u8) -> bool {
        self.unsent.len() + self.wire.len() < UNSENT_BYTES_MAX
            && (qos == 0 || self.unacknowledged.len() < self.receive_maximum.min(INFLIGHT_MAX))
    }

    /// How many publishes have not been acknowledged, and PINGREQs not answered; a closed connection owes nothing.
    pub fn owed(&self) -> usize {
        if self.phase == Phase::Closed { 0 } else { self.pings as usize + self.unacknowledged.len() }
    }

    /// Queues a message. Only where [`Client::has_room`].
    pub fn publish(&mut self, qos: u8, retain: bool, topic: &[u8], payload: &[u8]) {
        let id = if qos > 0 { self.next_id() } else { 0 };
        packet::put_publish(&mut self.unsent, self.version, &Publish { qos, retain, topic, id, payload });
    }

    /// Whether something is queued.
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty() || !self.wire.is_empty()
    }

    /// Queues a PINGREQ.
    pub fn ping(&mut self) {
        self.unsent.extend_from_slice(&packet::PINGREQ);
        self.pings += 1;
    }

    /// Queues a DISCONNECT.
    pub fn disconnect(&mut self) {
        self.unsent.extend_from_slice(&packet::DISCONNECT);
    }

    /// Sends what is queued. Returns whether all of it is gone.
    pub fn flush(&mut self) -> Result<bool, Errno> {
        if let Some(layers) = self.layers.as_mut().filter(|_| !self.unsent.is_empty()) {
            layers.seal(&self.unsent, &mut self.wire);
            self.unsent.clear();
        }
        let bytes = if self.layers.is_some() { &mut self.wire } else { &mut self.unsent };
        while self.sent < bytes.len() {
            match send(&self.socket, &bytes[self.sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(bytes) => self.sent += bytes,
                // Not yet connected reads as EAGAIN or ENOTCONN; EPOLLOUT follows either.
                Err(Errno::AGAIN | Errno::NOTCONN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        bytes.clear();
        self.sent = 0;
        Ok(true)
    }

    /// Takes one packet, answers it where MQTT says so, and tells what it means.
    pub fn hear<'a>(&mut self, packet: &Packet<'a>) -> Result<Heard<'a>, Malformed> {
        match packet.first >> 4 {
            3 => {
                let message = packet::publish(packet, self.version)?;
                match message.qos {
                    1 => packet::put_ack(&mut self.unsent, 0x40, message.id),
                    2 => packet::put_ack(&mut self.unsent, 0x50, message.id),
                    _ => {}
                }
                return Ok(Heard::Message(message));
            }
            4 | 7 => return self.complete(packet),
            5 => {
                let (id, reason) = packet::acknowledged(packet.body)?;
                if reason >= 0x80 {
                    return self.complete(packet);
                }
                packet::put_ack(&mut self.unsent, 0x62, id);
            }
            6 => packet::put_ack(&mut self.unsent, 0x70, packet::acknowledged(packet.body)?.0),
            2 if self.phase == Phase::Connecting => return self.connected(packet.body),
            9 if self.phase == Phase::Subscribing => return self.subscribed(packet.body),
            13 => self.pings = self.pings.saturating_sub(1),
            14 => {
                let reason = packet.body.first().copied().unwrap_or(0);
                return Ok(Heard::End(format!("DISCONNECT with reason code {reason:#04x}")));
            }
            _ => return Err(Malformed("a packet type that a broker may not send now")),
        }
        Ok(Heard::Nothing)
    }

    fn connected<'a>(&mut self, body: &[u8]) -> Result<Heard<'a>, Malformed> {
        let connack = packet::connack(body, self.version)?;
        if connack.reason != 0 {
            return Ok(Heard::End(format!("CONNACK with code {:#04x}", connack.reason)));
        }
        self.receive_maximum = usize::from(connack.receive_maximum);
        if self.subscriptions.is_empty() {
            self.phase = Phase::Ready;
            return Ok(Heard::Ready);
        }
        self.subscribe();
        self.phase = Phase::Subscribing;
        Ok(Heard::Nothing)
    }

    /// Asks for what it does not have yet, or for as much of it as goes in one packet.
    fn subscribe(&mut self) {
        let filters = self.subscriptions[self.granted..].iter().take(FILTERS_MAX);
        let filters = filters.map(|(filter, qos)| (filter.as_str(), *qos));
        packet::put_subscribe(&mut self.unsent, self.version, filters);
    }

    fn subscribed<'a>(&mut self, body: &[u8]) -> Result<Heard<'a>, Malformed> {
        let codes = packet::suback(body, self.version)?;
        let asked = &self.subscriptions[self.granted..];
        if codes.len() != asked.len().min(FILTERS_MAX) {
            return Err(Malformed("a SUBACK with another number of codes than the SUBSCRIBE had filters"));
        }
        for ((filter, qos), code) in asked.iter().zip(codes) {
            if code != qos {
                return Ok(Heard::End(format!("SUBACK {code:#04x} for `{filter}` at QoS {qos}")));
            }
        }
        self.granted += codes.len();
        if self.granted < self.subscriptions.len() {
            self.subscribe();
            return Ok(Heard::Subscribing);
        }
        self.phase = Phase::Ready;
        self.subscriptions = Vec::new();
        Ok(Heard::Ready)
    }

    fn complete<'a>(&mut self, packet: &Packet<'_>) -> Result<Heard<'a>, Malformed> {
        let (id, reason) = packet::acknowledged(packet.body)?;
        let at = self.unacknowledged.iter().position(|other| *other == id);
        at.and_then(|at| self.unacknowledged.remove(at))
            .ok_or(Malformed("an acknowledgement of a packet id that is not in flight"))?;
        Ok(Heard::Acknowledged(reason))
    }

    /// The next packet id that is not in flight; one exists, as at most `receive_maximum` are.
    fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.unacknowledged.contains(&self.last_id) {
                break;
            }
        }
        self.unacknowledged.push_back(self.last_id);
        self.last_id
    }
}
