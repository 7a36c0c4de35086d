//! As much MQTT as lets a real client connect, subscribe and publish at QoS 0, with fixed answers.

/// A packet at the front of a byte stream.
pub struct Packet<'a> {
    /// The first byte: type and flags.
    pub first: u8,
    /// What follows the fixed header.
    pub body: &'a [u8],
    /// The whole packet, as it came.
    pub bytes: &'a [u8],
}

/// The stream is not MQTT, or asks for what `floor` does not do.
#[derive(Debug, PartialEq, Eq)]
pub struct Unsupported;

/// CONNACK, accepted; for version 4 the property length is left off.
pub const fn connack(version: u8) -> &'static [u8] {
    if version == 5 { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] }
}

/// PINGRESP.
pub const PINGRESP: &[u8] = &[0xD0, 0];

/// The packet at the front, if all of it is there.
pub fn front(bytes: &[u8]) -> Result<Option<Packet<'_>>, Unsupported> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let Some((len, used)) = varint(&bytes[1..])? else { return Ok(None) };
    let end = 1 + used + len;
    Ok(bytes.get(..end).map(|bytes| Packet { first, body: &bytes[1 + used..], bytes }))
}

/// The protocol level of a CONNECT.
pub fn connect_version(body: &[u8]) -> Result<u8, Unsupported> {
    match body {
        [0, 4, b'M', b'Q', b'T', b'T', version @ (4 | 5), ..] => Ok(*version),
        _ => Err(Unsupported),
    }
}

/// The topic of a PUBLISH.
pub fn topic(body: &[u8]) -> Result<&[u8], Unsupported> {
    string(body).map(|(topic, _)| topic)
}

/// Calls `each` for every filter of a SUBSCRIBE and returns the SUBACK that grants QoS 0 to all.
pub fn subscribe(body: &[u8], version: u8, mut each: impl FnMut(&[u8])) -> Result<Vec<u8>, Unsupported> {
    let (id, mut rest) = body.split_at_checked(2).ok_or(Unsupported)?;
    if version == 5 {
        let (len, used) = varint(rest)?.ok_or(Unsupported)?;
        rest = rest.get(used + len..).ok_or(Unsupported)?;
    }
    let mut answer = vec![id[0], id[1]];
    if version == 5 {
        answer.push(0);
    }
    while !rest.is_empty() {
        let (filter, after) = string(rest)?;
        rest = after.get(1..).ok_or(Unsupported)?;
        each(filter);
        answer.push(0);
    }
    let mut suback = vec![0x90];
    let mut len = answer.len();
    while len >= 0x80 {
        suback.push(len as u8 | 0x80);
        len >>= 7;
    }
    suback.push(len as u8);
    suback.extend_from_slice(&answer);
    Ok(suback)
}

fn string(bytes: &[u8]) -> Result<(&[u8], &[u8]), Unsupported> {
    let (len, rest) = bytes.split_at_checked(2).ok_or(Unsupported)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes([len[0], len[1]]))).ok_or(Unsupported)
}

/// A variable byte integer and how many bytes it took, or `None` where more bytes are needed.
fn varint(bytes: &[u8]) -> Result<Option<(usize, usize)>, Unsupported> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= 4 { Err(Unsupported) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet is found only when its last byte is there.
    #[test]
    fn front_waits_for_the_whole_packet() {
        let publish = [0x30, 5, 0, 1, b't', 7, 8, 0xC0];
        for cut in 0..7 {
            assert!(front(&publish[..cut]).unwrap().is_none());
        }
        let packet = front(&publish).unwrap().unwrap();
        assert_eq!((packet.first, topic(packet.body).unwrap(), packet.bytes.len()), (0x30, &b"t"[..], 7));
        assert!(front(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]).is_err());
    }

    /// Both versions of SUBSCRIBE are answered with a code for each filter, however many.
    #[test]
    fn subscribe_grants_each_filter() {
        let mut seen = Vec::new();
        let suback = subscribe(&[0, 9, 0, 1, b'a', 0, 0, 1, b'b', 1], 4, |f| seen.push(f.to_vec())).unwrap();
        assert_eq!(suback, [0x90, 4, 0, 9, 0, 0]);
        assert_eq!(seen, [b"a", b"b"]);
        assert_eq!(subscribe(&[0, 9, 0, 0, 1, b'a', 0], 5, |_| {}).unwrap(), [0x90, 4, 0, 9, 0, 0]);
        let many = [&[0, 9][..], &[0, 1, b'a', 0].repeat(200)].concat();
        assert_eq!(subscribe(&many, 4, |_| {}).unwrap()[..5], [0x90, 202, 1, 0, 9]);
        assert!(subscribe(&[0, 9, 0, 9, b'a'], 4, |_| {}).is_err());
    }
}
