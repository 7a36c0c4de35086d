//! The deframer against a plain reading of section 2.1, at every split and limit.

use wire::Malformed;
use wire::mqtt::{Deframed, RawPacket, deframe, deframe_connect};

use super::packet;

/// A stream of at most `packet_bytes_max` bytes a packet yields the packets that [`front`] finds, until it is wrong or
/// at its end, however it was cut: `cuts` are the sizes of the pieces that it comes in, over and over. Each packet
/// keeps [`packet`]'s laws.
pub fn stream(bytes: &[u8], cuts: &[u8], packet_bytes_max: u32) {
    let mut rest = bytes;
    let mut packets = Vec::new();
    let end = loop {
        let found = deframe(rest, packet_bytes_max);
        assert_eq!(found.map_err(drop), front(rest, packet_bytes_max), "{rest:02x?}");
        let Ok(Deframed::Packet(raw)) = found else { break found.err() };
        for cut in [0, 1, 2, 3, 4, 5, raw.len / 2, raw.len - 1] {
            prefix(rest, cut.min(raw.len - 1), packet_bytes_max);
        }
        packet(&raw);
        packets.push(raw);
        rest = &rest[raw.len..];
    };
    for cut in 0..rest.len().min(6) {
        prefix(rest, cut, packet_bytes_max);
    }
    in_pieces(bytes, cuts, packet_bytes_max, &packets, end);

    let first = deframe_connect(bytes, packet_bytes_max);
    match bytes.first() {
        Some(byte) if byte >> 4 != 1 => assert_eq!(first, Err(Malformed::FirstPacketNotConnect)),
        _ => assert_eq!(first, deframe(bytes, packet_bytes_max)),
    }
}

/// What stands at the front of `bytes`, told without any care for speed.
fn front(bytes: &[u8], packet_bytes_max: u32) -> Result<Deframed<'_>, ()> {
    let Some(&first) = bytes.first() else { return Ok(Deframed::Incomplete { at_least: 2 }) };
    let flags_fit = match first >> 4 {
        0 => false,
        3 => matches!(first & 0b1111, 0 | 1 | 2 | 3 | 4 | 5 | 10 | 11 | 12 | 13),
        6 | 8 | 10 => first & 0b1111 == 2,
        _ => first & 0b1111 == 0,
    };
    if !flags_fit {
        return Err(());
    }
    let length: Vec<u8> =
        bytes[1..].iter().scan(true, |more, &byte| more.then(|| (*more = byte >= 0x80, byte).1)).collect();
    if length.len() > 4 || length.len() == 4 && length[3] >= 0x80 {
        return Err(());
    }
    if length.last().is_none_or(|&byte| byte >= 0x80) {
        return Ok(Deframed::Incomplete { at_least: bytes.len() + 1 });
    }
    let remaining = length.iter().rev().fold(0, |sum, &byte| sum * 128 + usize::from(byte & 0x7f));
    let header = 1 + length.len();
    let len = header + remaining;
    if len > packet_bytes_max as usize {
        Err(())
    } else if len > bytes.len() {
        Ok(Deframed::Incomplete { at_least: len })
    } else {
        Ok(Deframed::Packet(RawPacket { first, body: &bytes[header..len], len }))
    }
}

/// What the first `cut` bytes tell is not taken back by the rest.
fn prefix(bytes: &[u8], cut: usize, packet_bytes_max: u32) {
    let whole = deframe(bytes, packet_bytes_max);
    let exact: Box<[u8]> = bytes[..cut].into();
    match deframe(&exact, packet_bytes_max) {
        Ok(Deframed::Packet(raw)) => assert_eq!(whole, Ok(Deframed::Packet(raw))),
        Err(error) => assert_eq!(whole, Err(error)),
        Ok(Deframed::Incomplete { at_least }) => {
            assert!(at_least > cut);
            match whole {
                Ok(Deframed::Packet(raw)) => assert!(raw.len >= at_least),
                Ok(Deframed::Incomplete { at_least: later }) => assert!(later >= at_least),
                Err(_) => {}
            }
        }
    }
}

/// A receiver that keeps what it could not use yet, and looks again when the bytes that were asked for are there, sees
/// the same packets and the same end.
fn in_pieces(bytes: &[u8], cuts: &[u8], packet_bytes_max: u32, packets: &[RawPacket<'_>], end: Option<Malformed>) {
    let mut sizes = cuts.iter().map(|&size| usize::from(size).max(1)).cycle();
    let (mut seen, mut start, mut arrived, mut wanted) = (0, 0, 0, 2);
    while arrived < bytes.len() {
        arrived = bytes.len().min(arrived + sizes.next().unwrap_or(1));
        while arrived - start >= wanted {
            // As a receive buffer holds it: nothing behind what has arrived.
            let exact: Box<[u8]> = bytes[start..arrived].into();
            match deframe(&exact, packet_bytes_max) {
                Ok(Deframed::Packet(raw)) => {
                    assert!(raw.len >= wanted);
                    assert_eq!(packets.get(seen), Some(&raw));
                    (seen, start, wanted) = (seen + 1, start + raw.len, 2);
                }
                Ok(Deframed::Incomplete { at_least }) => {
                    assert!(at_least > exact.len() && at_least >= wanted);
                    wanted = at_least;
                    break;
                }
                Err(error) => return assert_eq!((seen, Some(error)), (packets.len(), end)),
            }
        }
    }
    // A single wrong byte at the end is not looked at.
    assert!(seen == packets.len() && (end.is_none() || arrived - start < 2));
}
