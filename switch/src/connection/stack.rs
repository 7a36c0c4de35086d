//! What lies between a socket and MQTT, where that is not nothing.
//!
//! ```text
//!   socket ─▶ [PROXY header] ─▶ [TLS] ─▶ [WebSocket request ─▶ frames] ─▶ MQTT: inbound
//!   socket ◀─────────────────── [TLS] ◀─ whole frames in outbox and feeds ◀─ MQTT: outbound
//! ```
//!
//! Layers are values that take bytes and give bytes; the one place that knows their order is `Switch::unwrap`. A PROXY
//! header comes in the clear ([`super::secure`] tells of what follows it).
//!
//! A connection of plain TCP has no stack: its bytes go to MQTT where the kernel put them. One with a stack is marked as
//! *wrapped*, and its bytes are unwrapped into scratch space of the shard in the one pass that unmasking takes. One whose
//! packets leave in WebSocket frames is marked as *framed*: each packet is one binary frame from the moment that it is
//! encoded, in outboxes and feeds alike, so that a flush sends bytes and knows nothing of frames.

use std::net::SocketAddr;

use shard::{Effects, Slot};
use wire::proxy::{NoProxyHeader, ProxyHeader, read_proxy_header};
use wire::websocket::{
    CONTROL_BYTES_MAX, CloseCode, Decoder, Event, FrameHeader, Opcode, Progress, Refusal, Rules, Violation,
    read_request,
};

use super::address::Address;
use super::close::Cause;
use super::{ConnectionId, Phase};
use crate::listener::{ListenerPolicy, UpgradeRules};
use crate::switch::Switch;
use crate::tls::channel::Channel;

/// The layers of one connection.
#[derive(Debug)]
pub struct Stack {
    /// TLS, where it is spoken: between the PROXY header and all other layers.
    pub channel: Option<Box<Channel>>,
    /// What came of a handshake of TLS that waits for its turn.
    pub held: Option<Box<Vec<u8>>>,
    layer: Layer,
    /// How the frames ended, once they have.
    ending: Option<Ending>,
}

/// Which layer the next byte is for.
#[derive(Debug, PartialEq, Eq)]
enum Layer {
    /// The header of a proxy comes first; what has come of it, which has a limit.
    Proxy(Vec<u8>),
    /// The request for WebSocket; what has come of it, which has a limit too.
    Request(Vec<u8>),
    /// Frames.
    Frames(Decoder),
    /// MQTT as it is.
    Plain,
}

/// How the frames of a client ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a close frame, and this code if it had one.
    Closed(Option<CloseCode>),
    /// With a rule broken.
    Violated(Violation),
}

impl Ending {
    /// For the log.
    pub fn description(self) -> &'static str {
        match self {
            Ending::Closed(_) => "the client closed the WebSocket",
            Ending::Violated(violation) => violation.description(),
        }
    }
}

/// What a call of [`Stack::next`] has come to.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    /// Bytes of the input.
    consumed: usize,
    /// Bytes for MQTT.
    written: usize,
    /// What is to be done before the rest of the input; `None`: there is no rest.
    step: Option<Step>,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The proxy has told whom it serves, or that it serves nobody.
    Client(Option<SocketAddr>),
    /// The connection speaks WebSocket from now on, after these bytes.
    Upgraded(Vec<u8>),
    /// It will not, and these bytes say why.
    Refused(Refusal, Vec<u8>),
    /// A proxy did not say whom it serves.
    NoProxyHeader,
    /// A pong with this payload is due.
    Ping(Vec<u8>),
    /// The frames have ended.
    Ended(Ending),
}

impl Stack {
    /// The stack of a new connection; `None`: it speaks MQTT as it is.
    pub fn new(policy: &ListenerPolicy, peer: SocketAddr, channel: Option<Box<Channel>>) -> Option<Stack> {
        let proxied = policy.proxies.as_ref().is_some_and(|proxies| proxies.include(peer.ip()));
        let layer = match (proxied, &policy.upgrade) {
            (true, _) => Layer::Proxy(Vec::new()),
            (false, Some(_)) => Layer::Request(Vec::new()),
            (false, None) if channel.is_some() => Layer::Plain,
            (false, None) => return None,
        };
        Some(Stack { channel, held: None, layer, ending: None })
    }

    /// Whether packets are in frames.
    pub fn is_framed(&self) -> bool {
        matches!(self.layer, Layer::Frames(_))
    }

    /// How the frames ended, if they have.
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// Takes bytes up to the next thing that must be done. `out` is as long as `input` at least.
    fn next(&mut self, input: &[u8], out: &mut [u8], policy: &ListenerPolicy) -> Taken {
        match &mut self.layer {
            Layer::Proxy(front) => {
                let (taken, next) = proxy_header(front, input, policy);
                if let Some(next) = next {
                    self.layer = next;
                }
                taken
            }
            Layer::Request(front) => {
                let rules = policy.upgrade.as_ref().expect("a request is awaited where there are rules for it");
                let (taken, next) = request(front, input, rules);
                if let Some(next) = next {
                    self.layer = next;
                }
                taken
            }
            Layer::Frames(decoder) => {
                let Progress { consumed, written, event } = decoder.decode(input, out);
                let step = event.map(|event| match event {
                    Event::Ping(payload) => Step::Ping(payload),
                    Event::Closed(code) => Step::Ended(Ending::Closed(code)),
                    Event::Violated(violation) => Step::Ended(Ending::Violated(violation)),
                });
                if let Some(Step::Ended(ending)) = step {
                    self.ending = Some(ending);
                }
                Taken { consumed, written, step }
            }
            Layer::Plain => {
                out[..input.len()].copy_from_slice(input);
                Taken { consumed: input.len(), written: input.len(), step: None }
            }
        }
    }

    /// Appends what another shard needs in order to go on; only once CONNECT has been read through it.
    pub fn save(&self, out: &mut Vec<u8>) {
        let Layer::Frames(decoder) = &self.layer else { return };
        decoder.save(out);
        let (kind, code) = match self.ending {
            None => (0, 0),
            Some(Ending::Closed(None)) => (1, 0),
            Some(Ending::Closed(Some(code))) => (2, code.0),
            // Which rule it was is for this shard's log; the code is what remains to be said.
            Some(Ending::Violated(violation)) => (3, violation.code().0),
        };
        out.push(kind);
        out.extend_from_slice(&code.to_le_bytes());
    }

    /// The stack that [`Stack::save`] wrote, with its channel, which travels as it is; `None`: there was none.
    pub fn restore(mut bytes: &[u8], channel: Option<Box<Channel>>) -> Option<Stack> {
        if bytes.is_empty() && channel.is_some() {
            return Some(Stack { channel, held: None, layer: Layer::Plain, ending: None });
        }
        let decoder = Decoder::restore(&mut bytes)?;
        let [kind, low, high] = bytes.try_into().ok()?;
        let code = CloseCode(u16::from_le_bytes([low, high]));
        let ending = match kind {
            0 => None,
            1 => Some(Ending::Closed(None)),
            2 => Some(Ending::Closed(Some(code))),
            _ if code == CloseCode::UNSUPPORTED_DATA => Some(Ending::Violated(Violation::Text)),
            _ if code == CloseCode::INVALID_DATA => Some(Ending::Violated(Violation::CloseReasonNotUtf8)),
            _ => Some(Ending::Violated(Violation::ReservedBits)),
        };
        Some(Stack { channel, held: None, layer: Layer::Frames(decoder), ending })
    }
}

/// Looks for the header of a proxy in what has come; and the layer behind it, if it is whole.
fn proxy_header(front: &mut Vec<u8>, input: &[u8], policy: &ListenerPolicy) -> (Taken, Option<Layer>) {
    let before = front.len();
    front.extend_from_slice(input);
    let all = |step| (Taken { consumed: input.len(), written: 0, step }, None);
    match read_proxy_header(front) {
        Ok(None) => all(None),
        Ok(Some(ProxyHeader { len, client })) => {
            let next = if policy.upgrade.is_some() { Layer::Request(Vec::new()) } else { Layer::Plain };
            (Taken { consumed: len - before, written: 0, step: Some(Step::Client(client)) }, Some(next))
        }
        Err(NoProxyHeader) => all(Some(Step::NoProxyHeader)),
    }
}

/// Looks for a request in what has come; and the layer behind it, if it is granted.
fn request(front: &mut Vec<u8>, input: &[u8], rules: &UpgradeRules) -> (Taken, Option<Layer>) {
    let before = front.len();
    front.extend_from_slice(input);
    let UpgradeRules { path, origins, request_bytes_max } = rules;
    let rules = Rules { path, origins, request_bytes_max: *request_bytes_max };
    let mut answer = Vec::new();
    match read_request(front, before, &rules) {
        Ok(None) => (Taken { consumed: input.len(), written: 0, step: None }, None),
        Ok(Some(upgrade)) => {
            upgrade.respond(&mut answer);
            let taken = Taken { consumed: upgrade.len - before, written: 0, step: Some(Step::Upgraded(answer)) };
            (taken, Some(Layer::Frames(Decoder::default())))
        }
        Err(refusal) => {
            refusal.respond(&mut answer);
            (Taken { consumed: input.len(), written: 0, step: Some(Step::Refused(refusal, answer)) }, None)
        }
    }
}

impl Switch {
    /// Bytes came to a connection that has a stack.
    #[inline(never)]
    pub(super) fn received_wrapped(&mut self, slot: Slot, bytes: &[u8], heard_ms: u32, fx: &mut Effects) {
        let conn = self.connections.at_mut(slot);
        if !matches!(conn.phase, Phase::Open | Phase::Handshake | Phase::Challenged) {
            return self.received_plain(slot, bytes, fx);
        }
        if conn.encrypted && self.waits_for_its_turn(slot, bytes) {
            return;
        }
        self.received_through(slot, bytes, heard_ms, fx);
    }

    /// The same for bytes that need not wait.
    pub(super) fn received_through(&mut self, slot: Slot, bytes: &[u8], heard_ms: u32, fx: &mut Effects) {
        let before_ms = self.connections.at(slot).heard_ms;
        let id = self.connections.id(slot);
        let mut plain = std::mem::take(&mut self.unwrapped);
        let (written, cause) = self.unwrap(slot, bytes, &mut plain);
        if written == 0 && self.connections.at(slot).phase == Phase::Open {
            // Pings of the WebSocket are no MQTT packets, so they keep nobody alive ([MQTT-3.1.2-22]).
            self.connections.at_mut(slot).heard_ms = before_ms;
        } else {
            self.connections.at_mut(slot).heard_ms = heard_ms;
        }
        if written > 0 || cause.is_none() {
            self.received_plain(slot, &plain[..written], fx);
        }
        self.unwrapped = plain;
        if self.connections.at(slot).phase == Phase::Open && self.connections.at(slot).parked {
            self.receive_on(slot, fx);
        }
        if let Some(cause) = cause {
            self.stream_ended(id, cause, fx);
        }
    }

    /// Takes bytes through the stack. Returns how many bytes there are for MQTT, and why the stream has ended behind
    /// them.
    fn unwrap(&mut self, slot: Slot, mut bytes: &[u8], plain: &mut Vec<u8>) -> (usize, Option<Cause>) {
        let Some(mut stack) = self.stacks.take(slot) else { unreachable!("a wrapped connection has a stack") };
        let (mut filled, mut cause) = (0, None);
        match stack.channel.take() {
            None => (filled, cause) = self.peel(slot, &mut stack, &mut bytes, plain, false),
            Some(mut channel) => {
                if matches!(stack.layer, Layer::Proxy(_)) {
                    (_, cause) = self.peel(slot, &mut stack, &mut bytes, plain, true);
                }
                if cause.is_none() && !matches!(stack.layer, Layer::Proxy(_)) {
                    let end = self.open_records(slot, &mut channel, bytes);
                    let mut opened = std::mem::take(&mut self.secure.opened);
                    if stack.layer == Layer::Plain {
                        std::mem::swap(&mut opened, plain);
                        filled = plain.len();
                    } else {
                        (filled, cause) = self.peel(slot, &mut stack, &mut &opened[..], plain, false);
                    }
                    self.secure.opened = opened;
                    cause = cause.or(end);
                }
                stack.channel = Some(channel);
            }
        }
        if stack.layer == Layer::Plain && stack.channel.is_none() {
            self.connections.at_mut(slot).wrapped = false;
        } else {
            self.stacks.put(slot, stack);
        }
        (filled, cause)
    }

    /// Takes bytes through the layers that are no TLS; `in_clear`: through the PROXY header alone.
    fn peel(
        &mut self,
        slot: Slot,
        stack: &mut Stack,
        bytes: &mut &[u8],
        plain: &mut Vec<u8>,
        in_clear: bool,
    ) -> (usize, Option<Cause>) {
        if plain.len() < bytes.len() {
            plain.resize(bytes.len(), 0);
        }
        let listener = usize::from(self.connections.at(slot).listener);
        let (mut filled, mut cause) = (0, None);
        while !bytes.is_empty() && cause.is_none() && (!in_clear || matches!(stack.layer, Layer::Proxy(_))) {
            let policy = &self.listeners[listener];
            let Taken { consumed, written, step } = stack.next(bytes, &mut plain[filled..], policy);
            *bytes = &bytes[consumed..];
            filled += written;
            match step {
                None | Some(Step::Client(None)) => {}
                Some(Step::Client(Some(client))) => {
                    self.connections.at_mut(slot).peer = Address::from(client);
                    cause = self.count_address(slot);
                }
                Some(Step::Upgraded(answer)) => {
                    self.write_raw(slot, &answer);
                    self.connections.at_mut(slot).framed = true;
                }
                Some(Step::Refused(refusal, answer)) => {
                    self.write_raw(slot, &answer);
                    cause = Some(Cause::NotUpgraded(refusal));
                }
                Some(Step::NoProxyHeader) => cause = Some(Cause::NoProxyHeader),
                Some(Step::Ping(payload)) => self.pong(slot, &payload),
                Some(Step::Ended(ending)) => cause = Some(Cause::WebSocket(ending)),
            }
        }
        (filled, cause)
    }

    /// Nothing more will come: the connection ends, if it is not busy with what came before.
    fn stream_ended(&mut self, id: ConnectionId, cause: Cause, fx: &mut Effects) {
        let Some(conn) = self.connections.find(id) else { return };
        match conn.phase {
            Phase::Open if conn.parked => conn.ended = true,
            Phase::Authenticating | Phase::Claimed | Phase::Moving => conn.ended = true,
            Phase::Open | Phase::Handshake | Phase::Challenged => self.close(id.slot, cause, fx),
            _ => {}
        }
    }

    /// Why a connection ends whose client will send nothing more.
    pub(super) fn end_of_stream(&self, slot: Slot) -> Cause {
        let Some(stack) = self.stacks.get(slot).filter(|_| self.connections.at(slot).wrapped) else {
            return Cause::Eof;
        };
        let closed = stack.channel.as_ref().is_some_and(|channel| channel.has_ended());
        stack.ending().map_or(if closed { Cause::TlsClosed } else { Cause::Eof }, Cause::WebSocket)
    }

    /// Answers a ping (RFC 6455, section 5.5.3). Who asks and does not read is not read either.
    fn pong(&mut self, slot: Slot, payload: &[u8]) {
        let most = self.limits.max_outbox_bytes as usize;
        if !self.connections.at(slot).writable() {
            return;
        }
        self.write_raw(slot, FrameHeader::new(Opcode::Pong, payload.len()).bytes());
        self.write_raw(slot, payload);
        let conn = self.connections.at_mut(slot);
        if conn.phase == Phase::Open && crate::delivery::write::waiting(conn) > most {
            conn.parked = true;
        }
    }

    /// Writes the close frame that fits `cause`, if one is due (RFC 6455, section 5.5.1).
    pub(super) fn write_close_frame(&mut self, slot: Slot, cause: Cause) {
        let conn = self.connections.at(slot);
        let Some(code) = cause.close_code().filter(|_| conn.framed && conn.writable()) else { return };
        let payload = code.map(|code| code.0.to_be_bytes());
        let payload = payload.as_ref().map_or(&[][..], |code| &code[..]);
        assert!(payload.len() <= CONTROL_BYTES_MAX, "a code is short");
        self.write_raw(slot, FrameHeader::new(Opcode::Close, payload.len()).bytes());
        self.write_raw(slot, payload);
    }

    /// Writes bytes that are no MQTT.
    fn write_raw(&mut self, slot: Slot, bytes: &[u8]) {
        self.outbox(slot).buffer().extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stack that goes to another shard is the same there, whatever has come.
    #[test]
    fn stacks_travel() {
        let endings = [
            None,
            Some(Ending::Closed(None)),
            Some(Ending::Closed(Some(CloseCode(4000)))),
            Some(Ending::Violated(Violation::Text)),
            Some(Ending::Violated(Violation::CloseReasonNotUtf8)),
            Some(Ending::Violated(Violation::ReservedBits)),
        ];
        for ending in endings {
            let stack = Stack { channel: None, held: None, layer: Layer::Frames(Decoder::default()), ending };
            let mut saved = Vec::new();
            stack.save(&mut saved);
            let restored = Stack::restore(&saved, None).expect("it is there again");
            assert_eq!((restored.layer, restored.ending), (stack.layer, stack.ending));
        }
        assert!(Stack::restore(&[], None).is_none());
    }

    /// Bytes behind a header and behind a request are for the next layer, in one receive or in many.
    #[test]
    fn layers_follow_each_other() {
        let proxied = crate::config::Listener {
            transport: crate::config::Transport::Ws,
            proxy_protocol: true,
            proxy_trusted: vec!["127.0.0.1".parse().expect("a network")],
            ..crate::config::Listener::default()
        };
        let policy = ListenerPolicy::new(&proxied, 1);
        let head = "PROXY TCP4 192.0.2.1 192.0.2.2 7 1883\r\nGET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
                    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                    Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n";
        let bytes = [head.as_bytes(), &[0x82, 0x82, 0, 0, 0, 0, 0xc0, 0, 0x89, 0x80, 0, 0, 0, 0]].concat();
        for size in [1, 2, 7, bytes.len()] {
            let mut stack = Stack::new(&policy, ([127, 0, 0, 1], 9).into(), None).expect("it is wrapped");
            let (mut plain, mut steps) = (Vec::new(), Vec::new());
            for mut piece in bytes.chunks(size) {
                let mut out = vec![0; piece.len()];
                while !piece.is_empty() {
                    let taken = stack.next(piece, &mut out, &policy);
                    plain.extend_from_slice(&out[..taken.written]);
                    piece = &piece[taken.consumed..];
                    steps.extend(taken.step);
                }
            }
            assert_eq!(plain, [0xc0, 0], "pieces of {size}");
            let [Step::Client(Some(client)), Step::Upgraded(answer), Step::Ping(payload)] = &steps[..] else {
                panic!("{steps:?}")
            };
            assert_eq!(client.to_string(), "192.0.2.1:7");
            assert!(answer.starts_with(b"HTTP/1.1 101 ") && payload.is_empty());
        }
        assert_eq!(
            Stack::new(&policy, ([127, 0, 0, 2], 9).into(), None).map(|stack| stack.layer),
            Some(Layer::Request(Vec::new()))
        );
    }
}
