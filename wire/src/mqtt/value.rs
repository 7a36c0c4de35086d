//! The types that property values have: how each is read, written and passed over, under one name in three modules.

use super::property::PropertyId;
use super::{QoS, utf8};
use crate::error::Malformed;
use crate::reader::Reader;
use crate::writer::Sink;

/// The rules of each type for reading.
pub(crate) mod read {
    use super::{Malformed, PropertyId, QoS, Reader, utf8};

    type Result<T> = core::result::Result<T, Malformed>;

    fn nonzero<T: Default + PartialEq>(id: PropertyId, value: T) -> Result<T> {
        if value == T::default() { Err(Malformed::PropertyValue(id)) } else { Ok(value) }
    }

    pub(crate) fn flag(id: PropertyId, reader: &mut Reader<'_>) -> Result<bool> {
        match reader.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::PropertyValue(id)),
        }
    }

    pub(crate) fn qos(id: PropertyId, reader: &mut Reader<'_>) -> Result<QoS> {
        match reader.u8()? {
            0 => Ok(QoS::AtMostOnce),
            1 => Ok(QoS::AtLeastOnce),
            _ => Err(Malformed::PropertyValue(id)),
        }
    }

    pub(crate) fn two(_: PropertyId, reader: &mut Reader<'_>) -> Result<u16> {
        reader.u16()
    }

    pub(crate) fn two_nonzero(id: PropertyId, reader: &mut Reader<'_>) -> Result<u16> {
        nonzero(id, reader.u16()?)
    }

    pub(crate) fn alias(_: PropertyId, reader: &mut Reader<'_>) -> Result<u16> {
        match reader.u16()? {
            0 => Err(Malformed::TopicAliasZero),
            alias => Ok(alias),
        }
    }

    pub(crate) fn four(_: PropertyId, reader: &mut Reader<'_>) -> Result<u32> {
        reader.u32()
    }

    pub(crate) fn four_nonzero(id: PropertyId, reader: &mut Reader<'_>) -> Result<u32> {
        nonzero(id, reader.u32()?)
    }

    /// The one integer of variable length is the Subscription Identifier, which is not 0 (section 3.8.2.1.2).
    pub(crate) fn varint(id: PropertyId, reader: &mut Reader<'_>) -> Result<u32> {
        nonzero(id, reader.varint()?)
    }

    pub(crate) fn string<'a>(_: PropertyId, reader: &mut Reader<'a>) -> Result<&'a str> {
        reader.string()
    }

    /// A topic name: no wildcard \[MQTT-3.3.2-14\], at least one character \[MQTT-4.7.3-1\].
    pub(crate) fn topic<'a>(_: PropertyId, reader: &mut Reader<'a>) -> Result<&'a str> {
        match utf8::check_topic_name(reader.binary()?)? {
            "" => Err(Malformed::EmptyTopicName),
            topic => Ok(topic),
        }
    }

    pub(crate) fn binary<'a>(_: PropertyId, reader: &mut Reader<'a>) -> Result<&'a [u8]> {
        reader.binary()
    }

    pub(crate) fn pair<'a>(_: PropertyId, reader: &mut Reader<'a>) -> Result<(&'a str, &'a str)> {
        Ok((reader.string()?, reader.string()?))
    }
}

/// The same for writing.
pub(crate) mod write {
    use super::{QoS, Sink};

    pub(crate) fn flag(value: bool, sink: &mut impl Sink) {
        sink.u8(u8::from(value));
    }

    pub(crate) fn qos(value: QoS, sink: &mut impl Sink) {
        sink.u8(value as u8);
    }

    pub(crate) fn two(value: u16, sink: &mut impl Sink) {
        sink.u16(value);
    }

    pub(crate) use two as two_nonzero;
    pub(crate) use two as alias;

    pub(crate) fn four(value: u32, sink: &mut impl Sink) {
        sink.u32(value);
    }

    pub(crate) use four as four_nonzero;

    pub(crate) fn varint(value: u32, sink: &mut impl Sink) {
        sink.varint(value);
    }

    pub(crate) fn string(value: &str, sink: &mut impl Sink) {
        sink.string(value);
    }

    pub(crate) use string as topic;

    pub(crate) fn binary(value: &[u8], sink: &mut impl Sink) {
        sink.binary(value);
    }

    pub(crate) fn pair((name, value): (&str, &str), sink: &mut impl Sink) {
        sink.string(name);
        sink.string(value);
    }
}

/// The same for passing over, without looking at what is passed.
pub(crate) mod skip {
    use super::{Malformed, Reader};

    type Result = core::result::Result<(), Malformed>;

    pub(crate) fn flag(reader: &mut Reader<'_>) -> Result {
        reader.take(1).map(|_| ())
    }

    pub(crate) use flag as qos;

    pub(crate) fn two(reader: &mut Reader<'_>) -> Result {
        reader.take(2).map(|_| ())
    }

    pub(crate) use two as two_nonzero;
    pub(crate) use two as alias;

    pub(crate) fn four(reader: &mut Reader<'_>) -> Result {
        reader.take(4).map(|_| ())
    }

    pub(crate) use four as four_nonzero;

    pub(crate) fn varint(reader: &mut Reader<'_>) -> Result {
        reader.varint().map(|_| ())
    }

    pub(crate) fn binary(reader: &mut Reader<'_>) -> Result {
        reader.binary().map(|_| ())
    }

    pub(crate) use binary as string;
    pub(crate) use binary as topic;

    pub(crate) fn pair(reader: &mut Reader<'_>) -> Result {
        binary(reader)?;
        binary(reader)
    }
}
