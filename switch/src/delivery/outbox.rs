//! What waits for one connection alone: whole encoded packets, in the order in which they leave.

use wire::websocket::{FrameHeader, Opcode, payload_at};

use crate::limits::OUTBOX_POOL_BYTES;

/// Encoded packets for one connection. Exists only while something waits.
///
/// ```text
///   buffer: │ sent ... │ torn packet's rest │ packet │ packet │ ...
///                      ^ head               ^ whole
/// ```
#[derive(Default)]
pub struct Outbox {
    buffer: Vec<u8>,
    /// First byte not sent yet.
    head: usize,
    /// First byte that begins a packet which is whole in this buffer; before it lies the rest of a packet that left in
    /// part from a feed.
    whole: usize,
    /// QoS 0 PUBLISH packets in the buffer that have not been settled with the ledger, a torn one included.
    unsettled: u32,
}

impl Outbox {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.buffer.len() - self.head
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// QoS 0 messages that wait here, one that left in part included.
    pub fn unsettled(&self) -> u32 {
        self.unsettled
    }

    /// The bytes that wait.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.head..]
    }

    /// The buffer, to append whole packets to.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Appends room for `len` bytes and returns it, for one whole packet.
    pub fn claim(&mut self, len: usize) -> &mut [u8] {
        let start = self.buffer.len();
        self.buffer.resize(start + len, 0);
        &mut self.buffer[start..]
    }

    /// Appends the header of a WebSocket frame; one whole packet of `len` bytes must follow.
    pub fn begin_frame(&mut self, len: usize) {
        self.buffer.extend_from_slice(FrameHeader::new(Opcode::Binary, len).bytes());
    }

    /// One more QoS 0 message was appended.
    pub fn note_unsettled(&mut self) {
        self.unsettled += 1;
    }

    /// Puts the rest of a packet that left in part; nothing else may wait.
    pub fn tear(&mut self, rest: &[u8]) {
        assert!(self.is_empty(), "the rest of a torn packet goes first");
        self.buffer.clear();
        self.head = 0;
        self.buffer.extend_from_slice(rest);
        self.whole = rest.len();
        self.unsettled += 1;
    }

    /// Puts a run of QoS 0 messages that left in part, as sealed bytes that are kept elsewhere; nothing else may wait.
    pub fn put_run(&mut self, run: &[u8], messages: u32) {
        assert!(self.is_empty(), "a run that was sealed goes first");
        self.buffer.clear();
        (self.head, self.whole) = (0, 0);
        self.buffer.extend_from_slice(run);
        self.unsettled += messages;
    }

    /// Takes `count` bytes off the front. Returns how many QoS 0 messages that settled as delivered: all of them when
    /// nothing is left, those before the packet at hand when much has left, none otherwise.
    pub fn advance(&mut self, count: usize) -> u32 {
        self.head += count;
        assert!(self.head <= self.buffer.len(), "more was sent than waited");
        if self.head < self.buffer.len() {
            return if self.head < COMPACT_BYTES { 0 } else { self.compact() };
        }
        self.buffer.clear();
        self.head = 0;
        self.whole = 0;
        std::mem::take(&mut self.unsettled)
    }

    /// Forgets the packets that have left whole; else the outbox of a client that is never quite done would keep all
    /// that was ever sent. Returns how many QoS 0 messages were among them.
    fn compact(&mut self) -> u32 {
        if self.head < self.whole {
            return 0;
        }
        let mut settled = u32::from(self.whole > 0);
        let mut at = self.whole;
        while at < self.head {
            let packet = packet_len(&self.buffer[at..]);
            if at + packet > self.head {
                break;
            }
            settled += u32::from(is_publish0(&self.buffer[at..]));
            at += packet;
        }
        self.buffer.drain(..at);
        self.head -= at;
        self.whole = 0;
        self.unsettled -= settled;
        settled
    }

    /// Drops all that waits. Returns the QoS 0 messages that had left whole, and those that had not.
    pub fn abandon(&mut self) -> (u32, u32) {
        let mut unsent = 0;
        let mut at = self.whole;
        if self.head < self.whole {
            unsent += 1;
        }
        while at < self.buffer.len() {
            let packet = packet_len(&self.buffer[at..]);
            if is_publish0(&self.buffer[at..]) && at + packet > self.head {
                unsent += 1;
            }
            at += packet;
        }
        let total = std::mem::take(&mut self.unsettled);
        self.buffer.clear();
        self.head = 0;
        self.whole = 0;
        (total - unsent, unsent)
    }
}

/// Bytes that may have left before they are forgotten.
const COMPACT_BYTES: usize = 64 << 10;

/// Whether `bytes` begin with a PUBLISH of QoS 0 (0011 d00r), or with a WebSocket frame that holds one.
fn is_publish0(bytes: &[u8]) -> bool {
    let packet = if bytes[0] == BINARY_FRAME { payload_at(bytes).map_or(0, |(start, _)| start) } else { 0 };
    bytes.get(packet).is_some_and(|first| first & 0xf6 == 0x30)
}

/// A whole binary message. No packet begins so: it would be a SUBSCRIBE, which no server sends.
const BINARY_FRAME: u8 = 0x82;

/// The length of what stands at the front of `bytes`, which this switch wrote: a packet, a WebSocket frame, or the answer
/// to a handshake.
fn packet_len(bytes: &[u8]) -> usize {
    match bytes[0] {
        // Binary, close and pong frames; no server sends packets of type 8.
        0x80..=0x8f => return payload_at(bytes).map_or(bytes.len(), |(_, end)| end),
        // HTTP. Frames follow where there is no body.
        b'H' => {
            let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
            return end.filter(|_| bytes.starts_with(b"HTTP/1.1 101")).map_or(bytes.len(), |end| end + 4);
        }
        _ => {}
    }
    let mut len = 0;
    for (index, byte) in bytes[1..].iter().enumerate() {
        len |= ((byte & 0x7f) as usize) << (7 * index);
        if byte & 0x80 == 0 {
            return len + index + 2;
        }
    }
    bytes.len()
}

/// Emptied outboxes, used again.
#[derive(Default)]
pub struct OutboxPool {
    spare: Vec<Box<Outbox>>,
    bytes: usize,
}

impl OutboxPool {
    /// An empty outbox.
    pub fn take(&mut self) -> Box<Outbox> {
        match self.spare.pop() {
            Some(outbox) => {
                self.bytes -= outbox.buffer.capacity();
                outbox
            }
            None => Box::default(),
        }
    }

    /// Takes an empty outbox back.
    pub fn give(&mut self, outbox: Box<Outbox>) {
        assert!(outbox.is_empty() && outbox.unsettled == 0, "an outbox is given back empty");
        let capacity = outbox.buffer.capacity();
        if capacity <= OUTBOX_POOL_BYTES / 64 && self.bytes + capacity <= OUTBOX_POOL_BYTES {
            self.bytes += capacity;
            self.spare.push(outbox);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISH: [u8; 6] = [0x30, 4, 0, 1, b't', b'x'];
    const PINGRESP: [u8; 2] = [0xd0, 0];

    /// Messages are settled when all has left, control packets are not counted.
    #[test]
    fn settles_when_drained() {
        let mut outbox = Outbox::default();
        outbox.claim(6).copy_from_slice(&PUBLISH);
        outbox.note_unsettled();
        outbox.claim(2).copy_from_slice(&PINGRESP);
        assert_eq!(outbox.advance(7), 0);
        assert_eq!(outbox.advance(1), 1);
        assert!(outbox.is_empty());
    }

    /// An outbox that is never quite empty keeps what waits, not what has left.
    #[test]
    fn what_has_left_is_forgotten() {
        let mut outbox = Outbox::default();
        outbox.tear(&PUBLISH[3..]);
        let mut settled = 0;
        for _ in 0..100_000 {
            outbox.claim(6).copy_from_slice(&PUBLISH);
            outbox.note_unsettled();
            settled += outbox.advance(6);
            assert!(outbox.buffer.len() <= COMPACT_BYTES + 16);
        }
        assert!(settled > 80_000);
        settled += outbox.advance(outbox.len());
        assert_eq!((settled, outbox.unsettled()), (100_001, 0));
    }

    /// Frames, and what else a WebSocket is sent, are told apart as packets are.
    #[test]
    fn frames_are_told_apart() {
        let mut outbox = Outbox::default();
        outbox.buffer().extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
        let answer = outbox.len();
        for payload in [3, 200, 70_000] {
            let packet = [&[0x30][..], &vec![0; payload - 1]].concat();
            outbox.begin_frame(packet.len());
            outbox.buffer().extend_from_slice(&packet);
            outbox.note_unsettled();
            outbox.begin_frame(2);
            outbox.buffer().extend_from_slice(&PINGRESP);
            outbox.buffer().extend_from_slice(&[0x8a, 1, b'?']);
        }
        outbox.buffer().extend_from_slice(&[0x88, 2, 3, 0xe8]);
        outbox.advance(answer + 2 + 3 + 4 + 3 + 4 + 200);
        assert_eq!(outbox.abandon(), (2, 1));
    }

    /// A connection that dies tells which messages had left whole.
    #[test]
    fn abandon_tells_sent_from_unsent() {
        let mut outbox = Outbox::default();
        outbox.tear(&PUBLISH[3..]);
        for _ in 0..2 {
            outbox.claim(6).copy_from_slice(&PUBLISH);
            outbox.note_unsettled();
        }
        outbox.claim(2).copy_from_slice(&PINGRESP);
        outbox.advance(3 + 6 + 1);
        assert_eq!(outbox.abandon(), (2, 1));
        let mut torn = Outbox::default();
        torn.tear(&PUBLISH[3..]);
        assert_eq!(torn.abandon(), (0, 1));
    }
}
