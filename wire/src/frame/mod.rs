//! What cores exchange: one message, in the form that the switch holds it in.
//!
//! ```text
//!    0           8           16          24          32          40          48
//!    ┌───────────┬───────────┬───────────┬───────────┬───────────┬───────────┐
//!    │ arrived   │ expires   │ publisher │ connection│ number    │ topic hash│
//!    ├────────┬──┴─────┬─────┴────────┬──┴────────┬──┴──┬───────┬┴──────┬────┴────┐
//!    │ topic  │ packet │ properties   │ payload   │ QoS │ flags │ class │ version │
//!    │ length │ id     │ length       │ length    │     │       │       │         │
//!    48       50       52             56          60    61      62      63        64
//!    ├────────┴────────┬──────────────┴──┬────────┴─────┴───────┴───────┴─────────┘
//!    │ topic           │ properties      │ payload, unless it travels beside
//!    └─────────────────┴─────────────────┴──────────────────────────────────
//! ```
//!
//! The header is an rkyv archive of unaligned little-endian integers, so a frame may lie at any address. A frame is
//! written once, straight into a ring, and read where it lies.

use core::fmt;

use rkyv::api::low;
use rkyv::rancor::Failure;
use rkyv::ser::allocator::SubAllocator;
use rkyv::ser::writer::Buffer;
use rkyv::{Archive, Deserialize, Serialize};

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct FrameHeader {
    /// When the message arrived, in nanoseconds of the shard's clock.
    pub arrived: u64,
    /// When nobody wants it any more, in nanoseconds of the shard's clock; `u64::MAX`: never.
    pub expires: u64,
    /// Stable hash of the publisher's client identifier, for No Local.
    pub publisher: u64,
    /// Slot and generation of the publisher's connection at its shard.
    pub connection: u64,
    /// Number of the publish on that connection, and in the upper half how often its packet identifier had been
    /// released before, where that marks it.
    pub number: u64,
    /// Hash of the topic by placement.
    pub topic_hash: u64,
    /// Bytes of the topic, and in the upper half its packet identifier, where that marks it
    /// ([`FrameHeader::packet_id`]). One field of four bytes is cheaper to write than two of two.
    pub topic_len: u32,
    /// Bytes of the properties.
    pub properties_len: u32,
    /// Bytes of the payload, wherever it is.
    pub payload_len: u32,
    /// Quality of service that it was published with: 0, 1 or 2.
    pub qos: u8,
    /// [`FrameHeader::RETAIN`], [`FrameHeader::FROM_SWITCH`], [`FrameHeader::MARKED`], [`FrameHeader::SOURCED`].
    pub flags: u8,
    /// Index of its delivery class.
    pub class: u8,
    /// Layout of the frame: [`FrameHeader::VERSION`].
    pub version: u8,
}

impl FrameHeader {
    /// Bytes of a header.
    pub const BYTES: usize = size_of::<ArchivedFrameHeader>();
    /// The layout that this crate writes, and the only one that it reads.
    pub const VERSION: u8 = 1;
    /// Flag: published with RETAIN.
    pub const RETAIN: u8 = 1 << 0;
    /// Flag: made by the switch itself, not by a client.
    pub const FROM_SWITCH: u8 = 1 << 1;

    /// Flag: publisher, packet identifier and the upper half of the number tell a repeat of it (QoS 2).
    pub const MARKED: u8 = 1 << 2;

    /// Flag: the properties begin with what the publisher is called, behind its length in two bytes, little endian. It is
    /// for who judges a retained message later, and never for a client.
    pub const SOURCED: u8 = 1 << 3;

    const FLAGS: u8 = FrameHeader::RETAIN | FrameHeader::FROM_SWITCH | FrameHeader::MARKED | FrameHeader::SOURCED;

    /// Its packet identifier, where that marks it; else 0.
    pub const fn packet_id(&self) -> u16 {
        (self.topic_len >> 16) as u16
    }

    /// The same header with this packet identifier.
    pub const fn with_packet_id(self, packet_id: u16) -> FrameHeader {
        FrameHeader { topic_len: self.topic_len & 0xffff | (packet_id as u32) << 16, ..self }
    }

    /// The packet identifier and the length of a topic in one.
    fn topic_field(&self, topic: &str) -> u32 {
        self.topic_len & 0xffff_0000 | u32::from(u16::try_from(topic.len()).expect("a topic has at most 65,535 bytes"))
    }

    /// Whether it was published with RETAIN.
    pub const fn retain(&self) -> bool {
        self.flags & FrameHeader::RETAIN != 0
    }

    /// Whether the switch itself made it.
    pub const fn from_switch(&self) -> bool {
        self.flags & FrameHeader::FROM_SWITCH != 0
    }
}

const _: () = assert!(FrameHeader::BYTES == 64, "one cache line");
const _: () = assert!(align_of::<ArchivedFrameHeader>() == 1, "a frame may lie at any address");

/// A frame, borrowed from where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its fixed part.
    pub header: FrameHeader,
    /// The topic name.
    pub topic: &'a str,
    /// The property bytes that are passed on as they are; checked where they were received.
    pub properties: &'a [u8],
    /// The message itself.
    pub payload: &'a [u8],
}

/// What is wrong with the bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameError {
    /// Shorter than a header.
    Truncated,
    /// Of another layout.
    Version(u8),
    /// The lengths in the header and the bytes that are there disagree.
    Length,
    /// QoS over 2, or unknown flags.
    Flags,
    /// The topic is not UTF-8.
    Topic,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Truncated => f.write_str("a frame is shorter than its header"),
            FrameError::Version(version) => write!(f, "a frame has layout {version}, not {}", FrameHeader::VERSION),
            FrameError::Length => f.write_str("a frame is not as long as its header says"),
            FrameError::Flags => f.write_str("a frame has an unknown QoS or flag"),
            FrameError::Topic => f.write_str("a frame's topic is not UTF-8"),
        }
    }
}

impl core::error::Error for FrameError {}

impl<'a> Frame<'a> {
    /// Bytes of a header.
    pub const HEADER_BYTES: usize = FrameHeader::BYTES;

    /// Bytes of a frame with so many bytes of topic, properties and payload; a payload that travels beside counts 0.
    #[inline]
    pub const fn bytes_len(topic: usize, properties: usize, inline_payload: usize) -> usize {
        FrameHeader::BYTES + topic + properties + inline_payload
    }

    /// Writes a frame to the front of `out` and returns its length.
    ///
    /// `topic_len`, `properties_len` and `version` of the header are filled in, whatever it says. Its `payload_len` is
    /// the caller's: that of `payload`, or of one that travels beside the frame, in which case `payload` is empty.
    ///
    /// Panics where `out` is shorter than the frame, or `payload` is neither empty nor `payload_len` long.
    #[inline]
    pub fn write<'p>(
        header: &FrameHeader,
        topic: &str,
        properties: impl Iterator<Item = &'p [u8]>,
        payload: &[u8],
        out: &mut [u8],
    ) -> usize {
        assert!(
            payload.is_empty() || payload.len() == header.payload_len as usize,
            "payload_len is not that of the payload"
        );
        let (archived, body) = out.split_at_mut(FrameHeader::BYTES);
        let mut at = put(body, 0, topic.as_bytes());
        for bytes in properties {
            at = put(body, at, bytes);
        }
        let header = FrameHeader {
            topic_len: header.topic_field(topic),
            properties_len: (at - topic.len()) as u32,
            version: FrameHeader::VERSION,
            ..*header
        };
        archive(&header, archived);
        FrameHeader::BYTES + put(body, at, payload)
    }

    /// The archived header of this frame, its lengths and version filled in: what stands before topic, properties and
    /// payload.
    pub fn head(&self) -> [u8; FrameHeader::BYTES] {
        let mut head = [0; FrameHeader::BYTES];
        let header = FrameHeader {
            topic_len: self.header.topic_field(self.topic),
            properties_len: self.properties.len() as u32,
            payload_len: self.payload.len() as u32,
            version: FrameHeader::VERSION,
            ..self.header
        };
        archive(&header, &mut head);
        head
    }

    /// Reads a frame that is all of `bytes`, payload included.
    #[inline]
    pub fn read(bytes: &'a [u8]) -> Result<Frame<'a>, FrameError> {
        let (frame, payload) = read_parts(bytes)?;
        if payload.len() == frame.header.payload_len as usize {
            Ok(Frame { payload, ..frame })
        } else {
            Err(FrameError::Length)
        }
    }

    /// Reads a frame whose payload travels beside it: `bytes` hold the rest.
    #[inline]
    pub fn read_external(bytes: &'a [u8], payload: &'a [u8]) -> Result<Frame<'a>, FrameError> {
        let (frame, inline) = read_parts(bytes)?;
        if inline.is_empty() && payload.len() == frame.header.payload_len as usize {
            Ok(Frame { payload, ..frame })
        } else {
            Err(FrameError::Length)
        }
    }
}

/// Copies `bytes` to `at` and returns where they end.
#[inline]
fn put(out: &mut [u8], at: usize, bytes: &[u8]) -> usize {
    let end = at + bytes.len();
    out[at..end].copy_from_slice(bytes);
    end
}

/// Archives the header into exactly as many bytes as it takes. Nothing is allocated: a header has no part out of line.
#[inline]
fn archive(header: &FrameHeader, out: &mut [u8]) {
    let written = low::to_bytes_in_with_alloc::<_, _, Failure>(header, Buffer::from(out), SubAllocator::new(&mut []));
    assert!(written.is_ok_and(|written| written.len() == FrameHeader::BYTES));
}

/// A frame with an empty payload, and what follows its properties.
#[inline]
fn read_parts(bytes: &[u8]) -> Result<(Frame<'_>, &[u8]), FrameError> {
    let (header, body) = bytes.split_at_checked(FrameHeader::BYTES).ok_or(FrameError::Truncated)?;
    let archived = low::access::<ArchivedFrameHeader, Failure>(header).map_err(|_| FrameError::Truncated)?;
    let header: FrameHeader = low::deserialize::<_, Failure>(archived).map_err(|_| FrameError::Truncated)?;
    if header.version != FrameHeader::VERSION {
        return Err(FrameError::Version(header.version));
    }
    if header.qos > 2 || header.flags & !FrameHeader::FLAGS != 0 {
        return Err(FrameError::Flags);
    }
    let (topic, body) = body.split_at_checked((header.topic_len & 0xffff) as usize).ok_or(FrameError::Length)?;
    let (properties, rest) = body.split_at_checked(header.properties_len as usize).ok_or(FrameError::Length)?;
    let topic = core::str::from_utf8(topic).map_err(|_| FrameError::Topic)?;
    Ok((Frame { header, topic, properties, payload: &[] }, rest))
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    fn header() -> FrameHeader {
        FrameHeader {
            arrived: 0x0102_0304_0506_0708,
            expires: u64::MAX,
            publisher: 3,
            connection: 4,
            number: 5,
            topic_hash: 6,
            topic_len: 7 << 16,
            properties_len: 0,
            payload_len: 2,
            qos: 1,
            flags: FrameHeader::RETAIN,
            class: 9,
            version: 0,
        }
    }

    fn written(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xaa; Frame::bytes_len(3, 4, payload.len()) + 1];
        let len = Frame::write(&header(), "a/b", [&[1, 2][..], &[3, 4]].into_iter(), payload, &mut bytes);
        assert_eq!((len, bytes.pop()), (bytes.len(), Some(0xaa)));
        bytes
    }

    /// The layout is the one drawn: little-endian, in the order of the fields, without gaps.
    #[test]
    fn layout() {
        let bytes = written(b"hi");
        assert_eq!(bytes[..8], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes[8..16], [0xff; 8]);
        for (field, value) in [(16, 3), (24, 4), (32, 5), (40, 6)] {
            assert_eq!(bytes[field..field + 8], [value, 0, 0, 0, 0, 0, 0, 0]);
        }
        assert_eq!(bytes[48..64], [3, 0, 7, 0, 4, 0, 0, 0, 2, 0, 0, 0, 1, 1, 9, 1]);
        assert_eq!(&bytes[64..], b"a/b\x01\x02\x03\x04hi");
    }

    /// A frame reads back at any address, with the lengths and the version that writing filled in.
    #[test]
    fn round_trip() {
        let bytes = written(b"hi");
        for shift in 0..8 {
            let mut shifted = vec![0; shift];
            shifted.extend_from_slice(&bytes);
            let frame = Frame::read(&shifted[shift..]).unwrap();
            let expected = FrameHeader { topic_len: 7 << 16 | 3, properties_len: 4, version: 1, ..header() };
            assert_eq!(frame.header, expected);
            assert_eq!((frame.topic, frame.properties, frame.payload), ("a/b", &[1, 2, 3, 4][..], &b"hi"[..]));
            assert!(frame.header.retain() && !frame.header.from_switch());
            assert_eq!((frame.header.packet_id(), header().with_packet_id(9).packet_id()), (7, 9));
        }
    }

    /// A payload beside the frame is the one that the header announced.
    #[test]
    fn external_payload() {
        let bytes = written(b"");
        assert_eq!(Frame::read(&bytes), Err(FrameError::Length));
        assert_eq!(Frame::read_external(&bytes, b"hi").map(|frame| frame.payload), Ok(&b"hi"[..]));
        assert_eq!(Frame::read_external(&bytes, b"h"), Err(FrameError::Length));
        assert_eq!(Frame::read_external(&written(b"hi"), b"hi"), Err(FrameError::Length));
    }

    /// Bytes that are no frame are refused, each cut of one included.
    #[test]
    fn refusals() {
        let bytes = written(b"hi");
        for cut in 0..bytes.len() {
            let error = if cut < FrameHeader::BYTES { FrameError::Truncated } else { FrameError::Length };
            assert_eq!(Frame::read(&bytes[..cut]), Err(error), "cut at {cut}");
        }
        let patched = |at: usize, value: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            Frame::read(&bytes).map(|_| ())
        };
        assert_eq!(patched(63, 2), Err(FrameError::Version(2)));
        assert_eq!(patched(60, 3), Err(FrameError::Flags));
        assert_eq!(patched(61, 16), Err(FrameError::Flags));
        assert_eq!(patched(64, 0xff), Err(FrameError::Topic));
        assert_eq!(patched(49, 0xff), Err(FrameError::Length));
        assert_eq!(patched(55, 0xff), Err(FrameError::Length));
        assert_eq!(patched(59, 0xff), Err(FrameError::Length));
        assert_eq!(Frame::read(&[bytes, vec![0]].concat()), Err(FrameError::Length));
    }

    /// A payload that contradicts its header is the writer's error.
    #[test]
    #[should_panic(expected = "payload_len")]
    fn payloads_have_their_length() {
        Frame::write(&header(), "", core::iter::empty(), b"h", &mut [0; 100]);
    }
}
