//! Bytes as a person reads them: packet by packet, named, in hexadecimal and as text.

use std::fmt::Write;

use crate::notation::Slot;

/// MQTT Control Packet types by number.
const NAMES: [&str; 16] = [
    "(0)",
    "CONNECT",
    "CONNACK",
    "PUBLISH",
    "PUBACK",
    "PUBREC",
    "PUBREL",
    "PUBCOMP",
    "SUBSCRIBE",
    "SUBACK",
    "UNSUBSCRIBE",
    "UNSUBACK",
    "PINGREQ",
    "PINGRESP",
    "DISCONNECT",
    "AUTH",
];

/// What of a long packet is shown, in bytes.
const SHOWN_MAX: usize = 96;

/// Packets, one a line; `indent` begins each line but the first.
pub fn packets(slots: &[Slot], indent: &str) -> String {
    let bytes: Vec<u8> = slots.iter().map(|slot| if let Slot::Exactly(byte) = slot { *byte } else { 0 }).collect();
    let mut lines = Vec::new();
    let mut begin = 0;
    while begin < slots.len() {
        let end = packet_end(&bytes[begin..]).map_or(slots.len(), |len| begin + len);
        lines.push(packet(&slots[begin..end]));
        begin = end;
    }
    if lines.is_empty() { "nothing".to_owned() } else { lines.join(&format!("\n{indent}")) }
}

/// The length of the packet at the beginning of `bytes`, header included; `None` when it is not whole.
pub fn packet_end(bytes: &[u8]) -> Option<usize> {
    let mut len = 0;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let end = 2 + index + len;
            return (end <= bytes.len()).then_some(end);
        }
    }
    None
}

fn packet(slots: &[Slot]) -> String {
    let name = match slots.first() {
        Some(Slot::Exactly(first)) => NAMES[usize::from(first >> 4)],
        _ => "?",
    };
    let (mut hex, mut text) = (String::new(), String::new());
    for slot in slots.iter().take(SHOWN_MAX) {
        match slot {
            Slot::Exactly(byte) => {
                write!(hex, " {byte:02x}").expect("a String takes everything");
                text.push(if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' });
            }
            Slot::Any | Slot::Capture(_) => {
                hex.push_str(" ??");
                text.push('?');
            }
        }
    }
    let cut = if slots.len() > SHOWN_MAX { format!(" ... ({} bytes)", slots.len()) } else { String::new() };
    format!("{name}{hex}{cut}  |{text}|")
}
