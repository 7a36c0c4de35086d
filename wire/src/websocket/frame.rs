//! The header of a frame: as a server writes it, without a mask.
//!
//! ```text
//!    byte 0            byte 1               then
//!   │F│RSV│ opcode │  │M│ length 0..125 │   -                      mask key, if M
//!                     │M│ 126           │   length in 2 bytes
//!                     │M│ 127           │   length in 8 bytes
//! ```

/// What a frame is (RFC 6455, section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Goes on with a message.
    Continuation = 0,
    /// Begins a message of text, which MQTT does not use.
    Text = 1,
    /// Begins a message of bytes.
    Binary = 2,
    /// Ends the connection.
    Close = 8,
    /// Asks for a pong.
    Ping = 9,
    /// Answers a ping, or nothing.
    Pong = 10,
}

impl Opcode {
    /// The opcode in a frame's first byte.
    pub fn of(first: u8) -> Option<Opcode> {
        Some(match first & 0x0f {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    /// Whether it is of the kind that may come between the fragments of a message.
    pub fn is_control(self) -> bool {
        self as u8 & 8 != 0
    }
}

/// FIN: the frame is the last, or only, one of its message.
pub(super) const FIN: u8 = 0x80;
/// RSV1, RSV2 and RSV3.
pub(super) const RESERVED: u8 = 0x70;
/// The payload is masked.
pub(super) const MASK: u8 = 0x80;
/// The length follows in two bytes.
pub(super) const LENGTH_16: u8 = 126;
/// The length follows in eight bytes.
pub(super) const LENGTH_64: u8 = 127;

/// Payload of a control frame at most (section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;
/// Bytes of a header without a mask at most.
pub const FRAME_HEADER_BYTES_MAX: usize = 10;

/// The header of a whole message in one frame, as a server sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    bytes: [u8; FRAME_HEADER_BYTES_MAX],
    len: u8,
}

impl FrameHeader {
    /// The header of a frame with so many bytes of payload.
    #[inline]
    pub fn new(opcode: Opcode, payload: usize) -> FrameHeader {
        let mut bytes = [0; FRAME_HEADER_BYTES_MAX];
        bytes[0] = FIN | opcode as u8;
        let len = FrameHeader::len_for(payload);
        match len {
            2 => bytes[1] = payload as u8,
            4 => {
                bytes[1] = LENGTH_16;
                bytes[2..4].copy_from_slice(&(payload as u16).to_be_bytes());
            }
            _ => {
                bytes[1] = LENGTH_64;
                bytes[2..10].copy_from_slice(&(payload as u64).to_be_bytes());
            }
        }
        FrameHeader { bytes, len: len as u8 }
    }

    /// Bytes of the header before so many bytes of payload.
    #[inline]
    pub fn len_for(payload: usize) -> usize {
        match payload {
            0..126 => 2,
            126..=0xffff => 4,
            _ => 10,
        }
    }

    /// Its bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Bytes of the header of a frame that is `len` bytes long, header included.
#[inline]
pub fn frame_of_len(len: usize) -> usize {
    match len {
        0..128 => 2,
        128..=0x1_0003 => 4,
        _ => 10,
    }
}

/// Where the payload of a frame without a mask begins and ends, if `bytes` begin with its whole header.
pub fn payload_at(bytes: &[u8]) -> Option<(usize, usize)> {
    let length = *bytes.get(1)?;
    let (start, len) = match length & !MASK {
        LENGTH_16 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        LENGTH_64 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        short => (2, u64::from(short)),
    };
    Some((start, usize::try_from(len).ok()?.checked_add(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths at the borders of the three forms, read back and found from the whole frame's length.
    #[test]
    fn headers_have_the_shortest_form() {
        for (payload, bytes) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65_535, &[0x82, 126, 0xff, 0xff]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let header = FrameHeader::new(Opcode::Binary, payload);
            assert_eq!(header.bytes(), bytes);
            assert_eq!(frame_of_len(bytes.len() + payload), bytes.len(), "{payload}");
            assert_eq!(payload_at(header.bytes()), Some((bytes.len(), bytes.len() + payload)));
        }
        assert_eq!(payload_at(&[0x82, 126, 0]), None);
    }
}
