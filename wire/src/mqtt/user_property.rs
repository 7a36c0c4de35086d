//! User Properties: the one property that applications define.

use core::fmt;

use super::property::{Checked, Property};
use crate::writer::Sink;

/// User Properties: pairs of name and value, in the order in which they were sent; names may repeat.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<'a>(Pairs<'a>);

#[derive(Clone, Copy)]
enum Pairs<'a> {
    /// Checked properties of a packet, others among them.
    Encoded(&'a [u8]),
    /// The caller's own.
    Given(&'a [(&'a str, &'a str)]),
}

impl Default for Pairs<'_> {
    fn default() -> Self {
        Pairs::Given(&[])
    }
}

impl<'a> UserProperties<'a> {
    /// These pairs. Encoding them panics where a string is longer than 65,535 bytes.
    pub const fn from_pairs(pairs: &'a [(&'a str, &'a str)]) -> UserProperties<'a> {
        UserProperties(Pairs::Given(pairs))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let (encoded, given) = match self.0 {
            Pairs::Encoded(bytes) => (bytes, &[][..]),
            Pairs::Given(pairs) => (&[][..], pairs),
        };
        let mut checked = Checked::new(encoded);
        let decoded = core::iter::from_fn(move || checked.next()).filter_map(|property| match property {
            Property::UserProperty(pair) => Some(pair),
            _ => None,
        });
        decoded.chain(given.iter().copied())
    }

    /// Only those that a checked packet's properties hold.
    pub(crate) fn of_checked(properties: &'a [u8]) -> UserProperties<'a> {
        UserProperties(Pairs::Encoded(properties))
    }

    pub(crate) fn write(&self, sink: &mut impl Sink) {
        for pair in self.iter() {
            Property::UserProperty(pair).write(sink);
        }
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for UserProperties<'_> {}

impl fmt::Debug for UserProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs keep their order, given or decoded, other properties passed over.
    #[test]
    fn user_properties() {
        let bytes = [0x26, 0, 1, b'b', 0, 1, b'1', 0x21, 0, 5, 0x26, 0, 1, b'a', 0, 1, b'2'];
        let decoded = UserProperties::of_checked(&bytes);
        let given = UserProperties::from_pairs(&[("b", "1"), ("a", "2")]);
        assert_eq!(decoded, given);
        assert!(!given.is_empty());
        assert!(UserProperties::default().is_empty());
        assert_ne!(given, UserProperties::from_pairs(&[("a", "2"), ("b", "1")]));
        assert_eq!(alloc::format!("{decoded:?}"), r#"[("b", "1"), ("a", "2")]"#);
    }
}
