//! The encoder's end: a sink that takes bytes, and counts them, appends them or fills a slice with them.
//!
//! Each packet is written by one function over a [`Sink`]; its length is what that function puts into a [`Counter`], so
//! a length and the bytes that it announces cannot disagree.

use alloc::vec::Vec;

use crate::limits::STRING_BYTES_MAX;
use crate::mqtt::varint;

/// Takes bytes in order.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    #[inline]
    fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    #[inline]
    fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    #[inline]
    fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    #[inline]
    fn u64(&mut self, value: u64) {
        self.put(&value.to_be_bytes());
    }

    /// A variable byte integer in its shortest form \[MQTT-1.5.5-1\].
    #[inline]
    fn varint(&mut self, value: u32) {
        let (bytes, len) = varint::encode(value);
        self.put(&bytes[..len]);
    }

    /// Two bytes of length, then the bytes. Panics over 65,535 bytes, which no decoder yields.
    #[inline]
    fn binary(&mut self, value: &[u8]) {
        assert!(value.len() <= STRING_BYTES_MAX, "a field of {} bytes cannot be encoded", value.len());
        self.u16(value.len() as u16);
        self.put(value);
    }

    #[inline]
    fn string(&mut self, value: &str) {
        self.binary(value.as_bytes());
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts what would be written.
#[derive(Default)]
pub(crate) struct Counter(usize);

impl Counter {
    /// How many bytes `write` puts.
    #[inline]
    pub(crate) fn of(write: impl FnOnce(&mut Counter)) -> usize {
        let mut counter = Counter(0);
        write(&mut counter);
        counter.0
    }
}

impl Sink for Counter {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// Fills a slice from its front. Panics where the slice is too short, which is the caller's error: the length was
/// known.
pub(crate) struct Filler<'o> {
    out: &'o mut [u8],
    at: usize,
}

impl<'o> Filler<'o> {
    #[inline]
    pub(crate) fn new(out: &'o mut [u8]) -> Filler<'o> {
        Filler { out, at: 0 }
    }

    /// How many bytes were written: the offset of the next one.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.at
    }
}

impl Sink for Filler<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        self.out[self.at..end].copy_from_slice(bytes);
        self.at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(sink: &mut impl Sink) {
        sink.u8(1);
        sink.u16(0x0203);
        sink.u32(0x0405_0607);
        sink.varint(321);
        sink.string("ab");
    }

    /// The three sinks agree on what a writer writes.
    #[test]
    fn sinks_agree() {
        let expected = [1, 2, 3, 4, 5, 6, 7, 0xc1, 2, 0, 2, b'a', b'b'];
        let mut appended = Vec::new();
        sample(&mut appended);
        assert_eq!(appended, expected);
        assert_eq!(Counter::of(sample), expected.len());
        let mut filled = [0; 13];
        let mut filler = Filler::new(&mut filled);
        sample(&mut filler);
        assert_eq!(filler.at(), 13);
        assert_eq!(filled, expected);
    }
}
