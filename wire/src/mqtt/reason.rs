//! Reason codes, and which of them each packet may carry.

use core::fmt;

use super::header::PacketType;

macro_rules! reason_codes {
    ($($(#[$attribute:meta])? $name:ident = $value:literal, $text:literal;)*) => {
        /// The reason codes of MQTT 5.0 (section 2.4). MQTT 3.1.1 has return codes in CONNACK and SUBACK alone, which
        /// map to and from these.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $(
                #[doc = concat!($text, ", ", stringify!($value), ".")]
                $(#[$attribute])?
                $name = $value,
            )*
        }

        impl ReasonCode {
            /// Every code, in ascending order.
            pub const ALL: &'static [ReasonCode] = &[$(ReasonCode::$name),*];

            /// The code with this value.
            #[inline]
            pub const fn from_u8(value: u8) -> Option<ReasonCode> {
                match value {
                    $($value => Some(ReasonCode::$name),)*
                    _ => None,
                }
            }

            /// The code's name in the OASIS text.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ReasonCode::$name => $text,)*
                }
            }
        }
    };
}

reason_codes! {
    #[default] Success = 0x00, "Success";
    GrantedQos1 = 0x01, "Granted QoS 1";
    GrantedQos2 = 0x02, "Granted QoS 2";
    DisconnectWithWill = 0x04, "Disconnect with Will Message";
    NoMatchingSubscribers = 0x10, "No matching subscribers";
    NoSubscriptionExisted = 0x11, "No subscription existed";
    ContinueAuthentication = 0x18, "Continue authentication";
    ReAuthenticate = 0x19, "Re-authenticate";
    UnspecifiedError = 0x80, "Unspecified error";
    MalformedPacket = 0x81, "Malformed Packet";
    ProtocolError = 0x82, "Protocol Error";
    ImplementationSpecificError = 0x83, "Implementation specific error";
    UnsupportedProtocolVersion = 0x84, "Unsupported Protocol Version";
    ClientIdentifierNotValid = 0x85, "Client Identifier not valid";
    BadUserNameOrPassword = 0x86, "Bad User Name or Password";
    NotAuthorized = 0x87, "Not authorized";
    ServerUnavailable = 0x88, "Server unavailable";
    ServerBusy = 0x89, "Server busy";
    Banned = 0x8a, "Banned";
    ServerShuttingDown = 0x8b, "Server shutting down";
    BadAuthenticationMethod = 0x8c, "Bad authentication method";
    KeepAliveTimeout = 0x8d, "Keep Alive timeout";
    SessionTakenOver = 0x8e, "Session taken over";
    TopicFilterInvalid = 0x8f, "Topic Filter invalid";
    TopicNameInvalid = 0x90, "Topic Name invalid";
    PacketIdentifierInUse = 0x91, "Packet Identifier in use";
    PacketIdentifierNotFound = 0x92, "Packet Identifier not found";
    ReceiveMaximumExceeded = 0x93, "Receive Maximum exceeded";
    TopicAliasInvalid = 0x94, "Topic Alias invalid";
    PacketTooLarge = 0x95, "Packet too large";
    MessageRateTooHigh = 0x96, "Message rate too high";
    QuotaExceeded = 0x97, "Quota exceeded";
    AdministrativeAction = 0x98, "Administrative action";
    PayloadFormatInvalid = 0x99, "Payload format invalid";
    RetainNotSupported = 0x9a, "Retain not supported";
    QosNotSupported = 0x9b, "QoS not supported";
    UseAnotherServer = 0x9c, "Use another server";
    ServerMoved = 0x9d, "Server moved";
    SharedSubscriptionsNotSupported = 0x9e, "Shared Subscriptions not supported";
    ConnectionRateExceeded = 0x9f, "Connection rate exceeded";
    MaximumConnectTime = 0xa0, "Maximum connect time";
    SubscriptionIdentifiersNotSupported = 0xa1, "Subscription Identifiers not supported";
    WildcardSubscriptionsNotSupported = 0xa2, "Wildcard Subscriptions not supported";
}

// The OASIS table gives value 0 three names; these two read as the variant that they are beside.
#[expect(non_upper_case_globals, reason = "named as the variants of the same table are")]
impl ReasonCode {
    /// Normal disconnection, 0x00, as DISCONNECT calls it.
    pub const NormalDisconnection: ReasonCode = ReasonCode::Success;
    /// Granted QoS 0, 0x00, as SUBACK calls it.
    pub const GrantedQos0: ReasonCode = ReasonCode::Success;
}

impl ReasonCode {
    /// Whether the code reports a failure: 0x80 or above.
    #[inline]
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// Whether the table of that packet has this code. False for packets that carry none.
    #[inline]
    pub const fn is_valid_in(self, packet: PacketType) -> bool {
        let table = match packet {
            PacketType::Connack => CONNACK,
            PacketType::Puback | PacketType::Pubrec => PUBACK,
            PacketType::Pubrel | PacketType::Pubcomp => PUBREL,
            PacketType::Suback => SUBACK,
            PacketType::Unsuback => UNSUBACK,
            PacketType::Disconnect => DISCONNECT,
            PacketType::Auth => AUTH,
            _ => 0,
        };
        table & self.bit() != 0
    }

    /// The return code of an MQTT 3.1.1 CONNACK that says this (section 3.2.2.3), where one does; where none does, the
    /// connection is closed without a CONNACK \[MQTT-3.2.2-6\].
    pub const fn to_return_code(self) -> Option<u8> {
        Some(match self {
            ReasonCode::Success => 0,
            ReasonCode::UnsupportedProtocolVersion => 1,
            ReasonCode::ClientIdentifierNotValid => 2,
            ReasonCode::ServerUnavailable | ReasonCode::ServerBusy | ReasonCode::ServerShuttingDown => 3,
            ReasonCode::QuotaExceeded | ReasonCode::ConnectionRateExceeded => 3,
            ReasonCode::BadUserNameOrPassword => 4,
            ReasonCode::NotAuthorized | ReasonCode::Banned => 5,
            _ => return None,
        })
    }

    /// What the return code of an MQTT 3.1.1 CONNACK says.
    pub const fn from_return_code(code: u8) -> Option<ReasonCode> {
        Some(match code {
            0 => ReasonCode::Success,
            1 => ReasonCode::UnsupportedProtocolVersion,
            2 => ReasonCode::ClientIdentifierNotValid,
            3 => ReasonCode::ServerUnavailable,
            4 => ReasonCode::BadUserNameOrPassword,
            5 => ReasonCode::NotAuthorized,
            _ => return None,
        })
    }

    /// A bit of its own for each code: 0x00 to 0x1f, then 0x80 to 0xdf.
    const fn bit(self) -> u128 {
        let value = self as u8;
        1 << if value < 0x20 { value } else { value - 0x60 }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02x})", self.name(), *self as u8)
    }
}

/// The set of codes with these values. Evaluated by the compiler, which stops at a value that is no reason code.
const fn set(values: &[u8]) -> u128 {
    let mut set = 0;
    let mut index = 0;
    while index < values.len() {
        match ReasonCode::from_u8(values[index]) {
            Some(code) => set |= code.bit(),
            None => panic!("not a reason code"),
        }
        index += 1;
    }
    set
}

const CONNACK: u128 = set(&[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b,
    0x9c, 0x9d, 0x9f,
]);
/// PUBACK and PUBREC.
const PUBACK: u128 = set(&[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]);
/// PUBREL and PUBCOMP.
const PUBREL: u128 = set(&[0x00, 0x92]);
const SUBACK: u128 = set(&[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2]);
const UNSUBACK: u128 = set(&[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91]);
const DISCONNECT: u128 = set(&[
    0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98,
    0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
]);
const AUTH: u128 = set(&[0x00, 0x18, 0x19]);

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    /// Each code reads back from its value, and only the 43 values of the table are codes.
    #[test]
    fn values_read_back() {
        let codes = (0..=255).filter_map(ReasonCode::from_u8);
        assert!(codes.eq(ReasonCode::ALL.iter().copied()));
        assert_eq!(ReasonCode::ALL.len(), 43);
        assert!(ReasonCode::ALL.iter().all(|&code| ReasonCode::from_u8(code as u8) == Some(code)));
    }

    /// No two codes share a bit.
    #[test]
    fn bits_are_distinct() {
        let all = ReasonCode::ALL.iter().fold(0u128, |all, code| all | code.bit());
        assert_eq!(all.count_ones(), 43);
    }

    /// A code is valid where the table of the packet has it, and nowhere else.
    #[test]
    fn tables() {
        let count = |packet| ReasonCode::ALL.iter().filter(|code| code.is_valid_in(packet)).count();
        assert_eq!(count(PacketType::Connack), 22);
        assert_eq!(count(PacketType::Puback), 9);
        assert_eq!(count(PacketType::Pubrec), 9);
        assert_eq!(count(PacketType::Pubrel), 2);
        assert_eq!(count(PacketType::Pubcomp), 2);
        assert_eq!(count(PacketType::Suback), 12);
        assert_eq!(count(PacketType::Unsuback), 7);
        assert_eq!(count(PacketType::Disconnect), 29);
        assert_eq!(count(PacketType::Auth), 3);
        assert_eq!(count(PacketType::Publish), 0);
        assert!(!ReasonCode::SessionTakenOver.is_valid_in(PacketType::Connack));
        assert!(ReasonCode::SessionTakenOver.is_valid_in(PacketType::Disconnect));
    }

    /// The return codes of MQTT 3.1.1 map both ways.
    #[test]
    fn return_codes() {
        for code in 0..=5 {
            assert_eq!(ReasonCode::from_return_code(code).and_then(ReasonCode::to_return_code), Some(code));
        }
        assert_eq!(ReasonCode::from_return_code(6), None);
        assert_eq!(ReasonCode::MalformedPacket.to_return_code(), None);
        assert_eq!(format!("{}", ReasonCode::Banned), "Banned (0x8a)");
    }
}
