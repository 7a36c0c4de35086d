//! What each fuzz target does with its input: cut it into the arguments of a law, and hold the law to it.
//!
//! The targets and the replay of their corpora share this table, so that what a run has found is a case for ever.

use wire::mqtt::{self, Deframed, ProtocolVersion, decode_connect, decode_from_client};

use crate::grammar::Speaker;
use crate::packet::Version;
use crate::{journal, laws, records, tree};

/// What a target does with an input.
pub type Target = fn(&[u8]);

/// The name of each target, which is that of its corpus too, and what it does.
pub const TARGETS: [(&str, Target); 19] = [
    ("deframe", deframe),
    ("connect", connect),
    ("connack", connack),
    ("publish", publish),
    ("ack", ack),
    ("subscribe", subscribe),
    ("suback", suback),
    ("unsubscribe", unsubscribe),
    ("unsuback", unsuback),
    ("disconnect", disconnect),
    ("auth", auth),
    ("topics", topics),
    ("tree", tree::operations),
    ("frame", frame),
    ("session", session),
    ("websocket", websocket),
    ("handshake", handshake),
    ("journal", journal::damage),
    ("records", records::conversation),
];

/// A byte stream: the kind of limit, three sizes of pieces, then any packets.
pub fn deframe(input: &[u8]) {
    if let [limit, a, b, c, stream @ ..] = input {
        let limit = match limit >> 6 {
            0 => u32::from(*limit),
            1 => 1 << (limit & 0x1f),
            2 => stream.len() as u32 ^ u32::from(limit & 3),
            _ => u32::MAX,
        };
        laws::stream(stream, &[*a, *b, *c], limit);
    }
}

/// The body of a CONNECT.
pub fn connect(body: &[u8]) {
    laws::body(0x10, body);
}

/// The body of a CONNACK.
pub fn connack(body: &[u8]) {
    laws::body(0x20, body);
}

/// Flags in the first byte, then the body of a PUBLISH.
pub fn publish(input: &[u8]) {
    if let [flags, body @ ..] = input {
        laws::body(0x30 | flags & 0x0f, body);
    }
}

/// The body of PUBACK, PUBREC, PUBREL or PUBCOMP, as the first byte chooses.
pub fn ack(input: &[u8]) {
    if let [kind, body @ ..] = input {
        laws::body([0x40, 0x50, 0x62, 0x70][usize::from(kind & 0b11)], body);
    }
}

/// The body of a SUBSCRIBE.
pub fn subscribe(body: &[u8]) {
    laws::body(0x82, body);
}

/// The body of a SUBACK.
pub fn suback(body: &[u8]) {
    laws::body(0x90, body);
}

/// The body of an UNSUBSCRIBE.
pub fn unsubscribe(body: &[u8]) {
    laws::body(0xa2, body);
}

/// The body of an UNSUBACK.
pub fn unsuback(body: &[u8]) {
    laws::body(0xb0, body);
}

/// The body of a DISCONNECT.
pub fn disconnect(body: &[u8]) {
    laws::body(0xe0, body);
}

/// The body of an AUTH.
pub fn auth(body: &[u8]) {
    laws::body(0xf0, body);
}

/// Two filters, or a filter and a name, a line each.
pub fn topics(input: &[u8]) {
    if let Ok(Some((one, other))) = str::from_utf8(input).map(|lines| lines.split_once('\n')) {
        laws::topics(one, other);
        laws::topics(other, one);
    }
}

/// Bytes of a frame: as they are, with lengths and version that make one of most of them, and as the parts of one to be
/// written.
pub fn frame(bytes: &[u8]) {
    laws::frame(bytes);
    let Some((header, [topic, properties, rest @ ..])) = bytes.split_first_chunk::<56>() else { return };
    let (topic, properties) = (usize::from(*topic), usize::from(*properties));
    if let Some(payload) = rest.len().checked_sub(topic + properties) {
        let mut framed = [&header[..], &[0; 8], rest].concat();
        framed[48..52].copy_from_slice(&(topic as u32).to_le_bytes());
        framed[52..56].copy_from_slice(&(properties as u32).to_le_bytes());
        framed[56..60].copy_from_slice(&(payload as u32).to_le_bytes());
        framed[60..64].copy_from_slice(&[header[48] & 3, header[49] & 3, header[50], 1]);
        laws::frame(&framed);
        if let Ok(text) = str::from_utf8(&rest[..topic]) {
            let (properties, payload) = rest[topic..].split_at(properties);
            laws::written_frame(*header, text, properties, payload);
        }
    }
}

/// A conversation by the grammar, which has an encoder of its own: what is right by it is accepted by the
/// decoders; and all of it, right or wrong, keeps the laws of a stream.
pub fn session(input: &[u8]) {
    let mut speaker = Speaker::new(input);
    let version = match speaker.version {
        Version::V311 => ProtocolVersion::V311,
        Version::V5 => ProtocolVersion::V5,
    };
    let cuts = [speaker.below(256) as u8, speaker.below(256) as u8];
    let connect = speaker.connect().bytes();
    let Ok(Deframed::Packet(raw)) = mqtt::deframe(&connect, u32::MAX) else { panic!("{connect:02x?}") };
    assert!(decode_connect(&raw).is_ok_and(|connect| connect.version == version), "{connect:02x?}");
    let mut stream = connect;
    while speaker.goes_on() && stream.len() < 1024 {
        let mut bytes = speaker.packet();
        if speaker.errs() {
            speaker.spoil(&mut bytes);
        } else {
            let Ok(Deframed::Packet(raw)) = mqtt::deframe(&bytes, u32::MAX) else { panic!("{bytes:02x?}") };
            assert_eq!(raw.len, bytes.len());
            assert_eq!(decode_from_client(&raw, version).map(drop), Ok(()), "{bytes:02x?}");
        }
        stream.extend(bytes);
    }
    laws::stream(&stream, &cuts, u32::MAX);
}

/// Two sizes of pieces, then a client's WebSocket frames: as they are, then masked with a key that changes nothing.
pub fn websocket(input: &[u8]) {
    if let [a, b, stream @ ..] = input {
        laws::websocket(stream, &[*a, *b]);
        let masked: Vec<u8> = stream.chunks(64).flat_map(frame_of).collect();
        laws::websocket(&masked, &[*a, *b]);
    }
}

/// One byte for the kind of frame, the rest its payload.
fn frame_of(input: &[u8]) -> Vec<u8> {
    let (first, payload) = input.split_first().expect("chunks are not empty");
    [&[*first & 0x8f, 0x80 | payload.len() as u8, 1, 2, 3, 4][..], payload].concat()
}

/// Where to cut, then a request.
pub fn handshake(input: &[u8]) {
    if let [cut, request @ ..] = input {
        laws::handshake(request, *cut);
        let head = b"GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
        laws::handshake(&[&head[..], request].concat(), *cut);
    }
}
