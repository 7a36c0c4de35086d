//! One connection to a broker. Every wait has a deadline, and a packet that was not asked for is kept in its place.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::DEADLINE;
use crate::packet::{self, PINGREQ, Packet, Publish, Version};
use crate::program::Program;
use crate::property::Property;
use crate::stream::{Stream, Transport};

/// How long silence must last to be believed, after a PINGREQ came back.
pub const SILENCE: Duration = Duration::from_millis(40);

/// A connection.
pub struct Client {
    /// Session Present of the CONNACK.
    pub session_present: bool,
    /// The reason code (5.0) or return code (3.1.1) of the CONNACK.
    pub code: u8,
    /// The properties of the CONNACK.
    pub properties: Vec<Property>,
    version: Version,
    stream: Stream,
    /// Bytes of an unfinished packet.
    bytes: Vec<u8>,
    /// Packets that came while another one was waited for.
    kept: VecDeque<Packet>,
    last_id: u16,
    /// The size of the largest packet so far, in bytes.
    largest: usize,
    /// Whether the broker may be killed in the middle of a packet.
    mortal: bool,
}

impl Client {
    /// A connection on which nothing has been said.
    pub fn open(address: SocketAddr, version: Version) -> Self {
        Self::over(Transport::tested().open(address), version)
    }

    /// A client over a connection that is open.
    pub fn over(stream: Stream, version: Version) -> Self {
        Self {
            session_present: false,
            code: 0,
            properties: Vec::new(),
            version,
            stream,
            bytes: Vec::new(),
            kept: VecDeque::new(),
            last_id: 0,
            largest: 0,
            mortal: false,
        }
    }

    /// Takes the CONNACK, which must be the first packet `[MQTT-3.2.0-1]`.
    #[track_caller]
    pub fn connack(&mut self) {
        match self.receive() {
            Packet::Connack(present, code, properties) => {
                (self.session_present, self.code, self.properties) = (present, code, properties);
            }
            other => panic!("a CONNACK was expected, {other:?} came"),
        }
    }

    /// Sends bytes; an error only shows that the broker closed, which the reading side will see.
    pub fn send(&mut self, bytes: &[u8]) {
        // Both ways a closed connection shows: the bytes before it may still carry the reason.
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
    }

    /// The bytes of a client's packets for this connection's version: see [`Client::send`].
    pub fn version(&self) -> Version {
        self.version
    }

    /// The socket, for what only sockets can do.
    pub fn stream(&self) -> &TcpStream {
        self.stream.socket()
    }

    /// The broker will be killed: its last packet may be cut short.
    pub fn mortal(mut self) -> Self {
        self.mortal = true;
        self
    }

    // ---- what clients do ----

    /// Publishes and completes the handshake; the reason code of the last acknowledgement, 0 at QoS 0.
    #[track_caller]
    pub fn publish(&mut self, topic: &str, qos: u8, payload: impl AsRef<[u8]>) -> u8 {
        self.publish_packet(&Publish::new(topic, qos, payload))
    }

    /// The same with RETAIN set.
    #[track_caller]
    pub fn retain(&mut self, topic: &str, qos: u8, payload: impl AsRef<[u8]>) -> u8 {
        self.publish_packet(&Publish::retained(topic, qos, payload))
    }

    /// The same for a message with all its fields; the packet identifier is chosen here.
    #[track_caller]
    pub fn publish_packet(&mut self, message: &Publish) -> u8 {
        let id = self.send_publish(message);
        self.acknowledged(message.qos, id)
    }

    /// Sends a PUBLISH and does not wait; its packet identifier.
    pub fn send_publish(&mut self, message: &Publish) -> u16 {
        let id = if message.qos == 0 { 0 } else { self.next_id() };
        self.send(&Publish { id, ..message.clone() }.bytes(self.version));
        id
    }

    /// Waits for the acknowledgements of a PUBLISH that was sent.
    #[track_caller]
    pub fn acknowledged(&mut self, qos: u8, id: u16) -> u8 {
        match qos {
            0 => 0,
            1 => {
                self.wait_for(
                    |packet| if let Packet::Puback(got, code) = packet { (*got == id).then_some(*code) } else { None },
                )
            }
            _ => {
                let code = self.pubrec(id);
                if code < 0x80 {
                    self.send(&packet::ack(0x62, id, 0));
                    assert_eq!(self.pubcomp(id), 0, "PUBCOMP of {id}");
                }
                code
            }
        }
    }

    /// Waits for the PUBREC of `id`; its reason code.
    #[track_caller]
    pub fn pubrec(&mut self, id: u16) -> u8 {
        self.wait_for(
            |packet| if let Packet::Pubrec(got, code) = packet { (*got == id).then_some(*code) } else { None },
        )
    }

    /// Waits for the PUBREL of `id`; its reason code.
    #[track_caller]
    pub fn pubrel(&mut self, id: u16) -> u8 {
        self.wait_for(
            |packet| if let Packet::Pubrel(got, code) = packet { (*got == id).then_some(*code) } else { None },
        )
    }

    /// Waits for the PUBCOMP of `id`; its reason code.
    #[track_caller]
    pub fn pubcomp(&mut self, id: u16) -> u8 {
        self.wait_for(
            |packet| if let Packet::Pubcomp(got, code) = packet { (*got == id).then_some(*code) } else { None },
        )
    }

    /// Subscribes to one filter with an options byte; the reason code.
    #[track_caller]
    pub fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        self.subscribe_all(&[(filter, options)], &[])[0]
    }

    /// Subscribes; a reason code for each filter `[MQTT-3.8.4-6]`.
    #[track_caller]
    pub fn subscribe_all(&mut self, filters: &[(&str, u8)], properties: &[Property]) -> Vec<u8> {
        let id = self.next_id();
        self.send(&packet::subscribe(self.version, id, filters, properties));
        let codes = self.wait_for(|packet| {
            if let Packet::Suback(got, codes) = packet { (*got == id).then(|| codes.clone()) } else { None }
        });
        assert_eq!(codes.len(), filters.len(), "[MQTT-3.8.4-6] a reason code for each filter");
        codes
    }

    /// Unsubscribes; in 5.0 a reason code for each filter.
    #[track_caller]
    pub fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let id = self.next_id();
        self.send(&packet::unsubscribe(self.version, id, filters));
        let codes = self.wait_for(|packet| {
            if let Packet::Unsuback(got, codes) = packet { (*got == id).then(|| codes.clone()) } else { None }
        });
        assert_eq!(codes.len(), if self.version == Version::V5 { filters.len() } else { 0 }, "[MQTT-3.11.3-1]");
        codes
    }

    /// PINGREQ and its PINGRESP `[MQTT-3.12.4-1]`; what comes before it is kept.
    #[track_caller]
    pub fn ping(&mut self) {
        self.send(&PINGREQ);
        self.wait_for(|packet| (*packet == Packet::Pingresp).then_some(()));
    }

    /// A normal DISCONNECT, and the end of the connection from the other side.
    pub fn disconnect(self) {
        self.disconnect_with(0, &[]);
    }

    /// The same with a reason code and properties.
    pub fn disconnect_with(mut self, code: u8, properties: &[Property]) {
        self.send(&packet::disconnect(self.version, code, properties));
        while self.next(DEADLINE).is_some() {}
    }

    /// Ends the connection without a DISCONNECT, and returns when the broker has seen it.
    pub fn abort(mut self) {
        // An error says that it is closed already.
        let _ = self.stream().shutdown(Shutdown::Write);
        self.bytes.clear();
        while self.read_bytes(Instant::now() + DEADLINE).is_ok() {
            self.bytes.clear();
        }
    }

    /// A packet identifier that has not been used on this connection.
    pub fn next_id(&mut self) -> u16 {
        self.last_id += 1;
        self.last_id
    }

    // ---- what clients see ----

    /// The next PUBLISH, acknowledged to the end.
    #[track_caller]
    pub fn message(&mut self) -> Publish {
        let message = self.delivery();
        self.acknowledge(&message);
        message
    }

    /// The next PUBLISH if one comes within `wait`, acknowledged to the end.
    pub fn message_within(&mut self, wait: Duration) -> Option<Publish> {
        match self.try_next(wait) {
            Ok(None) => None,
            Ok(Some(Packet::Publish(message))) => {
                self.acknowledge(&message);
                Some(message)
            }
            other => panic!("a PUBLISH or nothing was expected, {other:?} came"),
        }
    }

    /// Acknowledges a PUBLISH to the end, as its QoS wants.
    pub fn acknowledge(&mut self, message: &Publish) {
        match message.qos {
            0 => {}
            1 => self.send(&packet::ack(0x40, message.id, 0)),
            _ => {
                self.send(&packet::ack(0x50, message.id, 0));
                assert_eq!(self.pubrel(message.id), 0, "PUBREL of {message:?}");
                self.send(&packet::ack(0x70, message.id, 0));
            }
        }
    }

    /// The next PUBLISH, not acknowledged.
    #[track_caller]
    pub fn delivery(&mut self) -> Publish {
        match self.receive() {
            Packet::Publish(message) => message,
            other => panic!("a PUBLISH was expected, {other:?} came"),
        }
    }

    /// The payloads of the next messages, each acknowledged.
    #[track_caller]
    pub fn texts(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.message().text().to_owned()).collect()
    }

    /// Sees that nothing comes: a ping returns with no message before it, and silence follows.
    #[track_caller]
    pub fn silent(&mut self) {
        self.ping();
        assert_eq!(self.kept, [], "nothing was expected");
        assert_eq!(self.try_next(SILENCE), Ok(None), "nothing was expected");
    }

    /// The next packet, kept or new; a closed connection panics.
    #[track_caller]
    pub fn receive(&mut self) -> Packet {
        self.next(DEADLINE).expect("the broker closed the connection")
    }

    /// The next packet within `deadline`, or `None` when the connection is closed.
    #[track_caller]
    pub fn next(&mut self, deadline: Duration) -> Option<Packet> {
        match self.try_next(deadline) {
            Ok(Some(packet)) => Some(packet),
            Ok(None) => panic!("nothing came within {deadline:?}, but {} bytes of a packet", self.bytes.len()),
            Err(Closed) => None,
        }
    }

    /// The next packet if one comes within `wait`; an error when the connection is closed.
    pub fn next_within(&mut self, wait: Duration) -> Result<Option<Packet>, Closed> {
        self.try_next(wait)
    }

    /// Waits for the first packet of which `pick` makes something; others are kept in order.
    #[track_caller]
    pub fn wait_for<T>(&mut self, mut pick: impl FnMut(&Packet) -> Option<T>) -> T {
        if let Some((index, found)) =
            self.kept.iter().enumerate().find_map(|(index, packet)| Some((index, pick(packet)?)))
        {
            self.kept.remove(index);
            return found;
        }
        let end = Instant::now() + DEADLINE;
        loop {
            match self.read_packet(end) {
                Ok(Some(packet)) => match pick(&packet) {
                    Some(found) => return found,
                    None => self.kept.push_back(packet),
                },
                Ok(None) => panic!("not what was expected within {DEADLINE:?}; kept: {:?}", self.kept),
                Err(Closed) => panic!("the broker closed the connection; kept: {:?}", self.kept),
            }
        }
    }

    /// Sees the connection closed by the broker, nothing more being sent.
    #[track_caller]
    pub fn closed(&mut self) {
        assert_eq!(self.next(DEADLINE), None, "the end of the connection was expected");
    }

    /// Sees the broker end the connection for a reason: in 5.0 DISCONNECT with one of `codes` and then the end, in
    /// 3.1.1 just that.
    #[track_caller]
    pub fn dropped(&mut self, codes: &[u8]) {
        if self.version == Version::V5 {
            match self.next(DEADLINE) {
                // The standard recommends a DISCONNECT; ours sends it, mosquitto not always.
                None if Program::tested() != Program::Ringmain => return,
                Some(Packet::Disconnect(code, properties)) => {
                    assert!(codes.contains(&code), "DISCONNECT with {code:#04x}, not one of {codes:02x?}");
                    let expiry = properties.iter().any(|property| matches!(property, Property::SessionExpiry(_)));
                    assert!(!expiry, "[MQTT-3.14.2-2] no Session Expiry Interval from a server");
                }
                other => panic!("DISCONNECT with one of {codes:02x?} was expected, {other:?} came"),
            }
        }
        self.closed();
    }

    /// Sees the connection end after at most a refusing CONNACK: nothing else may come before one `[MQTT-3.14.0-1]`.
    /// Its code.
    #[track_caller]
    pub fn turned_away(&mut self) -> Option<u8> {
        let code = match self.next(DEADLINE)? {
            Packet::Connack(present, code, _) => {
                assert!(!present && code != 0, "a CONNACK with {code} for a bad CONNECT");
                code
            }
            other => panic!("{other:?} before a CONNACK"),
        };
        self.closed();
        Some(code)
    }

    /// All bytes until the end of the connection.
    pub fn bytes_to_the_end(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        self.stream.set_read_timeout(DEADLINE);
        match self.stream.read_to_end(&mut bytes) {
            Err(error) if is_timeout(&error) => panic!("the connection is still open after {DEADLINE:?}"),
            _ => bytes,
        }
    }

    /// The size of the largest packet that came, in bytes.
    pub fn largest_packet(&self) -> usize {
        self.largest
    }

    /// The first property of the CONNACK of which `pick` makes something.
    pub fn property<T>(&self, pick: impl FnMut(&Property) -> Option<T>) -> Option<T> {
        self.properties.iter().find_map(pick)
    }

    /// Sees the connection end, whatever comes before: a broker may or may not say why.
    pub fn ended(&mut self) {
        while self.next(DEADLINE).is_some() {}
    }

    fn try_next(&mut self, wait: Duration) -> Result<Option<Packet>, Closed> {
        match self.kept.pop_front() {
            Some(packet) => Ok(Some(packet)),
            None => self.read_packet(Instant::now() + wait),
        }
    }

    /// A packet from the socket, `None` when none was whole at `end`.
    fn read_packet(&mut self, end: Instant) -> Result<Option<Packet>, Closed> {
        loop {
            if let Some((packet, len)) = Packet::read(&self.bytes, self.version) {
                self.bytes.drain(..len);
                self.largest = self.largest.max(len);
                return Ok(Some(packet));
            }
            if !self.read_bytes(end)? {
                return Ok(None);
            }
        }
    }

    /// Bytes from the socket; false when none came before `end`.
    fn read_bytes(&mut self, end: Instant) -> Result<bool, Closed> {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.set_read_timeout(left);
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => {
                assert!(self.mortal || self.bytes.is_empty(), "the connection ended inside a packet: {:?}", self.bytes);
                Err(Closed)
            }
            Ok(len) => {
                self.bytes.extend(&chunk[..len]);
                Ok(true)
            }
            Err(error) if is_timeout(&error) => Ok(false),
            // A signal of another test's child.
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(Closed),
            Err(error) => panic!("reading failed: {error}"),
        }
    }
}

/// The broker closed the connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
