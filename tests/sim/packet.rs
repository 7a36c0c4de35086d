//! What simulated clients say and hear. Written from the standard, not from the switch's codec, so that a misreading in
//! one of the two shows.

/// The protocol version of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1.
    V311,
    /// 5.0.
    V5,
}

/// What a client asks for in CONNECT.
#[derive(Clone, Debug)]
pub struct Connect<'a> {
    /// The version.
    pub version: Version,
    /// The client identifier.
    pub client_id: &'a str,
    /// Clean Start, or Clean Session.
    pub clean: bool,
    /// Keep Alive, in seconds.
    pub keep_alive: u16,
    /// Session Expiry Interval, in seconds (v5).
    pub expiry: u32,
    /// Receive Maximum (v5); 0: not said.
    pub receive_maximum: u16,
    /// Topic Alias Maximum (v5); 0: not said.
    pub alias_maximum: u16,
    /// The will, if there is one.
    pub will: Option<Will<'a>>,
}

impl Connect<'_> {
    /// MQTT 5.0, a session that ends with the connection, and nothing else that need not be said.
    pub fn plain(client_id: &str) -> Connect<'_> {
        Connect {
            version: Version::V5,
            client_id,
            clean: true,
            keep_alive: 0,
            expiry: 0,
            receive_maximum: 0,
            alias_maximum: 0,
            will: None,
        }
    }
}

/// The will of a CONNECT.
#[derive(Clone, Debug)]
pub struct Will<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
    /// Its QoS.
    pub qos: u8,
    /// Its RETAIN flag.
    pub retain: bool,
    /// Will Delay Interval, in seconds (v5).
    pub delay: u32,
}

/// What a client publishes.
#[derive(Clone, Debug)]
pub struct Publish<'a> {
    /// DUP.
    pub dup: bool,
    /// QoS.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// Topic Name.
    pub topic: &'a str,
    /// Packet Identifier, for QoS 1 and 2.
    pub id: u16,
    /// Message Expiry Interval, in seconds (v5); 0: not said.
    pub expiry: u32,
    /// The payload.
    pub payload: &'a [u8],
}

/// A packet of the switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// CONNACK.
    Connack {
        /// Session Present.
        session_present: bool,
        /// Return or reason code.
        code: u8,
        /// Receive Maximum.
        receive_maximum: u16,
    },
    /// PUBLISH.
    Publish(Delivery<'a>),
    /// PUBACK (4), PUBREC (5), PUBREL (6) or PUBCOMP (7).
    Ack {
        /// Which of them.
        kind: u8,
        /// Packet Identifier.
        id: u16,
        /// Reason code; 0 in 3.1.1.
        code: u8,
    },
    /// SUBACK.
    Suback {
        /// Packet Identifier.
        id: u16,
        /// One for each filter.
        codes: &'a [u8],
    },
    /// UNSUBACK.
    Unsuback {
        /// Packet Identifier.
        id: u16,
        /// One for each filter (v5).
        codes: &'a [u8],
    },
    /// PINGRESP.
    Pingresp,
    /// DISCONNECT (v5).
    Disconnect {
        /// Reason code.
        code: u8,
    },
}

/// A PUBLISH of the switch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// DUP.
    pub dup: bool,
    /// QoS.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// Topic Name; empty where an alias stands for it.
    pub topic: &'a [u8],
    /// Packet Identifier; 0 with QoS 0.
    pub id: u16,
    /// Topic Alias; 0: none.
    pub alias: u16,
    /// Message Expiry Interval.
    pub expiry: Option<u32>,
    /// Subscription Identifiers.
    pub identifiers: Vec<u32>,
    /// The payload.
    pub payload: &'a [u8],
}

/// Appends CONNECT.
pub fn connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    let v5 = connect.version == Version::V5;
    let mut body = Vec::with_capacity(64);
    text(&mut body, "MQTT");
    body.push(if v5 { 5 } else { 4 });
    let will = connect.will.as_ref().map_or(0, |will| 4 | will.qos << 3 | u8::from(will.retain) << 5);
    body.push(u8::from(connect.clean) << 1 | will);
    body.extend(connect.keep_alive.to_be_bytes());
    if v5 {
        properties(&mut body, |out| {
            if connect.expiry > 0 {
                out.push(0x11);
                out.extend(connect.expiry.to_be_bytes());
            }
            if connect.receive_maximum > 0 {
                out.push(0x21);
                out.extend(connect.receive_maximum.to_be_bytes());
            }
            if connect.alias_maximum > 0 {
                out.push(0x22);
                out.extend(connect.alias_maximum.to_be_bytes());
            }
        });
    }
    text(&mut body, connect.client_id);
    if let Some(will) = &connect.will {
        if v5 {
            properties(&mut body, |out| {
                if will.delay > 0 {
                    out.push(0x18);
                    out.extend(will.delay.to_be_bytes());
                }
            });
        }
        text(&mut body, will.topic);
        body.extend((will.payload.len() as u16).to_be_bytes());
        body.extend(will.payload);
    }
    packet(out, 0x10, &body);
}

/// Appends PUBLISH.
pub fn publish(out: &mut Vec<u8>, version: Version, publish: &Publish<'_>) {
    let mut body = Vec::with_capacity(publish.payload.len() + publish.topic.len() + 12);
    text(&mut body, publish.topic);
    if publish.qos > 0 {
        body.extend(publish.id.to_be_bytes());
    }
    if version == Version::V5 {
        properties(&mut body, |out| {
            if publish.expiry > 0 {
                out.push(0x02);
                out.extend(publish.expiry.to_be_bytes());
            }
        });
    }
    body.extend(publish.payload);
    let flags = u8::from(publish.dup) << 3 | publish.qos << 1 | u8::from(publish.retain);
    packet(out, 0x30 | flags, &body);
}

/// Appends SUBSCRIBE for filters with their options bytes; `identifier` 0: none.
pub fn subscribe(out: &mut Vec<u8>, version: Version, id: u16, identifier: u32, filters: &[(&str, u8)]) {
    let mut body = Vec::with_capacity(64);
    body.extend(id.to_be_bytes());
    if version == Version::V5 {
        properties(&mut body, |out| {
            if identifier > 0 {
                out.push(0x0b);
                varint(out, identifier);
            }
        });
    }
    for (filter, options) in filters {
        text(&mut body, filter);
        body.push(*options);
    }
    packet(out, 0x82, &body);
}

/// Appends UNSUBSCRIBE.
pub fn unsubscribe(out: &mut Vec<u8>, version: Version, id: u16, filters: &[&str]) {
    let mut body = Vec::with_capacity(64);
    body.extend(id.to_be_bytes());
    if version == Version::V5 {
        body.push(0);
    }
    filters.iter().for_each(|filter| text(&mut body, filter));
    packet(out, 0xa2, &body);
}

/// Appends PUBACK (4), PUBREC (5), PUBREL (6) or PUBCOMP (7) with success.
pub fn ack(out: &mut Vec<u8>, kind: u8, id: u16) {
    out.extend([kind << 4 | if kind == 6 { 2 } else { 0 }, 2]);
    out.extend(id.to_be_bytes());
}

/// Appends PINGREQ.
pub fn pingreq(out: &mut Vec<u8>) {
    out.extend([0xc0, 0]);
}

/// Appends DISCONNECT; `expiry` is a new Session Expiry Interval (v5).
pub fn disconnect(out: &mut Vec<u8>, version: Version, reason: u8, expiry: Option<u32>) {
    match (version, expiry) {
        (Version::V5, Some(expiry)) => {
            out.extend([0xe0, 7, reason, 5, 0x11]);
            out.extend(expiry.to_be_bytes());
        }
        (Version::V5, None) if reason != 0 => out.extend([0xe0, 1, reason]),
        _ => out.extend([0xe0, 0]),
    }
}

/// Takes one packet off the front: the packet and its length, or nothing where it is not whole.
///
/// # Errors
/// What a client would close the connection for.
pub fn parse(bytes: &[u8], version: Version) -> Result<Option<(Packet<'_>, usize)>, String> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let (mut len, mut count) = (0usize, 0);
    loop {
        let Some(&byte) = rest.get(count) else { return Ok(None) };
        len |= usize::from(byte & 0x7f) << (7 * count);
        count += 1;
        if byte & 0x80 == 0 {
            break;
        }
        if count == 4 {
            return Err("a remaining length of more than four bytes".into());
        }
    }
    if count > 1 && rest[count - 1] == 0 {
        return Err("a remaining length that is not the shortest".into());
    }
    let Some(body) = rest.get(count..count + len) else { return Ok(None) };
    let packet = decode(first, body, version).map_err(|why| format!("{why}: {first:02x} {body:02x?}"))?;
    Ok(Some((packet, 1 + count + len)))
}

fn decode(first: u8, body: &[u8], version: Version) -> Result<Packet<'_>, String> {
    let v5 = version == Version::V5;
    let mut at = Reader { bytes: body };
    let packet = match first {
        0x20 => {
            let (flags, code) = (at.byte()?, at.byte()?);
            if flags > 1 || (flags == 1 && code != 0) {
                return Err("CONNACK with wrong flags".into());
            }
            let mut receive_maximum = u16::MAX;
            if v5 {
                let mut properties = at.properties()?;
                while let Some(id) = properties.next_property()? {
                    match id {
                        0x21 => receive_maximum = properties.word()?,
                        0x22 | 0x13 => drop(properties.word()?),
                        0x11 | 0x27 => drop(properties.take(4)?),
                        0x24 | 0x25 | 0x28 | 0x29 | 0x2a => drop(properties.byte()?),
                        0x12 | 0x1f => drop(properties.string()?),
                        other => return Err(format!("CONNACK with property {other:#x}")),
                    }
                }
            }
            Packet::Connack { session_present: flags == 1, code, receive_maximum }
        }
        0x30..=0x3f => return decode_publish(first, at, v5),
        0x40 | 0x50 | 0x62 | 0x70 => {
            let id = at.word()?;
            let code = if v5 && !at.bytes.is_empty() { at.byte()? } else { 0 };
            if v5 && code == 0 && body.len() > 2 {
                return Err("an acknowledgement of success in its long form".into());
            }
            if !at.bytes.is_empty() {
                at.properties()?;
            }
            Packet::Ack { kind: first >> 4, id, code }
        }
        0x90 | 0xb0 => {
            let id = at.word()?;
            if v5 && !at.properties()?.bytes.is_empty() {
                return Err("properties that nobody asked for".into());
            }
            let codes = std::mem::take(&mut at.bytes);
            if first == 0x90 { Packet::Suback { id, codes } } else { Packet::Unsuback { id, codes } }
        }
        0xd0 => Packet::Pingresp,
        0xe0 if v5 => {
            let code = if at.bytes.is_empty() { 0 } else { at.byte()? };
            at.bytes = &[];
            Packet::Disconnect { code }
        }
        _ => return Err("a packet that no client may get".into()),
    };
    if at.bytes.is_empty() { Ok(packet) } else { Err("bytes behind the end".into()) }
}

fn decode_publish<'a>(first: u8, mut at: Reader<'a>, v5: bool) -> Result<Packet<'a>, String> {
    let (dup, qos, retain) = (first & 8 != 0, first >> 1 & 3, first & 1 != 0);
    if qos == 3 || (dup && qos == 0) {
        return Err("PUBLISH with wrong flags".into());
    }
    let mut delivery = Delivery { dup, qos, retain, topic: at.string()?, ..Delivery::default() };
    if qos > 0 {
        delivery.id = at.word()?;
        if delivery.id == 0 {
            return Err("packet identifier 0".into());
        }
    }
    if v5 {
        let mut properties = at.properties()?;
        while let Some(id) = properties.next_property()? {
            match id {
                0x02 => delivery.expiry = Some(u32::from_be_bytes(properties.take(4)?.try_into().expect("four"))),
                0x23 => delivery.alias = properties.word()?,
                0x0b => delivery.identifiers.push(properties.varint()?),
                other => return Err(format!("PUBLISH with property {other:#x} that nobody sent")),
            }
        }
    }
    delivery.payload = at.bytes;
    Ok(Packet::Publish(delivery))
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (front, rest) = self.bytes.split_at_checked(count).ok_or("a packet that ends too early")?;
        self.bytes = rest;
        Ok(front)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn word(&mut self) -> Result<u16, String> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into().expect("two")))
    }

    fn string(&mut self) -> Result<&'a [u8], String> {
        let count = self.word()?;
        self.take(count.into())
    }

    fn varint(&mut self) -> Result<u32, String> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a variable byte integer of more than four bytes".into())
    }

    fn properties(&mut self) -> Result<Reader<'a>, String> {
        let count = self.varint()?;
        Ok(Reader { bytes: self.take(count as usize)? })
    }

    fn next_property(&mut self) -> Result<Option<u8>, String> {
        if self.bytes.is_empty() { Ok(None) } else { self.byte().map(Some) }
    }
}

fn packet(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    varint(out, body.len() as u32);
    out.extend(body);
}

fn properties(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut properties = Vec::new();
    fill(&mut properties);
    varint(out, properties.len() as u32);
    out.extend(properties);
}

fn varint(out: &mut Vec<u8>, mut value: u32) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return out.push(byte);
        }
        out.push(byte | 0x80);
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not whole waits; what is whole says how long it is.
    #[test]
    fn packets_come_in_pieces() {
        let bytes = [0x32, 9, 0, 1, b't', 0, 7, 0, b'x', b'y', b'z', 0xd0, 0];
        for end in 0..11 {
            assert_eq!(parse(&bytes[..end], Version::V5), Ok(None));
        }
        let Ok(Some((Packet::Publish(publish), 11))) = parse(&bytes, Version::V5) else { panic!("a PUBLISH") };
        assert_eq!((publish.qos, publish.id, publish.topic, publish.payload), (1, 7, &b"t"[..], &b"xyz"[..]));
        assert_eq!(parse(&bytes[11..], Version::V5), Ok(Some((Packet::Pingresp, 2))));
    }

    /// What the standard does not allow the switch to send is an error.
    #[test]
    fn wrong_packets_are_seen() {
        for wrong in [&[0x32, 5, 0, 1, b't', 0, 0][..], &[0x36, 3, 0, 1, b't'], &[0x40, 3, 0, 1, 0], &[0x10, 0]] {
            assert!(parse(wrong, Version::V5).is_err(), "{wrong:02x?}");
        }
    }
}
