//! What the world outside of the switch knows: messages, clients, their sessions and connections.
//!
//! Nothing here looks inside the switch. A belief is certain only where the protocol makes it so; what the switch may
//! have done either way is left open, and the oracles ask nothing of it.

use std::collections::{HashMap, HashSet, VecDeque};

use shard::Instant;

use crate::kernel::SocketId;
use crate::packet::Version;

/// The order in which things happened, outside of the switch.
pub type Tick = u64;

/// An index in the list of all messages.
pub type MessageId = u32;

/// An index in the list of all connections.
pub type ConnId = usize;

/// An index in the list of clients.
pub type ClientId = usize;

/// What may be missing, and what is counted as dropped: QoS 0; QoS 1 and 2; either; QoS 1 to a group.
pub const CLASSES: usize = 4;

/// A message that a client published, or left as its will.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its topic.
    pub topic: usize,
    /// QoS of the publish.
    pub qos: u8,
    /// Its RETAIN flag.
    pub retain: bool,
    /// Payload bytes; 0: it clears the topic's retained message.
    pub bytes: usize,
    /// Message Expiry Interval in seconds; 0: none.
    pub expiry: u32,
    /// Who published it.
    pub client: ClientId,
    /// The connection that it was first sent on, or whose will it is.
    pub conn: ConnId,
    /// When it was first sent; a will: when it could first be published.
    pub sent: Tick,
    /// The same, in time.
    pub at: Instant,
    /// What had been dropped until it was made, by class.
    pub dropped: [u64; CLASSES],
    /// When the client knew that it was accepted.
    pub accepted: Option<Tick>,
    /// How many times it was sent.
    pub sends: u32,
    /// How many times more it may come at QoS 0, where nobody remembers it across a crash.
    pub repeats: u32,
    /// It was sent again when its session was resumed: behind what was sent meanwhile.
    pub resent: bool,
    /// It was refused: nobody needs to get it.
    pub refused: bool,
    /// It is a will that must not be published.
    pub cancelled: bool,
    /// It is a will.
    pub will: bool,
}

/// What a session's subscription has come to.
#[derive(Clone, Debug)]
pub struct Sub {
    /// The filter, as in [`crate::topics::Matches::of`].
    pub filter: usize,
    /// The QoS that was asked for.
    pub qos: u8,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// It asked for retained messages.
    pub wants_retained: bool,
    /// Subscription Identifier; 0: none.
    pub identifier: u32,
    /// When SUBSCRIBE was sent.
    pub asked: Tick,
    /// When SUBACK came.
    pub held: Option<Tick>,
    /// When its end was asked for, or became possible.
    pub leaving: Option<Tick>,
    /// When it was known to be over.
    pub gone: Option<Tick>,
    /// The session that it belongs to.
    pub epoch: u32,
}

/// A message toward a client between its first copy and its last acknowledgement.
#[derive(Clone, Debug)]
pub struct Inflight {
    /// Packet Identifier.
    pub id: u16,
    /// What it is; `None` for one that clears.
    pub message: Option<MessageId>,
    /// QoS of the delivery.
    pub qos: u8,
    /// The client has sent PUBREC.
    pub received: bool,
    /// PUBREL has come.
    pub released: bool,
    /// The connection that it came on last.
    pub conn: ConnId,
    /// Its place among all that were ever in flight.
    pub order: u64,
}

/// What a client is owed.
#[derive(Clone, Copy, Debug)]
pub struct Owed {
    /// The message.
    pub message: MessageId,
    /// The session, by epoch.
    pub epoch: u32,
    /// 0: it must come at QoS 0; 1: at QoS 1 or 2; 2: at either.
    pub class: usize,
    /// The connection with which the obligation ends, where it does.
    pub conn: Option<ConnId>,
}

/// What some member of a shared subscription is owed.
#[derive(Clone, Debug)]
pub struct GroupOwed {
    /// The shared subscription.
    pub filter: usize,
    /// The message.
    pub message: MessageId,
    /// It does not get lost with a member: QoS 1 or 2, for all that ever were members.
    pub lasting: bool,
    /// Connections with the first of which the obligation ends.
    pub conns: Vec<ConnId>,
}

/// A session, as its client knows it.
#[derive(Debug, Default)]
pub struct Session {
    /// Which session of this client.
    pub epoch: u32,
    /// Its beginning and its state are beyond doubt.
    pub certain: bool,
    /// It is in doubt for nothing but a CONNECT without an answer.
    pub unanswered: bool,
    /// Such a CONNECT may have begun another session, which knows nothing of what is under way in this one.
    pub renewed: bool,
    /// Session Expiry Interval; 0: it ends with its connection.
    pub expiry: u32,
    /// The client was told that there is no session but the one that ends with its connection.
    pub none: bool,
    /// Copies of each message, redeliveries apart: QoS 0, and QoS 1 or 2.
    pub copies: HashMap<MessageId, [u32; 2]>,
    /// Messages in flight toward the client, in the order in which they came.
    pub inflight: Vec<Inflight>,
    /// The newest message of a client on a topic at a QoS: order.
    pub newest: HashMap<(ClientId, usize, u8), MessageId>,
    /// The newest live retained-flagged message, likewise.
    pub newest_kept: HashMap<(ClientId, usize, u8), MessageId>,
    /// Publishes of QoS 1 and 2 that are not through, in order.
    pub outstanding: VecDeque<Outstanding>,
    /// Messages that came at QoS 1 of which it is not certain that the journal knows their PUBACK.
    pub fresh: Vec<MessageId>,
    /// Messages of QoS 1 and 2 whose last acknowledgement the journal knows.
    pub settled: HashSet<MessageId>,
    /// `newest`, without what is fresh.
    pub newest_settled: HashMap<(ClientId, usize, u8), MessageId>,
    /// A will that waits for its delay: the message, since when, and for how many seconds.
    pub will: Option<(MessageId, Instant, u32)>,
}

impl Session {
    /// Another session begins: nothing of this one remains.
    pub fn begin(&mut self, certain: bool) {
        *self = Session { epoch: self.epoch + 1, expiry: self.expiry, certain, ..Session::default() };
    }
}

/// A publish of a client that is not through.
#[derive(Clone, Debug)]
pub struct Outstanding {
    /// Packet Identifier.
    pub id: u16,
    /// What it is.
    pub message: MessageId,
    /// The connection that it was sent on last.
    pub conn: ConnId,
    /// 1 or 2.
    pub qos: u8,
    /// PUBREC has come: PUBREL was sent.
    pub released: bool,
    /// Turns that the machine had taken then.
    pub released_at: Option<u64>,
    /// Whether PUBREL was lost with the node.
    pub unheard: Unheard,
}

/// Whether a PUBREL was surely lost with the node, so that its next copy is the first to be heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unheard {
    /// Nobody knows.
    #[default]
    No,
    /// It was lost.
    Yes,
    /// It was lost, and sent once since.
    SentAgain,
}

/// A client identifier, and all that happens under it.
#[derive(Debug)]
pub struct Client {
    /// The identifier.
    pub name: String,
    /// The version that it speaks.
    pub version: Version,
    /// It shares subscriptions and has no other.
    pub worker: bool,
    /// Its present session.
    pub session: Session,
    /// All subscriptions that may still matter.
    pub subs: Vec<Sub>,
    /// What its sessions are owed.
    pub owed: Vec<Owed>,
    /// Its connections that may not be over.
    pub conns: Vec<ConnId>,
    /// When it last had a connection, once everything was at rest since.
    pub left_at: Option<Instant>,
    /// The packet identifier that it used last.
    pub packet_id: u16,
    /// The moment of `left_at`, the wall clock then, and the last time at which the switch may take it to have left.
    pub left: Left,
    /// When it last sent a DISCONNECT with another expiry.
    pub changed: Tick,
}

/// How a client has left, beside when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Left {
    /// The moment.
    pub tick: Tick,
    /// The wall clock then, in milliseconds.
    pub wall_ms: u64,
    /// A restart may have been taken for it: when that was, and the wall clock then.
    pub latest: Option<(Instant, u64)>,
}

/// How far a connection is, at its client's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// CONNECT was sent.
    Asked,
    /// CONNACK with success came.
    Open,
    /// DISCONNECT was sent.
    Leaving,
    /// Over.
    Over,
}

/// A connection, at its client's end.
#[derive(Debug)]
pub struct Conn {
    /// Whose it is; `None`: a hostile client.
    pub client: Option<ClientId>,
    /// The version that it speaks.
    pub version: Version,
    /// The socket.
    pub socket: SocketId,
    /// How far it is.
    pub stage: Stage,
    /// Bytes that were read and are not a whole packet.
    pub input: Vec<u8>,
    /// Clean Start.
    pub clean: bool,
    /// Session Expiry Interval.
    pub expiry: u32,
    /// Keep Alive, in seconds.
    pub keep_alive: u16,
    /// It sends nothing any more, to see whether keep alive ends it.
    pub silent: bool,
    /// When it last sent something.
    pub sent_at: Instant,
    /// When it was asked for.
    pub opened_at: Instant,
    /// When CONNACK came.
    pub opened: Tick,
    /// The place of the message that was sent again last.
    pub resent: u64,
    /// Receive Maximum that it told.
    pub receive_maximum: u16,
    /// Topic Alias Maximum that it told.
    pub alias_maximum: u16,
    /// Receive Maximum of the switch.
    pub quota: u16,
    /// It found its session.
    pub resumed: bool,
    /// Another connection of the client was possible when this one began.
    pub raced: bool,
    /// It reads nothing at present.
    pub paused: bool,
    /// It read nothing for a while: what happened when to it is not known.
    pub was_paused: bool,
    /// It keeps acknowledgements back at present.
    pub owing: Vec<(u8, u16)>,
    /// Topics by alias, as the switch set them up.
    pub aliases: HashMap<u16, Option<usize>>,
    /// SUBSCRIBE and UNSUBSCRIBE packets that are not answered: identifier, whether SUBSCRIBE, how many filters.
    pub requests: Vec<Request>,
    /// PINGREQs that are not answered.
    pub pings: u32,
    /// QoS 0 messages sent since everything was at rest.
    pub loose: Vec<MessageId>,
    /// Its will.
    pub will: Option<MessageId>,
    /// Will Delay Interval.
    pub will_delay: u32,
    /// The reason of the DISCONNECT that came.
    pub goodbye: Option<u8>,
    /// What it sent breaks a rule: the switch must close it with this reason.
    pub doomed: Option<u8>,
}

/// A SUBSCRIBE or UNSUBSCRIBE that is not answered.
#[derive(Clone, Debug)]
pub struct Request {
    /// Packet Identifier.
    pub id: u16,
    /// Filters, in order.
    pub filters: Vec<usize>,
    /// When it was sent.
    pub asked: Tick,
    /// SUBSCRIBE.
    pub subscribe: bool,
    /// The code that UNSUBACK must have, where that is certain.
    pub expected: Option<u8>,
}

impl Sub {
    /// Whether a message that was first sent at `sent` may still come by it.
    pub fn may_bring(&self, sent: Tick) -> bool {
        self.gone.is_none_or(|gone| gone > sent)
    }

    /// Whether it was in force when a message was sent, and nothing has ended it since.
    pub fn stable_since(&self, sent: Tick) -> bool {
        self.held.is_some_and(|held| held < sent) && self.leaving.is_none() && self.gone.is_none()
    }
}

impl Conn {
    /// A connection that was asked for just now.
    pub fn new(client: Option<ClientId>, version: Version, socket: SocketId, now: Instant) -> Conn {
        Conn {
            client,
            version,
            socket,
            stage: Stage::Asked,
            input: Vec::new(),
            clean: true,
            expiry: 0,
            keep_alive: 0,
            silent: false,
            sent_at: now,
            opened_at: now,
            opened: 0,
            resent: 0,
            receive_maximum: u16::MAX,
            alias_maximum: 0,
            quota: u16::MAX,
            resumed: false,
            raced: false,
            paused: false,
            was_paused: false,
            owing: Vec::new(),
            aliases: HashMap::new(),
            requests: Vec::new(),
            pings: 0,
            loose: Vec::new(),
            will: None,
            will_delay: 0,
            goodbye: None,
            doomed: None,
        }
    }
}

/// The payload of a message: two bytes of a mark, its number, and a filling that depends on both.
pub fn payload(number: MessageId, bytes: usize) -> Vec<u8> {
    let mut payload = Vec::with_capacity(bytes);
    payload.extend(MARK);
    payload.extend(number.to_be_bytes());
    payload.extend((payload.len()..bytes).map(|index| filling(number, index)));
    payload.truncate(bytes);
    payload
}

/// The number in a payload, if it is one of ours and whole.
pub fn number_of(payload: &[u8]) -> Option<MessageId> {
    let rest = payload.strip_prefix(&MARK)?;
    let number = MessageId::from_be_bytes(rest.get(..4)?.try_into().ok()?);
    let whole = payload.iter().enumerate().skip(PAYLOAD_MIN).all(|(index, byte)| *byte == filling(number, index));
    whole.then_some(number)
}

/// The shortest payload that can be recognised.
pub const PAYLOAD_MIN: usize = MARK.len() + 4;

const MARK: [u8; 2] = *b"RM";

fn filling(number: MessageId, index: usize) -> u8 {
    (number as u8).wrapping_mul(31).wrapping_add(index as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A payload says which message it is, and whether a byte is wrong.
    #[test]
    fn payloads_are_recognised() {
        for bytes in [PAYLOAD_MIN, 7, 5000] {
            assert_eq!(number_of(&payload(70_000, bytes)), Some(70_000));
        }
        let mut wrong = payload(3, 20);
        wrong[19] ^= 1;
        assert_eq!(number_of(&wrong), None);
        assert_eq!(number_of(b"hostile"), None);
    }
}
