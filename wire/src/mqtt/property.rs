//! Properties: the one table of identifiers, types and value rules, read and written from here alone.
//!
//! A packet's decoder matches on [`Property`] and lists what it takes; all else is
//! [`Malformed::PropertyNotAllowed`]. Duplicates are found by a bitmap, so that
//! reading is linear however many properties come.

use alloc::vec::Vec;
use core::fmt;

use super::value::{read, skip, write};
use super::{QoS, UserProperties};
use crate::error::Malformed;
use crate::limits::{PROPERTIES_MAX, PROPERTY_BYTES_MAX};
use crate::reader::Reader;
use crate::writer::{Counter, Sink};

macro_rules! properties {
    ($($name:ident($kind:ident $type:ty) = $id:literal, $text:literal;)*) => {
        /// Which property it is; the value is its identifier (section 2.2.2.2).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum PropertyId {
            $(
                #[doc = concat!($text, ".")]
                $name = $id,
            )*
        }

        impl PropertyId {
            /// Every property, in ascending order of identifiers.
            pub const ALL: &'static [PropertyId] = &[$(PropertyId::$name),*];

            /// The property with this identifier.
            pub const fn from_u8(id: u8) -> Option<PropertyId> {
                match id {
                    $($id => Some(PropertyId::$name),)*
                    _ => None,
                }
            }

            /// The property's name in the OASIS text.
            pub const fn name(self) -> &'static str {
                match self {
                    $(PropertyId::$name => $text,)*
                }
            }
        }

        /// A property and its value, which keeps the rules of its type.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Property<'a> {
            $(
                #[doc = concat!($text, ".")]
                $name($type),
            )*
        }

        impl<'a> Property<'a> {
            /// Which property it is.
            pub const fn id(&self) -> PropertyId {
                match self {
                    $(Property::$name(_) => PropertyId::$name,)*
                }
            }

            fn read(id: PropertyId, reader: &mut Reader<'a>) -> Result<Property<'a>, Malformed> {
                Ok(match id {
                    $(PropertyId::$name => Property::$name(read::$kind(id, reader)?),)*
                })
            }

            pub(crate) fn write(&self, sink: &mut impl Sink) {
                sink.u8(self.id() as u8);
                match *self {
                    $(Property::$name(value) => write::$kind(value, sink),)*
                }
            }
        }

        /// Passes over the value of a property that was checked before.
        fn skip<'a>(id: PropertyId, reader: &mut Reader<'a>) -> Result<(), Malformed> {
            match id {
                $(PropertyId::$name => skip::$kind(reader),)*
            }
        }
    };
}

properties! {
    PayloadFormatIndicator(flag bool) = 0x01, "Payload Format Indicator";
    MessageExpiryInterval(four u32) = 0x02, "Message Expiry Interval";
    ContentType(string &'a str) = 0x03, "Content Type";
    ResponseTopic(topic &'a str) = 0x08, "Response Topic";
    CorrelationData(binary &'a [u8]) = 0x09, "Correlation Data";
    SubscriptionIdentifier(varint u32) = 0x0b, "Subscription Identifier";
    SessionExpiryInterval(four u32) = 0x11, "Session Expiry Interval";
    AssignedClientIdentifier(string &'a str) = 0x12, "Assigned Client Identifier";
    ServerKeepAlive(two u16) = 0x13, "Server Keep Alive";
    AuthenticationMethod(string &'a str) = 0x15, "Authentication Method";
    AuthenticationData(binary &'a [u8]) = 0x16, "Authentication Data";
    RequestProblemInformation(flag bool) = 0x17, "Request Problem Information";
    WillDelayInterval(four u32) = 0x18, "Will Delay Interval";
    RequestResponseInformation(flag bool) = 0x19, "Request Response Information";
    ResponseInformation(string &'a str) = 0x1a, "Response Information";
    ServerReference(string &'a str) = 0x1c, "Server Reference";
    ReasonString(string &'a str) = 0x1f, "Reason String";
    ReceiveMaximum(two_nonzero u16) = 0x21, "Receive Maximum";
    TopicAliasMaximum(two u16) = 0x22, "Topic Alias Maximum";
    TopicAlias(alias u16) = 0x23, "Topic Alias";
    MaximumQos(qos QoS) = 0x24, "Maximum QoS";
    RetainAvailable(flag bool) = 0x25, "Retain Available";
    UserProperty(pair (&'a str, &'a str)) = 0x26, "User Property";
    MaximumPacketSize(four_nonzero u32) = 0x27, "Maximum Packet Size";
    WildcardSubscriptionAvailable(flag bool) = 0x28, "Wildcard Subscription Available";
    SubscriptionIdentifiersAvailable(flag bool) = 0x29, "Subscription Identifiers Available";
    SharedSubscriptionAvailable(flag bool) = 0x2a, "Shared Subscription Available";
}

impl Property<'_> {
    /// Appends the property, identifier and value, to `out`; so are the `properties` of a
    /// [`PublishImage`](super::PublishImage) made. Panics where a string or binary value is longer than 65,535 bytes or
    /// a subscription identifier larger than 268,435,455.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        self.write(out);
    }
}

/// Reads the properties of one packet, checked.
pub(crate) struct Properties<'a> {
    reader: Reader<'a>,
    all: &'a [u8],
    /// One bit for each property that has occurred.
    seen: u64,
    /// One bit for each property that may occur again.
    repeatable: u64,
    count: u32,
}

impl<'a> Properties<'a> {
    /// Takes the property length and that many bytes from the packet.
    pub(crate) fn open(packet: &mut Reader<'a>) -> Result<Properties<'a>, Malformed> {
        let len = packet.varint()?;
        Properties::of(packet.take(len as usize)?)
    }

    /// Reads properties that have no length in front.
    pub(crate) fn of(all: &'a [u8]) -> Result<Properties<'a>, Malformed> {
        if all.len() > PROPERTY_BYTES_MAX as usize {
            return Err(Malformed::PropertiesTooLong);
        }
        let repeatable = bit(PropertyId::UserProperty);
        Ok(Properties { reader: Reader::new(all), all, seen: 0, repeatable, count: 0 })
    }

    /// Lets another property than User Property occur more than once.
    pub(crate) fn allow_repeated(mut self, id: PropertyId) -> Properties<'a> {
        self.repeatable |= bit(id);
        self
    }

    /// How many bytes were not read yet.
    pub(crate) fn remaining(&self) -> usize {
        self.reader.rest().len()
    }

    /// The bytes of all of them.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.all
    }

    /// The User Properties among them.
    pub(crate) fn user_properties(&self) -> UserProperties<'a> {
        match self.seen & bit(PropertyId::UserProperty) {
            0 => UserProperties::default(),
            _ => UserProperties::of_checked(self.all),
        }
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> Result<Option<Property<'a>>, Malformed> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        self.count += 1;
        if self.count > PROPERTIES_MAX {
            return Err(Malformed::TooManyProperties);
        }
        let id = read_id(&mut self.reader)?;
        if self.seen & bit(id) & !self.repeatable != 0 {
            return Err(Malformed::DuplicateProperty(id));
        }
        self.seen |= bit(id);
        Property::read(id, &mut self.reader).map(Some)
    }
}

/// Walks over properties that were checked before; ends early, rather than panic, where they were not.
#[derive(Clone)]
pub(crate) struct Checked<'a>(Reader<'a>);

impl<'a> Checked<'a> {
    pub(crate) fn new(properties: &'a [u8]) -> Checked<'a> {
        Checked(Reader::new(properties))
    }

    /// The next property with its value.
    pub(crate) fn next(&mut self) -> Option<Property<'a>> {
        let id = read_id(&mut self.0).ok()?;
        Property::read(id, &mut self.0).ok()
    }

    /// The next property's identifier, and the length of all of its bytes; its value is not looked at.
    pub(crate) fn next_extent(&mut self) -> Option<(PropertyId, usize)> {
        let before = self.0.rest().len();
        let id = read_id(&mut self.0).ok()?;
        skip(id, &mut self.0).ok()?;
        Some((id, before - self.0.rest().len()))
    }
}

impl fmt::Debug for Checked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut properties = self.clone();
        f.debug_list().entries(core::iter::from_fn(|| properties.next())).finish()
    }
}

fn read_id(reader: &mut Reader<'_>) -> Result<PropertyId, Malformed> {
    let id = reader.varint()?;
    u8::try_from(id).ok().and_then(PropertyId::from_u8).ok_or(Malformed::UnknownProperty(id))
}

const fn bit(id: PropertyId) -> u64 {
    1 << id as u8
}

const _: () = assert!(PropertyId::SharedSubscriptionAvailable as u8 <= 63, "the bitmap has a bit for each identifier");

/// What writes its properties, without their length.
pub(crate) trait WriteProperties {
    fn write_properties(&self, sink: &mut impl Sink);

    /// How many bytes the properties take.
    fn properties_len(&self) -> usize {
        Counter::of(|counter| self.write_properties(counter))
    }

    /// Writes the property length, then the properties. Panics where they are longer than a packet can be.
    fn write_with_length(&self, sink: &mut impl Sink) {
        sink.varint(u32::try_from(self.properties_len()).unwrap_or(u32::MAX));
        self.write_properties(sink);
    }
}

/// Writes the property where there is a value.
pub(crate) fn write_some<'a, T>(value: Option<T>, property: impl FnOnce(T) -> Property<'a>, sink: &mut impl Sink) {
    if let Some(value) = value {
        property(value).write(sink);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn read_all(bytes: &[u8]) -> Result<Vec<Property<'_>>, Malformed> {
        let mut properties = Properties::of(bytes)?;
        let mut all = Vec::new();
        while let Some(property) = properties.next()? {
            all.push(property);
        }
        Ok(all)
    }

    /// Identifiers, types and names are those of the OASIS table: 27 properties.
    #[test]
    fn table() {
        assert_eq!(PropertyId::ALL.len(), 27);
        assert!(PropertyId::ALL.is_sorted());
        for id in 0..=255 {
            assert_eq!(PropertyId::from_u8(id).map(|property| property as u8), PropertyId::from_u8(id).map(|_| id));
        }
        assert_eq!(PropertyId::from_u8(0), None);
        assert_eq!(PropertyId::SubscriptionIdentifiersAvailable.name(), "Subscription Identifiers Available");
    }

    /// A value of each type has these bytes, and reads back.
    #[test]
    fn types() {
        let table: [(Property<'_>, &[u8]); 8] = [
            (Property::RetainAvailable(true), &[0x25, 1]),
            (Property::MaximumQos(QoS::AtMostOnce), &[0x24, 0]),
            (Property::TopicAlias(258), &[0x23, 1, 2]),
            (Property::WillDelayInterval(0x0102_0304), &[0x18, 1, 2, 3, 4]),
            (Property::SubscriptionIdentifier(16_384), &[0x0b, 0x80, 0x80, 1]),
            (Property::ResponseTopic("a/b"), &[0x08, 0, 3, b'a', b'/', b'b']),
            (Property::CorrelationData(&[0, 0xff]), &[0x09, 0, 2, 0, 0xff]),
            (Property::UserProperty(("k", "")), &[0x26, 0, 1, b'k', 0, 0]),
        ];
        for (property, bytes) in table {
            let mut written = Vec::new();
            property.append_to(&mut written);
            assert_eq!(written, bytes);
            assert_eq!(read_all(bytes), Ok(vec![property]));
            assert_eq!(Checked::new(bytes).next_extent(), Some((property.id(), bytes.len())));
            for cut in 1..bytes.len() {
                assert_eq!(read_all(&bytes[..cut]), Err(Malformed::Truncated));
                assert_eq!(Checked::new(&bytes[..cut]).next_extent(), None);
            }
        }
    }

    /// Values outside their range, each with its own error.
    #[test]
    fn values() {
        let table: [(&[u8], Malformed); 9] = [
            (&[0x01, 2], Malformed::PropertyValue(PropertyId::PayloadFormatIndicator)),
            (&[0x0b, 0], Malformed::PropertyValue(PropertyId::SubscriptionIdentifier)),
            (&[0x0b, 0x81, 0], Malformed::OverlongInteger),
            (&[0x0b, 0xff, 0xff, 0xff, 0xff], Malformed::IntegerTooLong),
            (&[0x23, 0, 0], Malformed::TopicAliasZero),
            (&[0x08, 0, 0], Malformed::EmptyTopicName),
            (&[0x08, 0, 1, b'#'], Malformed::WildcardInTopicName),
            (&[0x26, 0, 0, 0, 1, 0xff], Malformed::NotUtf8),
            (&[0x26, 0, 1, 0, 0, 0], Malformed::NullCharacter),
        ];
        for (bytes, error) in table {
            assert_eq!(read_all(bytes), Err(error), "{bytes:x?}");
        }
    }

    /// Identifiers that are no property, those of more than one byte included.
    #[test]
    fn unknown_identifiers() {
        assert_eq!(read_all(&[0x00]), Err(Malformed::UnknownProperty(0)));
        assert_eq!(read_all(&[0x2b, 0]), Err(Malformed::UnknownProperty(0x2b)));
        assert_eq!(read_all(&[0x81, 0x02, 0]), Err(Malformed::UnknownProperty(257)));
        assert_eq!(read_all(&[0x81, 0x00, 0]), Err(Malformed::OverlongInteger));
    }

    /// User Properties may repeat, others not unless the packet says so.
    #[test]
    fn repetition() {
        let user = [0x26, 0, 0, 0, 0].repeat(3);
        assert_eq!(read_all(&user).map(|all| all.len()), Ok(3));
        let duplicate = Malformed::DuplicateProperty(PropertyId::SubscriptionIdentifier);
        assert_eq!(read_all(&[0x0b, 1, 0x0b, 2]), Err(duplicate));
        let mut allowed =
            Properties::of(&[0x0b, 1, 0x0b, 2]).unwrap().allow_repeated(PropertyId::SubscriptionIdentifier);
        assert_eq!(allowed.next(), Ok(Some(Property::SubscriptionIdentifier(1))));
        assert_eq!(allowed.next(), Ok(Some(Property::SubscriptionIdentifier(2))));
        assert_eq!(allowed.next(), Ok(None));
    }

    /// Count and bytes are capped, at n and not below.
    #[test]
    fn caps() {
        let most = [0x26, 0, 0, 0, 0].repeat(PROPERTIES_MAX as usize);
        assert_eq!(read_all(&most).map(|all| all.len()), Ok(PROPERTIES_MAX as usize));
        let more = [0x26, 0, 0, 0, 0].repeat(PROPERTIES_MAX as usize + 1);
        assert_eq!(read_all(&more), Err(Malformed::TooManyProperties));
        let pair = [&[0x26, 0xff, 0xff][..], &[b'a'; 65_535], &[0xff, 0xff], &[b'b'; 65_535]].concat();
        assert_eq!(read_all(&pair.repeat(4)), Err(Malformed::PropertiesTooLong));
        assert!(read_all(&pair.repeat(3)).is_ok());
    }

    /// The length in front is checked against the packet.
    #[test]
    fn declared_length() {
        assert!(matches!(Properties::open(&mut Reader::new(&[3, 0x21, 0])), Err(Malformed::Truncated)));
        assert!(matches!(Properties::open(&mut Reader::new(&[])), Err(Malformed::Truncated)));
        let mut packet = Reader::new(&[0, 9]);
        assert_eq!(Properties::open(&mut packet).unwrap().next(), Ok(None));
        assert_eq!(packet.rest(), &[9]);
    }
}
