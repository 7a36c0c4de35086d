//! The packets that a load generator needs, MQTT 3.1.1 and 5.0, written and read by hand.
//!
//! Not the codec of the workspace, for two reasons: a client that shares the broker's codec cannot notice its mistakes,
//! and on the receiving side this one looks at no more than a measurement needs.

/// Protocol level, as CONNECT carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1, level 4.
    V311 = 4,
    /// MQTT 5.0, level 5.
    V5 = 5,
}

/// A packet at the front of a byte stream.
pub struct Packet<'a> {
    /// Type and flags.
    pub first: u8,
    /// What follows the fixed header.
    pub body: &'a [u8],
    /// The size of all of it, fixed header included.
    pub len: usize,
}

/// A PUBLISH as it was received.
pub struct Publish<'a> {
    /// 0, 1 or 2.
    pub qos: u8,
    pub retain: bool,
    pub topic: &'a [u8],
    /// 0 at QoS 0.
    pub id: u16,
    pub payload: &'a [u8],
}

/// What of a CONNACK matters.
pub struct Connack {
    /// Return code or reason code.
    pub reason: u8,
    /// How many QoS 1 and 2 publishes may be unacknowledged (3.1.1: 65,535).
    pub receive_maximum: u16,
}

/// The bytes are not a packet that a broker may send.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

const CUT: Malformed = Malformed("a packet that ends inside a field");

/// The packet at the front, if all of it is there.
pub fn front(bytes: &[u8]) -> Result<Option<Packet<'_>>, Malformed> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let Some((body_len, used)) = varint(&bytes[1..])? else { return Ok(None) };
    let len = 1 + used + body_len;
    Ok(bytes.get(1 + used..len).map(|body| Packet { first, body, len }))
}

/// Reads a PUBLISH.
pub fn publish<'a>(packet: &Packet<'a>, version: Version) -> Result<Publish<'a>, Malformed> {
    let (topic, mut rest) = string(packet.body)?;
    let qos = packet.first >> 1 & 3;
    let mut id = 0;
    if qos > 0 {
        id = u16_at(rest)?;
        rest = &rest[2..];
    }
    if version == Version::V5 {
        rest = properties(rest)?.1;
    }
    Ok(Publish { qos, retain: packet.first & 1 == 1, topic, id, payload: rest })
}

/// Reads the body of a CONNACK.
pub fn connack(body: &[u8], version: Version) -> Result<Connack, Malformed> {
    let [_, reason, rest @ ..] = body else { return Err(CUT) };
    let mut receive_maximum = u16::MAX;
    if version == Version::V5 && !rest.is_empty() {
        let mut left = properties(rest)?.0;
        while let Some((&id, value)) = left.split_first() {
            if id == 0x21 {
                receive_maximum = u16_at(value)?;
            }
            left = value.get(property_len(id, value)?..).ok_or(CUT)?;
        }
    }
    Ok(Connack { reason: *reason, receive_maximum })
}

/// The packet id and the reason code (0 where left off) of PUBACK, PUBREC, PUBREL and PUBCOMP.
pub fn acknowledged(body: &[u8]) -> Result<(u16, u8), Malformed> {
    Ok((u16_at(body)?, body.get(2).copied().unwrap_or(0)))
}

/// The reason codes of a SUBACK.
pub fn suback(body: &[u8], version: Version) -> Result<&[u8], Malformed> {
    let rest = body.get(2..).ok_or(CUT)?;
    if version == Version::V5 { Ok(properties(rest)?.1) } else { Ok(rest) }
}

/// What a client says in its CONNECT.
pub struct Connect<'a> {
    pub version: Version,
    pub client_id: &'a str,
    /// Its session ends with the connection, and begins anew.
    pub clean: bool,
    /// Seconds; 0 turns it off.
    pub keep_alive: u16,
    pub user_name: Option<&'a str>,
    pub password: Option<&'a str>,
}

impl Connect<'_> {
    /// Appends the packet; it has no will.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', self.version as u8, u8::from(self.clean) << 1];
        body[7] |= u8::from(self.user_name.is_some()) << 7 | u8::from(self.password.is_some()) << 6;
        body.extend_from_slice(&self.keep_alive.to_be_bytes());
        if self.version == Version::V5 {
            body.push(0);
        }
        for field in [Some(self.client_id), self.user_name, self.password].into_iter().flatten() {
            put_string(&mut body, field.as_bytes());
        }
        put_header(out, 0x10, body.len());
        out.extend_from_slice(&body);
    }
}

/// Appends a SUBSCRIBE with packet id 1.
pub fn put_subscribe<'a>(out: &mut Vec<u8>, version: Version, filters: impl Iterator<Item = (&'a str, u8)>) {
    let mut body = vec![0, 1];
    if version == Version::V5 {
        body.push(0);
    }
    for (filter, qos) in filters {
        put_string(&mut body, filter.as_bytes());
        body.push(qos);
    }
    put_header(out, 0x82, body.len());
    out.extend_from_slice(&body);
}

/// Appends a PUBLISH; `id` is left out at QoS 0.
pub fn put_publish(out: &mut Vec<u8>, version: Version, message: &Publish<'_>) {
    let fields = 2 * usize::from(message.qos > 0) + usize::from(version == Version::V5);
    put_header(
        out,
        0x30 | message.qos << 1 | u8::from(message.retain),
        2 + message.topic.len() + fields + message.payload.len(),
    );
    put_string(out, message.topic);
    if message.qos > 0 {
        out.extend_from_slice(&message.id.to_be_bytes());
    }
    if version == Version::V5 {
        out.push(0);
    }
    out.extend_from_slice(message.payload);
}

/// Appends PUBACK (0x40), PUBREC (0x50), PUBREL (0x62) or PUBCOMP (0x70), success.
pub fn put_ack(out: &mut Vec<u8>, first: u8, id: u16) {
    let [high, low] = id.to_be_bytes();
    out.extend_from_slice(&[first, 2, high, low]);
}

/// PINGREQ.
pub const PINGREQ: [u8; 2] = [0xC0, 0];
/// DISCONNECT, normal.
pub const DISCONNECT: [u8; 2] = [0xE0, 0];

fn put_header(out: &mut Vec<u8>, first: u8, mut len: usize) {
    out.push(first);
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
}

fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).expect("names are checked against 65,535 bytes on the command line");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
}

fn u16_at(bytes: &[u8]) -> Result<u16, Malformed> {
    let (value, _) = bytes.split_first_chunk().ok_or(CUT)?;
    Ok(u16::from_be_bytes(*value))
}

fn string(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let len = usize::from(u16_at(bytes)?);
    bytes[2..].split_at_checked(len).ok_or(CUT)
}

/// Splits off properties: (they, the rest).
fn properties(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (len, used) = varint(bytes)?.ok_or(CUT)?;
    bytes[used..].split_at_checked(len).ok_or(CUT)
}

/// How many bytes the value of a property takes.
fn property_len(id: u8, value: &[u8]) -> Result<usize, Malformed> {
    Ok(match id {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2A => 1,
        0x13 | 0x21..=0x23 => 2,
        0x02 | 0x11 | 0x18 | 0x27 => 4,
        0x0B => varint(value)?.ok_or(CUT)?.1,
        0x26 => {
            let (name, rest) = string(value)?;
            4 + name.len() + string(rest)?.0.len()
        }
        0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => 2 + string(value)?.0.len(),
        _ => return Err(Malformed("an unknown property")),
    })
}

/// A variable byte integer and how many bytes it took, or `None` where more bytes are needed.
fn varint(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= 4 { Err(Malformed("a length of more than four bytes")) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PUBLISH comes back as it was written, in both versions and at every QoS, and only when it is whole.
    #[test]
    fn publish_round_trip() {
        for version in [Version::V311, Version::V5] {
            for qos in 0..3 {
                let payload = vec![7; 300];
                let mut out = Vec::new();
                let id = if qos > 0 { 0x1234 } else { 0 };
                put_publish(
                    &mut out,
                    version,
                    &Publish { qos, retain: qos == 1, topic: b"a/b", id, payload: &payload },
                );
                for cut in 0..out.len() {
                    assert!(front(&out[..cut]).unwrap().is_none());
                }
                let packet = front(&out).unwrap().unwrap();
                assert_eq!(packet.len, out.len());
                let read = publish(&packet, version).unwrap();
                let expected = (qos, qos == 1, &b"a/b"[..], id, &payload[..]);
                assert_eq!((read.qos, read.retain, read.topic, read.id, read.payload), expected);
            }
        }
    }

    /// Receive Maximum is found among other properties, whatever their types.
    #[test]
    fn receive_maximum_is_found() {
        let body = [0, 0, 17, 0x22, 0, 10, 0x26, 0, 1, b'k', 0, 1, b'v', 0x27, 0, 0, 1, 0, 0x21, 0, 20];
        let mut body = body.to_vec();
        body[2] = (body.len() - 3) as u8;
        assert_eq!(connack(&body, Version::V5).unwrap().receive_maximum, 20);
        assert_eq!(connack(&[0, 0], Version::V311).unwrap().receive_maximum, u16::MAX);
        assert!(connack(&[0, 0, 2, 0x21, 0], Version::V5).is_err());
    }

    /// CONNECT and SUBSCRIBE have exactly the bytes of the standard's layout.
    #[test]
    fn connect_and_subscribe_bytes() {
        let mut out = Vec::new();
        let connect = Connect {
            version: Version::V311,
            client_id: "c",
            clean: true,
            keep_alive: 10,
            user_name: None,
            password: None,
        };
        connect.write(&mut out);
        assert_eq!(out, [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 10, 0, 1, b'c']);
        out.clear();
        put_subscribe(&mut out, Version::V5, [("t", 2)].into_iter());
        assert_eq!(out, [0x82, 7, 0, 1, 0, 0, 1, b't', 2]);
    }
}
