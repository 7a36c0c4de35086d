//! Bytes in, whole packets out, however the stream was split.

use super::header::PacketType;
use super::varint;
use crate::error::Malformed;

/// A whole packet, found but not looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPacket<'a> {
    /// The first byte: packet type and flags.
    pub first: u8,
    /// What follows the fixed header; as long as the Remaining Length says.
    pub body: &'a [u8],
    /// Bytes of the whole packet, fixed header included: where the next one begins.
    pub len: usize,
}

impl RawPacket<'_> {
    /// The packet's type, its flags checked.
    #[inline]
    pub fn packet_type(&self) -> Result<PacketType, Malformed> {
        PacketType::parse(self.first)
    }

    /// Whether the Remaining Length has its shortest form: a statement of MQTT 5.0 \[MQTT-1.5.5-1\] that 3.1.1 lacks,
    /// whose clients may pad it.
    #[inline]
    pub(crate) fn check_length_form(&self) -> Result<(), Malformed> {
        let header_len = 1 + varint::len(self.body.len() as u32);
        if self.len == header_len + self.body.len() { Ok(()) } else { Err(Malformed::OverlongInteger) }
    }
}

/// What the front of a byte stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deframed<'a> {
    /// A whole packet.
    Packet(RawPacket<'a>),
    /// The beginning of one.
    Incomplete {
        /// The packet, from its first byte, has at least this many bytes; more than there are.
        at_least: usize,
    },
}

/// Looks at the front of `bytes` for a packet of at most `packet_bytes_max` bytes, fixed header included.
///
/// A wrong first byte is an error as soon as it is there, and a packet too large as soon as its length is: nobody has
/// to collect bytes of a packet that will be refused. Decides by the bytes alone, so any split of a stream gives the
/// same packets.
#[inline]
pub fn deframe(bytes: &[u8], packet_bytes_max: u32) -> Result<Deframed<'_>, Malformed> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(Deframed::Incomplete { at_least: 2 });
    };
    PacketType::parse(first)?;
    let Some((remaining, length_bytes)) = varint::read(rest)? else {
        return Ok(Deframed::Incomplete { at_least: bytes.len() + 1 });
    };
    let header_len = 1 + length_bytes;
    let len = header_len + remaining as usize;
    if len > packet_bytes_max as usize {
        return Err(Malformed::PacketTooLarge);
    }
    match bytes.get(header_len..len) {
        Some(body) => Ok(Deframed::Packet(RawPacket { first, body, len })),
        None => Ok(Deframed::Incomplete { at_least: len }),
    }
}

/// The same for the first packet of a connection, which is a CONNECT \[MQTT-3.1.0-1\] of at most `connect_bytes_max`
/// bytes; anything else is an error at its first byte.
pub fn deframe_connect(bytes: &[u8], connect_bytes_max: u32) -> Result<Deframed<'_>, Malformed> {
    match bytes.first() {
        Some(&first) if first >> 4 != PacketType::Connect as u8 => Err(Malformed::FirstPacketNotConnect),
        _ => deframe(bytes, connect_bytes_max),
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::limits::PACKET_BYTES_MAX;
    use crate::mqtt::ReasonCode;

    /// A stream cut anywhere says how much is missing, never too much, and then yields the packet.
    #[test]
    fn cuts_tell_what_is_missing() {
        let mut stream = vec![0x30, 0x80, 0x01];
        stream.resize(3 + 128, 7);
        for (cut, at_least) in (0..3).map(|cut| (cut, cut.max(1) + 1)).chain((3..131).map(|cut| (cut, 131))) {
            assert_eq!(deframe(&stream[..cut], PACKET_BYTES_MAX), Ok(Deframed::Incomplete { at_least }), "cut {cut}");
        }
        let whole = Ok(Deframed::Packet(RawPacket { first: 0x30, body: &[7; 128], len: 131 }));
        assert_eq!(deframe(&stream, PACKET_BYTES_MAX), whole);
        stream.push(0xc0);
        assert_eq!(deframe(&stream, PACKET_BYTES_MAX), whole);
    }

    /// The limit is on the whole packet and holds before its body is there: at n, not at n + 1.
    #[test]
    fn packets_too_large_are_refused_by_their_header() {
        assert_eq!(deframe(&[0x30, 0x08], 10), Ok(Deframed::Incomplete { at_least: 10 }));
        let refused = deframe(&[0x30, 0x09], 10);
        assert_eq!(refused, Err(Malformed::PacketTooLarge));
        assert_eq!(refused.map_err(Malformed::reason), Err(ReasonCode::PacketTooLarge));
        assert_eq!(deframe(&[0x30, 0xff, 0xff, 0xff, 0x7f], PACKET_BYTES_MAX - 1), Err(Malformed::PacketTooLarge));
        let at_least = PACKET_BYTES_MAX as usize;
        assert_eq!(deframe(&[0x30, 0xff, 0xff, 0xff, 0x7f], PACKET_BYTES_MAX), Ok(Deframed::Incomplete { at_least }));
    }

    /// A Remaining Length has at most four bytes.
    #[test]
    fn lengths_of_five_bytes_are_refused() {
        assert_eq!(deframe(&[0x30, 0xff, 0xff, 0xff, 0xff], u32::MAX), Err(Malformed::IntegerTooLong));
        assert_eq!(deframe(&[0x30, 0x80, 0x80, 0x80, 0x80, 0x00], u32::MAX), Err(Malformed::IntegerTooLong));
    }

    /// Wrong first bytes are refused at once.
    #[test]
    fn first_bytes_are_checked_at_once() {
        assert_eq!(deframe(&[0x60], 10), Err(Malformed::ReservedFlags));
        assert_eq!(deframe(&[0x00], 10), Err(Malformed::ReservedPacketType));
        for first in (0..=255u8).filter(|first| first >> 4 != 1) {
            assert_eq!(deframe_connect(&[first], 10), Err(Malformed::FirstPacketNotConnect));
        }
        assert_eq!(deframe_connect(&[0x11], 10), Err(Malformed::ReservedFlags));
        assert_eq!(deframe_connect(&[], 10), Ok(Deframed::Incomplete { at_least: 2 }));
        assert_eq!(deframe_connect(&[0x10, 9], 10), Err(Malformed::PacketTooLarge));
    }

    /// A padded Remaining Length is read; the decoders of MQTT 5.0 refuse it.
    #[test]
    fn padded_lengths() {
        let padded: Vec<u8> = vec![0xc0, 0x80, 0x00];
        let Ok(Deframed::Packet(raw)) = deframe(&padded, 10) else { panic!("not a packet") };
        assert_eq!((raw.body.len(), raw.len), (0, 3));
        assert_eq!(raw.check_length_form(), Err(Malformed::OverlongInteger));
    }
}
