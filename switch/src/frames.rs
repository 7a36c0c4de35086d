//! What a frame says, in the switch's terms.

use std::time::Duration;

use shard::Instant;
use wire::frame::{Frame, FrameHeader};
use wire::mqtt::QoS;

/// Bit of [`FrameHeader::flags`]: the RETAIN flag of the PUBLISH.
pub const RETAIN: u8 = 1;
/// Bit of [`FrameHeader::flags`]: made by the switch itself.
pub const OWN: u8 = 2;

/// A frame that this process wrote.
pub fn read(bytes: &[u8]) -> Frame<'_> {
    Frame::read(bytes).expect("a frame of this process is whole")
}

/// Bytes of a frame, its header included.
pub fn len(frame: &Frame<'_>) -> usize {
    Frame::bytes_len(frame.topic.len(), frame.properties.len(), frame.payload.len())
}

/// Writes a frame into as many bytes as [`len`] says.
pub fn write(frame: &Frame<'_>, out: &mut [u8]) {
    Frame::write(&frame.header, frame.topic, std::iter::once(frame.properties), frame.payload, out);
}

/// QoS of the publish.
pub fn qos(frame: &Frame<'_>) -> QoS {
    QoS::from_bits(frame.header.qos).expect("frames carry a QoS")
}

/// RETAIN flag of the publish.
pub fn retain(frame: &Frame<'_>) -> bool {
    frame.header.flags & RETAIN != 0
}

/// Made by the switch itself: `$SYS`.
pub fn own(frame: &Frame<'_>) -> bool {
    frame.header.flags & OWN != 0
}

/// Whether its publisher is told in front of its properties ([`FrameHeader::SOURCED`]).
pub fn is_sourced(frame: &Frame<'_>) -> bool {
    frame.header.flags & FrameHeader::SOURCED != 0
}

/// What the publisher of a sourced frame is called, and the frame without it.
pub fn split_source<'a>(frame: &Frame<'a>) -> (&'a [u8], Frame<'a>) {
    let (len, rest) = frame.properties.split_first_chunk().expect("a sourced frame has a source");
    let (source, properties) = rest.split_at(usize::from(u16::from_le_bytes(*len)));
    let flags = frame.header.flags & !FrameHeader::SOURCED;
    let header = FrameHeader { flags, properties_len: properties.len() as u32, ..frame.header };
    (source, Frame { header, properties, ..*frame })
}

/// The Message Expiry Interval to forward: whole seconds left, rounded up; `None` without one ([MQTT-3.3.2-6]).
pub fn expiry_left(frame: &Frame<'_>, now: Instant) -> Option<u32> {
    let expires = frame.header.expires;
    (expires != u64::MAX).then(|| expires.saturating_sub(now.as_nanos()).div_ceil(1_000_000_000) as u32)
}

/// Whether the message has expired ([MQTT-3.3.2-5]).
pub fn expired(frame: &Frame<'_>, now: Instant) -> bool {
    frame.header.expires <= now.as_nanos()
}

/// When a message with this Message Expiry Interval expires, bounded by `max` where that is not zero.
pub fn expires(interval: Option<u32>, max: Duration, now: Instant) -> u64 {
    let asked = interval.map(|seconds| Duration::from_secs(u64::from(seconds)));
    let bound = (!max.is_zero()).then_some(max);
    match (asked, bound) {
        (None, None) => u64::MAX,
        (Some(interval), None) | (None, Some(interval)) => now.after(interval).as_nanos(),
        (Some(asked), Some(bound)) => now.after(asked.min(bound)).as_nanos(),
    }
}

/// The header of a frame, its lengths filled in.
pub fn header(topic: &str, properties_len: usize, payload: &[u8]) -> FrameHeader {
    FrameHeader {
        topic_len: topic.len() as u32,
        properties_len: properties_len as u32,
        payload_len: payload.len() as u32,
        expires: u64::MAX,
        version: 1,
        ..FrameHeader::default()
    }
}

/// A frame in bytes of its own.
pub fn to_vec(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = vec![0; len(frame)];
    write(frame, &mut bytes);
    bytes
}
