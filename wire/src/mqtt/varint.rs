//! The variable byte integer: seven bits a byte, least significant first, at most four bytes.

use crate::error::Malformed;
use crate::limits::VARINT_MAX;

/// Reads the integer at the front of `bytes`: its value and its length in bytes; `None` where bytes are missing.
///
/// Longer forms than needed are read too; who forbids them compares the length with [`len`].
#[inline]
pub(crate) fn read(bytes: &[u8]) -> Result<Option<(u32, usize)>, Malformed> {
    // Nearly every integer in nearly every packet is one byte.
    match bytes.first() {
        None => return Ok(None),
        Some(&byte) if byte < 0x80 => return Ok(Some((u32::from(byte), 1))),
        Some(_) => {}
    }
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(Malformed::IntegerTooLong) }
}

/// How many bytes the shortest form of `value` takes: 1 to 4.
#[inline]
pub(crate) const fn len(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// The shortest form of `value` and its length. Panics over [`VARINT_MAX`].
#[inline]
pub(crate) fn encode(value: u32) -> ([u8; 4], usize) {
    assert!(value <= VARINT_MAX, "{value} does not fit in a variable byte integer");
    let len = len(value);
    let mut bytes = [0; 4];
    let mut rest = value;
    for byte in &mut bytes[..len - 1] {
        *byte = rest as u8 | 0x80;
        rest >>= 7;
    }
    bytes[len - 1] = rest as u8;
    (bytes, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends of each length encode to the bytes of the OASIS table and read back.
    #[test]
    fn table_of_lengths() {
        let table: [(u32, &[u8]); 8] = [
            (0, &[0x00]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xff, 0x7f]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xff, 0xff, 0x7f]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (VARINT_MAX, &[0xff, 0xff, 0xff, 0x7f]),
        ];
        for (value, bytes) in table {
            let (encoded, encoded_len) = encode(value);
            assert_eq!(&encoded[..encoded_len], bytes);
            assert_eq!(len(value), bytes.len());
            assert_eq!(read(bytes), Ok(Some((value, bytes.len()))));
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes[..cut]), Ok(None), "cut at {cut}");
            }
        }
    }

    /// A fourth byte that promises a fifth is refused, whatever follows.
    #[test]
    fn never_five_bytes() {
        assert_eq!(read(&[0xff; 4]), Err(Malformed::IntegerTooLong));
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x80, 0x01]), Err(Malformed::IntegerTooLong));
        assert_eq!(read(&[0x80, 0x80, 0x80]), Ok(None));
    }
}
