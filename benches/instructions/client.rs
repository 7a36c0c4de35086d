//! What clients write, and their half of the handshakes of QoS 1 and 2.

/// MQTT 3.1.1 or 5.0, by protocol level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V311 = 4,
    /// MQTT 5.0.
    V5 = 5,
}

/// What a client has to say to what it was sent.
#[derive(Default)]
pub struct Answers(Vec<u8>);

impl Answers {
    /// Reads whole packets; returns whether these are the first answers since the last [`Answers::clear`].
    ///
    /// # Panics
    /// The bytes end within a packet, which the switch does for large packets alone, and no workload acknowledges those.
    pub fn read(&mut self, mut bytes: &[u8]) -> bool {
        let before = self.0.len();
        while let [first, rest @ ..] = bytes {
            let (len, used) = variable_byte_integer(rest);
            let (body, after) = rest[used..].split_at(len);
            bytes = after;
            let answer = match first {
                0x32..=0x33 => 0x40,
                0x34..=0x35 => 0x50,
                0x50 => 0x62,
                0x62 => 0x70,
                _ => continue,
            };
            let at = if *first < 0x40 { 2 + usize::from(u16::from_be_bytes([body[0], body[1]])) } else { 0 };
            self.0.extend_from_slice(&[answer, 2, body[at], body[at + 1]]);
        }
        before == 0 && !self.0.is_empty()
    }

    /// The packets to send.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// They are sent.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// A variable byte integer, and how many bytes it took (MQTT 5.0, 1.5.5).
fn variable_byte_integer(bytes: &[u8]) -> (usize, usize) {
    let (mut value, mut used) = (0, 0);
    loop {
        value |= usize::from(bytes[used] & 0x7f) << (7 * used);
        used += 1;
        if bytes[used - 1] & 0x80 == 0 {
            return (value, used);
        }
    }
}

/// CONNECT with a clean session and no keep alive.
pub fn connect(version: Version, client_id: &str) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', version as u8, 0x02, 0, 0];
    put_properties(&mut body, version, &[]);
    put_string(&mut body, client_id);
    packet(0x10, &body)
}

/// SUBSCRIBE with packet id 1.
pub fn subscribe<'a>(version: Version, filters: impl Iterator<Item = &'a str>, qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    put_properties(&mut body, version, &[]);
    for filter in filters {
        put_string(&mut body, filter);
        body.push(qos);
    }
    packet(0x82, &body)
}

/// What is published.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub topic: &'a str,
    pub qos: u8,
    pub retain: bool,
    /// Bytes of payload.
    pub payload: usize,
    /// The properties of an MQTT 5.0 publisher, without their length.
    pub properties: &'a [u8],
}

/// PUBLISH; `id` is left out at QoS 0.
pub fn publish(version: Version, message: &Message<'_>, id: u16) -> Vec<u8> {
    let mut body = Vec::new();
    put_string(&mut body, message.topic);
    if message.qos > 0 {
        body.extend_from_slice(&id.to_be_bytes());
    }
    put_properties(&mut body, version, message.properties);
    body.resize(body.len() + message.payload, b'x');
    packet(0x30 | message.qos << 1 | u8::from(message.retain), &body)
}

/// DISCONNECT, normal.
pub const DISCONNECT: [u8; 2] = [0xe0, 0];

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut len = body.len();
    while len >= 0x80 {
        bytes.push(len as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend_from_slice(body);
    bytes
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_properties(out: &mut Vec<u8>, version: Version, properties: &[u8]) {
    if version == Version::V5 {
        assert!(properties.len() < 0x80, "a length of one byte");
        out.push(properties.len() as u8);
        out.extend_from_slice(properties);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each packet that wants an answer gets it, with its packet id, and the others none.
    #[test]
    fn answers_name_the_packet() {
        let message = Message { topic: "a", qos: 1, retain: false, payload: 200, properties: &[] };
        let mut bytes = publish(Version::V311, &message, 0x1234);
        bytes.extend(publish(Version::V5, &Message { qos: 2, ..message }, 7));
        bytes.extend(publish(Version::V311, &Message { qos: 0, ..message }, 9));
        bytes.extend([0x50, 2, 0, 1, 0x62, 2, 0, 2, 0x70, 2, 0, 3, 0xd0, 0]);
        let mut answers = Answers::default();
        assert!(answers.read(&bytes));
        assert!(!answers.read(&[0xd0, 0]), "told once");
        let expected = [0x40, 2, 0x12, 0x34, 0x50, 2, 0, 7, 0x62, 2, 0, 1, 0x70, 2, 0, 2];
        assert_eq!(answers.bytes(), expected);
    }
}
