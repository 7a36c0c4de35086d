//! Why WebSocket connections end.

use core::fmt;

/// A status code of a close frame (RFC 6455, section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose is fulfilled.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// The server goes down.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// A rule of the protocol was broken.
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// A kind of data that cannot be accepted.
    pub const UNSUPPORTED_DATA: CloseCode = CloseCode(1003);
    /// Text that is not UTF-8.
    pub const INVALID_DATA: CloseCode = CloseCode(1007);
    /// A policy was broken.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// A message is too big.
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    /// The server is overloaded (registered with IANA).
    pub const TRY_AGAIN_LATER: CloseCode = CloseCode(1013);

    /// Whether an endpoint may send it (section 7.4): defined there, registered with IANA since, or free for use.
    pub fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// How a client can break the rules of framing. Always the client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// RSV1, RSV2 or RSV3 is set although no extension was negotiated (section 5.2).
    ReservedBits,
    /// Opcodes 3 to 7 and 11 to 15 are reserved (section 5.2).
    ReservedOpcode(u8),
    /// A frame of a client is not masked (section 5.1).
    Unmasked,
    /// A control frame has more than 125 bytes (section 5.5).
    ControlTooLong,
    /// A control frame is fragmented (section 5.5).
    ControlFragmented,
    /// A continuation frame, and there is nothing to continue (section 5.4).
    NothingToContinue,
    /// A message begins while another one is not finished (section 5.4).
    MessageUnfinished,
    /// A length is not in its shortest form (section 5.2).
    LengthForm,
    /// A length of 64 bits has its highest bit set (section 5.2).
    LengthTooLarge,
    /// MQTT travels in binary frames alone \[MQTT-6.0.0-1\].
    Text,
    /// The payload of a close frame is one byte (section 5.5.1).
    CloseTruncated,
    /// A close frame has a code that may not be sent (section 7.4).
    CloseCodeInvalid(u16),
    /// The reason in a close frame is not UTF-8 (section 5.5.1).
    CloseReasonNotUtf8,
}

impl Violation {
    /// The code to close with.
    pub fn code(self) -> CloseCode {
        match self {
            Violation::Text => CloseCode::UNSUPPORTED_DATA,
            Violation::CloseReasonNotUtf8 => CloseCode::INVALID_DATA,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// What is wrong, in a few words.
    pub fn description(self) -> &'static str {
        match self {
            Violation::ReservedBits => "a WebSocket frame with reserved bits",
            Violation::ReservedOpcode(_) => "a WebSocket frame with a reserved opcode",
            Violation::Unmasked => "a WebSocket frame without a mask",
            Violation::ControlTooLong => "a WebSocket control frame of more than 125 bytes",
            Violation::ControlFragmented => "a fragmented WebSocket control frame",
            Violation::NothingToContinue => "a WebSocket continuation of nothing",
            Violation::MessageUnfinished => "a WebSocket message within another",
            Violation::LengthForm => "a WebSocket length that is longer than it needs to be",
            Violation::LengthTooLarge => "a WebSocket length of more than 63 bits",
            Violation::Text => "a WebSocket text frame: MQTT needs binary ones",
            Violation::CloseTruncated => "a WebSocket close frame with half a code",
            Violation::CloseCodeInvalid(_) => "a WebSocket close code that may not be sent",
            Violation::CloseReasonNotUtf8 => "a WebSocket close reason that is not UTF-8",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

impl core::error::Error for Violation {}
