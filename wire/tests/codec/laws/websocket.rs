//! WebSocket: frames and the opening handshake.

use wire::proxy::read_proxy_header;
use wire::websocket::{CloseCode, Decoder, Event, Rules, Violation, payload_at, read_request};

/// Any split of a client's bytes, over a decoder that travels at each cut, gives what a plain reading of RFC 6455 finds.
pub fn websocket(bytes: &[u8], cuts: &[u8]) {
    let expected = plain(bytes);
    assert_eq!(read(&[bytes], false), expected, "{bytes:02x?}");
    let mut pieces = Vec::new();
    let mut rest = bytes;
    for cut in cuts.iter().cycle().take(if cuts.is_empty() { 0 } else { 4096 }) {
        let (piece, after) = rest.split_at(usize::from(*cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    assert_eq!(read(&pieces, false), expected, "{cuts:?} {bytes:02x?}");
    assert_eq!(read(&pieces, true), expected, "{cuts:?} {bytes:02x?}");
}

/// Any bytes are a request, the front of one, or refused with an answer that is HTTP; however they come. And a header of
/// the PROXY protocol, its front, or none.
pub fn handshake(bytes: &[u8], cut: u8) {
    let origins = ["https://app.example".to_owned()];
    let rules = Rules { path: "/mqtt", origins: &origins, request_bytes_max: 512 };
    let whole = read_request(bytes, 0, &rules);
    let cut = usize::from(cut).min(bytes.len());
    match read_request(&bytes[..cut], 0, &rules) {
        Ok(None) => assert_eq!(read_request(bytes, cut, &rules), whole),
        decided => assert_eq!(decided, whole, "more bytes change nothing"),
    }
    match read_proxy_header(&bytes[..cut]) {
        Ok(None) => {}
        decided => assert_eq!(decided, read_proxy_header(bytes), "more bytes change nothing"),
    }
    let mut answer = Vec::new();
    match whole {
        Ok(None) => assert!(bytes.len() < rules.request_bytes_max),
        Ok(Some(upgrade)) => {
            assert!(bytes[..upgrade.len].ends_with(b"\r\n\r\n"));
            upgrade.respond(&mut answer);
            assert!(answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(b"\r\n\r\n"));
        }
        Err(refusal) => {
            refusal.respond(&mut answer);
            assert!(answer.starts_with(b"HTTP/1.1 4") || answer.starts_with(b"HTTP/1.1 505"));
        }
    }
}

fn read(pieces: &[&[u8]], travels: bool) -> (Vec<u8>, Vec<Event>) {
    let (mut decoder, mut stream, mut events) = (Decoder::default(), Vec::new(), Vec::new());
    for piece in pieces {
        if travels {
            let mut saved = Vec::new();
            decoder.save(&mut saved);
            decoder = Decoder::restore(&mut &saved[..]).expect("just saved");
        }
        let mut rest = *piece;
        let mut out = vec![0; rest.len()];
        while !rest.is_empty() {
            let progress = decoder.decode(rest, &mut out);
            assert!(progress.consumed > 0 && progress.written <= progress.consumed);
            stream.extend_from_slice(&out[..progress.written]);
            rest = &rest[progress.consumed..];
            events.extend(progress.event);
        }
    }
    (stream, events)
}

/// A client's bytes, read a frame at a time and without any care for speed.
fn plain(mut bytes: &[u8]) -> (Vec<u8>, Vec<Event>) {
    let (mut stream, mut events, mut fragmented) = (Vec::new(), Vec::new(), false);
    loop {
        if let Some(violation) = violation(bytes, fragmented) {
            events.push(Event::Violated(violation));
            return (stream, events);
        }
        // Without its mask the header is one of ours.
        let Some((start, end)) = payload_at(bytes) else { return (stream, events) };
        let Some(key) = bytes.get(start..start + 4) else { return (stream, events) };
        let (start, end) = (start + 4, end.saturating_add(4));
        let there = &bytes[start..end.min(bytes.len())];
        let payload: Vec<u8> = there.iter().enumerate().map(|(index, byte)| byte ^ key[index % 4]).collect();
        let opcode = bytes[0] & 0x0f;
        if opcode < 8 {
            stream.extend_from_slice(&payload);
            fragmented = bytes[0] & 0x80 == 0;
        }
        if end > bytes.len() {
            return (stream, events);
        }
        match opcode {
            8 => {
                events.push(closed(&payload));
                return (stream, events);
            }
            9 => events.push(Event::Ping(payload)),
            _ => {}
        }
        bytes = &bytes[end..];
    }
}

fn violation(bytes: &[u8], fragmented: bool) -> Option<Violation> {
    let first = *bytes.first()?;
    let (opcode, fin) = (first & 0x0f, first & 0x80 != 0);
    if first & 0x70 != 0 {
        return Some(Violation::ReservedBits);
    }
    match opcode {
        0 if !fragmented => return Some(Violation::NothingToContinue),
        1 => return Some(Violation::Text),
        2 if fragmented => return Some(Violation::MessageUnfinished),
        8..=10 if !fin => return Some(Violation::ControlFragmented),
        0 | 2 | 8..=10 => {}
        _ => return Some(Violation::ReservedOpcode(opcode)),
    }
    let second = *bytes.get(1)?;
    if second & 0x80 == 0 {
        return Some(Violation::Unmasked);
    }
    match second & 0x7f {
        126 | 127 if opcode >= 8 => Some(Violation::ControlTooLong),
        126 => (u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?) < 126).then_some(Violation::LengthForm),
        127 => match u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) {
            0..0x1_0000 => Some(Violation::LengthForm),
            0x8000_0000_0000_0000.. => Some(Violation::LengthTooLarge),
            _ => None,
        },
        _ => None,
    }
}

fn closed(payload: &[u8]) -> Event {
    match payload {
        [] => Event::Closed(None),
        [_] => Event::Violated(Violation::CloseTruncated),
        [high, low, reason @ ..] => match u16::from_be_bytes([*high, *low]) {
            code @ (1000..=1003 | 1007..=1014 | 3000..=4999) if str::from_utf8(reason).is_ok() => {
                Event::Closed(Some(CloseCode(code)))
            }
            1000..=1003 | 1007..=1014 | 3000..=4999 => Event::Violated(Violation::CloseReasonNotUtf8),
            code => Event::Violated(Violation::CloseCodeInvalid(code)),
        },
    }
}
