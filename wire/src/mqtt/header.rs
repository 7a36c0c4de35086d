//! The fixed header's first byte: packet type and flags.

use crate::error::Malformed;

/// Which control packet it is (section 2.1.2); the value is the first byte's upper half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// Client to server: connection request.
    Connect = 1,
    /// Server to client: connect acknowledgement.
    Connack = 2,
    /// Both ways: a message.
    Publish = 3,
    /// Both ways: QoS 1 acknowledgement.
    Puback = 4,
    /// Both ways: QoS 2, received.
    Pubrec = 5,
    /// Both ways: QoS 2, release.
    Pubrel = 6,
    /// Both ways: QoS 2, complete.
    Pubcomp = 7,
    /// Client to server: subscribe request.
    Subscribe = 8,
    /// Server to client: subscribe acknowledgement.
    Suback = 9,
    /// Client to server: unsubscribe request.
    Unsubscribe = 10,
    /// Server to client: unsubscribe acknowledgement.
    Unsuback = 11,
    /// Client to server: ping request.
    Pingreq = 12,
    /// Server to client: ping response.
    Pingresp = 13,
    /// Both ways in MQTT 5.0, client to server in 3.1.1.
    Disconnect = 14,
    /// Both ways, MQTT 5.0 alone: authentication exchange.
    Auth = 15,
}

impl PacketType {
    /// Reads the first byte of a packet: its type, its flags checked \[MQTT-2.1.3-1\]. What the flags of PUBLISH mean
    /// is left to its decoder; combinations that are always wrong are refused here.
    #[inline]
    pub(crate) fn parse(first: u8) -> Result<PacketType, Malformed> {
        let index = usize::from(first >> 4);
        if FLAGS[index] & 1 << (first & 0x0f) == 0 {
            return Err(wrong_flags(first));
        }
        TYPES[index].ok_or(Malformed::ReservedPacketType)
    }

    /// Whether only a server sends it, so that a server that receives it is misused.
    pub const fn is_from_server(self) -> bool {
        matches!(self, PacketType::Connack | PacketType::Suback | PacketType::Unsuback | PacketType::Pingresp)
    }

    /// The first byte of a packet of this type whose flags are fixed.
    pub(crate) const fn first_byte(self) -> u8 {
        let flags = match self {
            PacketType::Pubrel | PacketType::Subscribe | PacketType::Unsubscribe => 0b0010,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }
}

/// By packet type: one bit for each value of the flags that is allowed.
const FLAGS: [u16; 16] = {
    let mut flags = [1 << 0b0000; 16];
    flags[PacketType::Pubrel as usize] = 1 << 0b0010;
    flags[PacketType::Subscribe as usize] = 1 << 0b0010;
    flags[PacketType::Unsubscribe as usize] = 1 << 0b0010;
    // DUP, QoS (two bits), RETAIN: no QoS 3 [MQTT-3.3.1-4], no DUP at QoS 0 [MQTT-3.3.1-2].
    flags[PacketType::Publish as usize] = !(0b11 << 0b0110 | 0b11 << 0b1110 | 0b11 << 0b1000);
    flags
};

const TYPES: [Option<PacketType>; 16] = [
    None,
    Some(PacketType::Connect),
    Some(PacketType::Connack),
    Some(PacketType::Publish),
    Some(PacketType::Puback),
    Some(PacketType::Pubrec),
    Some(PacketType::Pubrel),
    Some(PacketType::Pubcomp),
    Some(PacketType::Subscribe),
    Some(PacketType::Suback),
    Some(PacketType::Unsubscribe),
    Some(PacketType::Unsuback),
    Some(PacketType::Pingreq),
    Some(PacketType::Pingresp),
    Some(PacketType::Disconnect),
    Some(PacketType::Auth),
];

#[cold]
fn wrong_flags(first: u8) -> Malformed {
    if first >> 4 != PacketType::Publish as u8 {
        Malformed::ReservedFlags
    } else if first & 0b0110 == 0b0110 {
        Malformed::QosOutOfRange
    } else {
        Malformed::DupWithoutAcknowledgement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the 256 first bytes exactly those of the OASIS table pass.
    #[test]
    fn every_first_byte() {
        for first in 0..=255u8 {
            let expected = match first {
                0x30..=0x35 | 0x3a..=0x3d => Ok(PacketType::Publish),
                0x36 | 0x37 | 0x3e | 0x3f => Err(Malformed::QosOutOfRange),
                0x38 | 0x39 => Err(Malformed::DupWithoutAcknowledgement),
                0x62 => Ok(PacketType::Pubrel),
                0x82 => Ok(PacketType::Subscribe),
                0xa2 => Ok(PacketType::Unsubscribe),
                0x60 | 0x80 | 0xa0 => Err(Malformed::ReservedFlags),
                0x00 => Err(Malformed::ReservedPacketType),
                _ if first & 0x0f != 0 => Err(Malformed::ReservedFlags),
                _ => Ok(TYPES[usize::from(first >> 4)].unwrap()),
            };
            assert_eq!(PacketType::parse(first), expected, "{first:#x}");
        }
    }

    /// What is written as a first byte reads as that type.
    #[test]
    fn first_bytes_read_back() {
        for packet in TYPES.into_iter().flatten() {
            assert_eq!(PacketType::parse(packet.first_byte()), Ok(packet));
        }
    }
}
