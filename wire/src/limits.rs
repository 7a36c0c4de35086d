//! What a decoder refuses although the grammar allows it, and the grammar's own bounds.

/// Largest value of a variable byte integer, and so of the Remaining Length: 268,435,455.
pub const VARINT_MAX: u32 = (1 << 28) - 1;

/// Largest packet that the grammar can express, in bytes, fixed header included.
pub const PACKET_BYTES_MAX: u32 = VARINT_MAX + 5;

/// Longest string or binary field, in bytes: its length is two bytes.
pub const STRING_BYTES_MAX: usize = u16::MAX as usize;

/// Most properties that one packet may carry. Beyond it the packet is refused with Quota Exceeded (0x97): what a
/// property costs in the peers' parsers must not be chosen by the sender alone.
pub const PROPERTIES_MAX: u32 = 1024;

/// Most bytes that the properties of one packet may take (the will's are counted apart from those of its CONNECT).
/// Every single-valued property at its longest and one user property at its longest fit; beyond it the packet is
/// refused with Quota Exceeded (0x97).
pub const PROPERTY_BYTES_MAX: u32 = 512 * 1024;

const _: () = assert!(PROPERTY_BYTES_MAX < VARINT_MAX);
