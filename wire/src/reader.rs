//! The one bounds-checked cursor. Every read returns an error at the end of the bytes; nothing indexes.

use crate::error::Malformed;
use crate::mqtt::{utf8, varint};

/// A cursor over bytes that a peer sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) const fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that was not read yet.
    #[inline]
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Ends reading: bytes left over are an error.
    #[inline]
    pub(crate) const fn finish(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::TrailingBytes) }
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A variable byte integer in its shortest form \[MQTT-1.5.5-1\].
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u32, Malformed> {
        let (value, len) = varint::read(self.rest)?.ok_or(Malformed::Truncated)?;
        if len != varint::len(value) {
            return Err(Malformed::OverlongInteger);
        }
        self.take(len)?;
        Ok(value)
    }

    /// Binary data: two bytes of length, then that many bytes.
    #[inline]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A UTF-8 encoded string.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a str, Malformed> {
        utf8::check(self.binary()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every read at the end of the bytes is an error and consumes nothing.
    #[test]
    fn reads_stop_at_the_end() {
        let mut reader = Reader::new(&[1]);
        assert_eq!(reader.u16(), Err(Malformed::Truncated));
        assert_eq!(reader.u32(), Err(Malformed::Truncated));
        assert_eq!(reader.take(2), Err(Malformed::Truncated));
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u8(), Err(Malformed::Truncated));
        assert_eq!(reader.varint(), Err(Malformed::Truncated));
        assert_eq!(reader.finish(), Ok(()));
    }

    /// A declared length is checked against the bytes that are there.
    #[test]
    fn declared_lengths_are_not_believed() {
        assert_eq!(Reader::new(&[0xff, 0xff, b'a']).binary(), Err(Malformed::Truncated));
        assert_eq!(Reader::new(&[0, 2, b'a']).string(), Err(Malformed::Truncated));
        assert_eq!(Reader::new(&[0, 1, b'a']).string(), Ok("a"));
        assert_eq!(Reader::new(&[0, 0, b'a']).binary(), Ok(&[][..]));
    }

    /// A variable byte integer inside a packet has its shortest form.
    #[test]
    fn overlong_integers_are_refused() {
        assert_eq!(Reader::new(&[0x80, 0x00]).varint(), Err(Malformed::OverlongInteger));
        assert_eq!(Reader::new(&[0x80, 0x01]).varint(), Ok(128));
    }

    /// Bytes left over are an error.
    #[test]
    fn leftovers_are_an_error() {
        let mut reader = Reader::new(&[0, 1, 2]);
        assert_eq!(reader.u16(), Ok(1));
        assert_eq!(reader.finish(), Err(Malformed::TrailingBytes));
        assert_eq!(reader.rest(), &[2]);
    }
}
