//! What every message carries, so that a receiver alone can tell what became of it.
//!
//! ```text
//!   0         8          16             24        28
//!   ├─────────┼──────────┼──────────────┼─────────┼────────┄
//!   │checksum │ sequence │ intended, ns │ stream  │ filler
//!   └─────────┴──────────┴──────────────┴─────────┴────────┄   little endian
//! ```
//!
//! A *stream* is one publisher, topic and QoS, the unit in which MQTT promises order. The checksum covers the topic
//! name and all that follows it, so a payload under a wrong topic is as corrupt as one with a wrong byte.

/// The smallest payload that holds a stamp, in bytes.
pub const STAMP_BYTES: usize = 28;

/// What a payload says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Which publisher, topic and QoS.
    pub stream: u32,
    /// Its running number, from 0.
    pub sequence: u64,
    /// When it was to be sent, in nanoseconds of the run's clock.
    pub intended: u64,
}

/// A payload that is stamped again for each message.
pub struct Payload {
    bytes: Vec<u8>,
}

impl Payload {
    /// A payload of `size` bytes, at least [`STAMP_BYTES`], with a filler that compresses badly.
    pub fn new(size: usize) -> Payload {
        assert!(size >= STAMP_BYTES, "a payload of {size} bytes holds no stamp");
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        };
        Payload { bytes: (0..size).map(|_| next()).collect() }
    }

    /// The payload of one message on `topic`.
    pub fn stamp(&mut self, topic: &[u8], stamp: Stamp) -> &[u8] {
        self.bytes[8..16].copy_from_slice(&stamp.sequence.to_le_bytes());
        self.bytes[16..24].copy_from_slice(&stamp.intended.to_le_bytes());
        self.bytes[24..28].copy_from_slice(&stamp.stream.to_le_bytes());
        let sum = checksum(topic, &self.bytes[8..]);
        self.bytes[..8].copy_from_slice(&sum.to_le_bytes());
        &self.bytes
    }
}

/// The stamp of a received payload, or `None` where a byte of it or of the topic is not what was sent.
pub fn read(topic: &[u8], payload: &[u8]) -> Option<Stamp> {
    if payload.len() < STAMP_BYTES || word(payload) != checksum(topic, &payload[8..]) {
        return None;
    }
    let stream = u32::from_le_bytes([payload[24], payload[25], payload[26], payload[27]]);
    Some(Stamp { sequence: word(&payload[8..]), intended: word(&payload[16..]), stream })
}

/// Folded 64-bit multiplications, two words at a time: a few nanoseconds for a hundred bytes.
fn checksum(topic: &[u8], payload: &[u8]) -> u64 {
    let seed = absorb(0xA076_1D64_78BD_642F, topic);
    absorb(seed, payload)
}

fn absorb(mut sum: u64, bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<16>();
    for pair in pairs {
        sum = fold(word(pair) ^ 0xE703_7ED1_A0B4_28DB, word(&pair[8..]) ^ sum);
    }
    let mut last = [0; 16];
    last[..rest.len()].copy_from_slice(rest);
    // The length keeps trailing zeros from passing for absence.
    fold(word(&last) ^ 0x8EBC_6AF0_9C88_C6E3 ^ bytes.len() as u64, word(&last[8..]) ^ sum)
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stamp comes back as it was written, and no single bit of payload or topic may change unnoticed.
    #[test]
    fn every_flipped_bit_is_noticed() {
        let stamp = Stamp { stream: 7, sequence: 1 << 40, intended: 12_345 };
        for size in [STAMP_BYTES, 29, 100] {
            let bytes = Payload::new(size).stamp(b"a/b", stamp).to_vec();
            assert_eq!(read(b"a/b", &bytes), Some(stamp));
            assert_eq!(read(b"a/c", &bytes), None);
            assert_eq!(read(b"a/b", &bytes[..size - 1]), None);
            for bit in 0..size * 8 {
                let mut broken = bytes.clone();
                broken[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(read(b"a/b", &broken), None, "bit {bit} of {size} bytes");
            }
        }
    }
}
