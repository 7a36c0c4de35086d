//! Frames of every shape, and every way to break one.

use alloc::vec;

use super::super::frame::FrameHeader;
use super::*;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A client's frame: first byte, payload, masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let header = FrameHeader::new(Opcode::Binary, payload.len());
    out.extend_from_slice(&header.bytes()[1..]);
    out[1] |= MASK;
    out.extend_from_slice(&KEY);
    out.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ KEY[index % 4]));
    out
}

/// All that comes of a stream given in pieces: its payload and its events.
fn read(pieces: &[&[u8]]) -> (Vec<u8>, Vec<Event>) {
    let (mut decoder, mut stream, mut events) = (Decoder::default(), Vec::new(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        let mut out = vec![0; rest.len()];
        while !rest.is_empty() {
            let Progress { consumed, written, event } = decoder.decode(rest, &mut out);
            stream.extend_from_slice(&out[..written]);
            rest = &rest[consumed..];
            events.extend(event);
        }
    }
    (stream, events)
}

fn violation(bytes: &[u8]) -> Violation {
    let whole = read(&[bytes]);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(&single), whole, "one byte at a time");
    match whole.1.as_slice() {
        [Event::Violated(violation)] => *violation,
        other => panic!("{other:?}"),
    }
}

/// The masked example of RFC 6455, section 5.7, as a binary frame.
#[test]
fn the_example_of_the_rfc() {
    let bytes = [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(read(&[&bytes]), (b"Hello".to_vec(), vec![]));
}

/// Fragments, empty frames and control frames between them are one stream; split and merged in any way it is the same
/// (mosquitto#3704, ngx-mqtt#232: frames that were split in their header, or of one byte).
#[test]
fn any_split_gives_the_same() {
    let mut bytes = frame(0x02, b"ab");
    bytes.extend(frame(0x89, b"?"));
    bytes.extend(frame(0x00, b""));
    bytes.extend(frame(0x8a, b"unasked"));
    bytes.extend(frame(0x80, &[7; 300]));
    bytes.extend(frame(0x82, b""));
    bytes.extend(frame(0x89, b""));
    bytes.extend(frame(0x82, &[9; 70_000]));
    bytes.extend(frame(0x88, &[0x03, 0xe8]));
    bytes.extend(frame(0x82, b"too late"));
    let stream = [&b"ab"[..], &[7; 300], &[9; 70_000]].concat();
    let pings = [Event::Ping(b"?".to_vec()), Event::Ping(vec![])];
    let events = [&pings[..], &[Event::Closed(Some(CloseCode::NORMAL))]].concat();
    assert_eq!(read(&[&bytes]), (stream.clone(), events.clone()));
    for size in [1, 2, 3, 5, 7, 64, 4096] {
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        assert_eq!(read(&pieces), (stream.clone(), events.clone()), "pieces of {size}");
    }
}

/// Each rule that a client can break, at the first byte that breaks it.
#[test]
fn rules_that_clients_break() {
    use Violation as V;
    for rsv in [0x40, 0x20, 0x10, 0x70] {
        assert_eq!(violation(&[0x82 | rsv]), V::ReservedBits);
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(violation(&[0x80 | opcode]), V::ReservedOpcode(opcode));
    }
    assert_eq!(violation(&[0x82, 0x05]), V::Unmasked);
    assert_eq!(violation(&[0x81]), V::Text);
    assert_eq!(violation(&[0x80]), V::NothingToContinue);
    assert_eq!(violation(&[0x09]), V::ControlFragmented);
    assert_eq!(violation(&[0x89, 0x80 | 126]), V::ControlTooLong);
    assert_eq!(violation(&[&frame(0x02, b"a")[..], &[0x82]].concat()), V::MessageUnfinished);
    assert_eq!(violation(&[0x82, 0xfe, 0, 125]), V::LengthForm);
    assert_eq!(violation(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), V::LengthForm);
    assert_eq!(violation(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]), V::LengthTooLarge);
    assert_eq!(violation(&frame(0x88, &[3])), V::CloseTruncated);
    assert_eq!(violation(&frame(0x88, &[0x03, 0xed])), V::CloseCodeInvalid(1005));
    assert_eq!(violation(&frame(0x88, &[0x03, 0xe8, 0xce, 0xba, 0xe1])), V::CloseReasonNotUtf8);
    assert_eq!(V::Text.code(), CloseCode::UNSUPPORTED_DATA);
    assert_eq!(V::CloseReasonNotUtf8.code(), CloseCode::INVALID_DATA);
    assert_eq!(V::Unmasked.code(), CloseCode::PROTOCOL_ERROR);
}

/// A frame that claims 2^63 - 1 bytes takes no memory and passes through as it comes.
#[test]
fn lengths_are_not_believed() {
    let header = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    let payload = [5; 100];
    assert_eq!(read(&[&header, &payload, &payload]), ([5; 200].to_vec(), vec![]));
}

/// A decoder that goes to another shard at any byte goes on as if nothing had been.
#[test]
fn states_travel() {
    let mut bytes = frame(0x02, b"some");
    bytes.extend(frame(0x89, b"question"));
    bytes.extend(frame(0x80, &[3; 200]));
    bytes.extend(frame(0x88, b"\x03\xe8bye"));
    let whole = read(&[&bytes]);
    for cut in 0..=bytes.len() {
        let (mut decoder, mut stream, mut events) = (Decoder::default(), Vec::new(), Vec::new());
        for (index, piece) in [&bytes[..cut], &bytes[cut..]].into_iter().enumerate() {
            if index == 1 {
                let mut saved = Vec::new();
                decoder.save(&mut saved);
                saved.extend_from_slice(b"rest");
                let mut from = &saved[..];
                assert_eq!(Decoder::restore(&mut from).as_ref(), Some(&decoder));
                assert_eq!(from, b"rest");
                decoder = Decoder::restore(&mut &saved[..]).expect("just saved");
            }
            let mut out = vec![0; piece.len()];
            let mut rest = piece;
            while !rest.is_empty() {
                let Progress { consumed, written, event } = decoder.decode(rest, &mut out);
                stream.extend_from_slice(&out[..written]);
                rest = &rest[consumed..];
                events.extend(event);
            }
        }
        assert_eq!((stream, events), whole, "cut at {cut}");
    }
}

/// What is not a saved state is told, not believed.
#[test]
fn states_that_are_none() {
    assert_eq!(Decoder::restore(&mut &[0; 5][..]), None);
    let mut saved = Vec::new();
    Decoder::default().save(&mut saved);
    saved[1] = 9;
    assert_eq!(Decoder::restore(&mut &saved[..]), None);
}
