//! UTF-8 encoded strings, and the characters that a topic name may not hold.

use crate::error::Malformed;

/// Checks a string field: well-formed UTF-8 without surrogates \[MQTT-1.5.4-1\] or U+0000 \[MQTT-1.5.4-2\]. A byte
/// order mark is an ordinary character and stays \[MQTT-1.5.4-3\].
#[inline]
pub(crate) fn check(bytes: &[u8]) -> Result<&str, Malformed> {
    let string = core::str::from_utf8(bytes).map_err(|_| Malformed::NotUtf8)?;
    if has_any(bytes, [0, 0, 0]) { Err(Malformed::NullCharacter) } else { Ok(string) }
}

/// Checks a topic name's characters: a string without wildcards \[MQTT-4.7.0-1\]. Its length is the caller's to judge.
#[inline]
pub(crate) fn check_topic_name(bytes: &[u8]) -> Result<&str, Malformed> {
    let string = core::str::from_utf8(bytes).map_err(|_| Malformed::NotUtf8)?;
    if !has_any(bytes, [0, b'+', b'#']) {
        return Ok(string);
    }
    Err(if has_any(bytes, [0, 0, 0]) { Malformed::NullCharacter } else { Malformed::WildcardInTopicName })
}

/// Whether one of three bytes occurs. Looks at every byte, without a branch for each, so that it becomes vector code.
#[inline]
fn has_any(bytes: &[u8], [a, b, c]: [u8; 3]) -> bool {
    bytes.iter().fold(false, |found, &byte| found | (byte == a) | (byte == b) | (byte == c))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Well-formed strings of every length of sequence pass, to both ends of each range.
    #[test]
    fn well_formed_strings_pass() {
        for string in
            ["", "a", "\u{1}", "\u{7f}\u{80}", "\u{7ff}\u{800}", "\u{d7ff}\u{e000}", "\u{ffff}\u{10000}", "\u{10ffff}"]
        {
            assert_eq!(check(string.as_bytes()), Ok(string));
            assert_eq!(check_topic_name(string.as_bytes()), Ok(string));
        }
    }

    /// Surrogates, overlong forms, bare and missing continuations, and values over U+10FFFF are refused.
    #[test]
    fn ill_formed_strings_are_refused() {
        let table: [&[u8]; 12] = [
            &[0xed, 0xa0, 0x80],                   // U+D800
            &[0xed, 0xbf, 0xbf],                   // U+DFFF
            &[0xed, 0xa0, 0x80, 0xed, 0xb0, 0x80], // a surrogate pair
            &[0xc0, 0x80],                         // U+0000 in two bytes
            &[0xc1, 0xbf],                         // U+007F in two bytes
            &[0xe0, 0x9f, 0xbf],                   // U+07FF in three bytes
            &[0xf0, 0x8f, 0xbf, 0xbf],             // U+FFFF in four bytes
            &[0xf4, 0x90, 0x80, 0x80],             // U+110000
            &[0x80],                               // a continuation alone
            &[0xc3],                               // a continuation missing
            &[b'a', 0xe2, 0x82],                   // the same at the end
            &[0xff],
        ];
        for bytes in table {
            assert_eq!(check(bytes), Err(Malformed::NotUtf8), "{bytes:x?}");
            assert_eq!(check_topic_name(bytes), Err(Malformed::NotUtf8), "{bytes:x?}");
        }
    }

    /// U+0000 is refused anywhere; EF BB BF is kept, byte for byte.
    #[test]
    fn null_is_refused_and_the_byte_order_mark_kept() {
        for string in ["\0", "a\0", "\0a", "0123456789abcdef\0"] {
            assert_eq!(check(string.as_bytes()), Err(Malformed::NullCharacter));
            assert_eq!(check_topic_name(string.as_bytes()), Err(Malformed::NullCharacter));
        }
        assert_eq!(check(&[0xef, 0xbb, 0xbf, b'a']).map(str::len), Ok(4));
    }

    /// A wildcard anywhere makes a topic name wrong, and leaves other strings alone.
    #[test]
    fn wildcards_are_refused_in_topic_names_only() {
        for string in ["+", "#", "a/+", "a#b", "0123456789abcdef/+"] {
            assert_eq!(check(string.as_bytes()), Ok(string));
            assert_eq!(check_topic_name(string.as_bytes()), Err(Malformed::WildcardInTopicName));
        }
    }
}
