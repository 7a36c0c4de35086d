//! Frames: hostile bytes, and bytes of our own, at any address.

use wire::frame::{Frame, FrameError, FrameHeader};

/// Bytes that read as a frame are what writing that frame gives; a payload that travels beside has the length that the
/// header says.
pub fn frame(bytes: &[u8]) {
    let exact: Box<[u8]> = bytes.into();
    let read = Frame::read(&exact);
    if let Ok(frame) = read {
        assert_eq!(written(&frame.header, &frame, frame.payload), exact[..]);
    }
    let beside = Frame::read_external(&exact, b"beside");
    if let Ok(frame) = beside {
        assert_eq!((frame.payload, frame.header.payload_len), (&b"beside"[..], 6));
        assert_eq!(written(&frame.header, &frame, b""), exact[..]);
    }
    // No frame is both whole and half, but one without a payload.
    assert!(read.is_err() || beside.is_err());
    if let Ok(frame) = Frame::read_external(&exact, b"") {
        assert_eq!(read, Ok(frame));
    }
    // Each cut is refused, and so is a byte too many.
    if read.is_ok() {
        for cut in [0, 1, 63, 64, exact.len() - 1].into_iter().filter(|cut| *cut < exact.len()) {
            let expected = if cut < Frame::HEADER_BYTES { FrameError::Truncated } else { FrameError::Length };
            assert_eq!(Frame::read(&exact[..cut]), Err(expected));
        }
        assert_eq!(Frame::read(&[&exact, &b"\0"[..]].concat()), Err(FrameError::Length));
    }
    // Rings place frames at any address.
    let shifted = [b"\0", &exact[..]].concat();
    assert_eq!(Frame::read(&shifted[1..]), read);
}

/// A frame of any header, topic, properties and payload reads as it was written.
pub fn written_frame(header: [u8; 56], topic: &str, properties: &[u8], payload: &[u8]) {
    let mut numbers = header.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
    let mut number = || numbers.next().expect("seven numbers");
    let header = FrameHeader {
        arrived: number(),
        expires: number(),
        publisher: number(),
        connection: number(),
        number: number(),
        topic_hash: number(),
        payload_len: payload.len() as u32,
        qos: header[48] % 3,
        flags: header[49] & (FrameHeader::RETAIN | FrameHeader::FROM_SWITCH),
        class: header[50],
        ..FrameHeader::default()
    };
    let frame = Frame { header, topic, properties, payload };
    let bytes = written(&header, &frame, payload);
    let read = Frame::read(&bytes).expect("what was written is a frame");
    let filled = FrameHeader {
        topic_len: topic.len() as u32,
        properties_len: properties.len() as u32,
        version: FrameHeader::VERSION,
        ..header
    };
    assert_eq!(read, Frame { header: filled, ..frame });
    let beside = written(&header, &frame, b"");
    assert_eq!(Frame::read_external(&beside, payload), Ok(read));
    self::frame(&bytes);
}

fn written(header: &FrameHeader, frame: &Frame<'_>, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0xaa; Frame::bytes_len(frame.topic.len(), frame.properties.len(), payload.len())];
    let len = Frame::write(header, frame.topic, std::iter::once(frame.properties), payload, &mut out);
    assert_eq!(len, out.len());
    out
}
