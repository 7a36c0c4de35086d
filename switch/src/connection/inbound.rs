//! What a client sends: bytes to packets, packets to whoever handles them.
//!
//! A packet is found and checked where the kernel put it. Only what is left over is copied: the front of a packet whose
//! rest has not come, or everything from a packet that cannot be passed on yet.

use shard::mesh::ShardId;
use shard::profile::Stage;
use shard::{Effects, Errno, Op, ReceiveEnd, Slot};
use wire::mqtt::{Deframed, Disconnect, Packet, RawPacket, ReasonCode, decode_from_client, decode_publish, deframe};

use super::close::Cause;
use super::{ConnectionId, Phase};
use crate::counters::Counter;
use crate::packets;
use crate::planted::{Fault, planted};
use crate::session::outgoing;
use crate::switch::Switch;

/// What a packet leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The next packet.
    Next,
    /// This packet again, when a request of the connection is answered or its outbox has drained.
    Wait,
    /// This packet again, when the owner takes publishes.
    WaitFor(ShardId),
    /// The end of the connection, with this reason code.
    Close(ReasonCode),
    /// The end of the connection, for this cause.
    End(Cause),
}

/// PUBLISH in the first byte's upper half.
const PUBLISH: u8 = 3;

impl Switch {
    /// Bytes came.
    pub fn received(&mut self, slot: Slot, bytes: &[u8], armed: bool, fx: &mut Effects) {
        self.counters.add(Counter::BytesReceived, bytes.len() as u64);
        let now_ms = self.now.as_millis() as u32;
        let conn = self.connections.at_mut(slot);
        conn.receiving = armed;
        conn.cancelling &= armed;
        if conn.wrapped {
            return self.received_wrapped(slot, bytes, now_ms, fx);
        }
        if !planted(Fault::PingNotHeard) || bytes != [0xc0, 0] {
            conn.heard_ms = now_ms;
        }
        self.received_plain(slot, bytes, fx);
    }

    /// Bytes of the MQTT stream came; none, where only what is around them did. Inlined, so that plain TCP has no call
    /// more.
    #[inline(always)]
    pub(super) fn received_plain(&mut self, slot: Slot, bytes: &[u8], fx: &mut Effects) {
        let conn = self.connections.at_mut(slot);
        match conn.phase {
            Phase::Open if conn.parked => {
                conn.residue.get_or_insert_default().extend_from_slice(bytes);
            }
            Phase::Open => {
                if conn.residue.is_some() {
                    conn.residue.get_or_insert_default().extend_from_slice(bytes);
                    self.process_residue(slot, fx);
                } else {
                    let consumed = self.process(slot, bytes, fx);
                    self.keep(slot, &bytes[consumed..]);
                }
                self.receive_on(slot, fx);
            }
            Phase::Handshake => {
                conn.residue.get_or_insert_default().extend_from_slice(bytes);
                self.handshake(slot, fx);
                self.close_when_quiet(slot, fx);
            }
            Phase::Challenged => {
                conn.residue.get_or_insert_default().extend_from_slice(bytes);
                self.challenged(slot, fx);
                self.close_when_quiet(slot, fx);
            }
            Phase::Lingering => self.listen_to_the_end(slot, fx),
            _ => self.close_when_quiet(slot, fx),
        }
    }

    /// The receive has ended.
    pub fn receive_ended(&mut self, slot: Slot, end: ReceiveEnd, fx: &mut Effects) {
        let conn = self.connections.at_mut(slot);
        conn.receiving = false;
        conn.cancelling = false;
        if end == ReceiveEnd::NoBuffers {
            self.counters.add(Counter::ReceiveBuffersEmpty, 1);
        }
        let phase = self.connections.at(slot).phase;
        match (phase, end) {
            (Phase::Open, ReceiveEnd::Cancelled | ReceiveEnd::NoBuffers) => self.receive_on(slot, fx),
            (Phase::Handshake, ReceiveEnd::NoBuffers) => self.handshake(slot, fx),
            (Phase::Challenged, ReceiveEnd::NoBuffers) => self.challenged(slot, fx),
            (Phase::Open, ReceiveEnd::Eof) if self.connections.at(slot).parked => {
                self.connections.at_mut(slot).ended = true;
            }
            (Phase::Open | Phase::Handshake | Phase::Challenged, ReceiveEnd::Eof) => self.close(slot, Cause::Eof, fx),
            (Phase::Open | Phase::Handshake | Phase::Challenged, ReceiveEnd::Error(errno)) => {
                self.broken(slot, errno, fx)
            }
            // A cancel that was under way when the connection ended is not the client's end.
            (Phase::Lingering, ReceiveEnd::NoBuffers | ReceiveEnd::Cancelled) => self.listen_to_the_end(slot, fx),
            (Phase::Lingering, _) => self.begin_closing(slot, fx),
            _ => self.close_when_quiet(slot, fx),
        }
    }

    /// The wait for the socket to take bytes has ended.
    pub fn writable(&mut self, slot: Slot, result: Result<(), Errno>, fx: &mut Effects) {
        let conn = self.connections.at_mut(slot);
        conn.polling = false;
        match (conn.phase, result) {
            (Phase::Closing, _) => self.close_when_quiet(slot, fx),
            (_, Ok(())) => self.unblock(slot),
            (_, Err(errno)) => self.broken(slot, errno, fx),
        }
    }

    /// A connection is open: handles what was read behind its CONNECT, and reads on.
    pub fn open(&mut self, slot: Slot, rest: Box<Vec<u8>>, fx: &mut Effects) {
        self.connections.at_mut(slot).heard_ms = self.now.as_millis() as u32;
        if !rest.is_empty() {
            self.connections.at_mut(slot).residue = Some(rest);
            self.process_residue(slot, fx);
        }
        self.receive_on(slot, fx);
    }

    /// Lets a parked connection try again in this turn or the next.
    pub fn unpark_soon(&mut self, slot: Slot) {
        if self.connections.at(slot).parked {
            let id = self.connections.id(slot);
            self.unparked.push(id);
        }
    }

    /// Lets connections try again whose publish could not be passed on: those that wait for an owner that takes some
    /// again, and those whose own condition has changed.
    pub fn retry_parked(&mut self, fx: &mut Effects) {
        self.retry_unparked(fx);
        for owner in 0..self.parked.len() {
            for _ in 0..self.parked[owner].len() {
                let Some(id) = self.parked[owner].pop_front() else { break };
                let before = self.parked[owner].len();
                self.retry(id, fx);
                if self.parked[owner].len() > before {
                    // It waits again: the others would, too.
                    break;
                }
            }
        }
    }

    /// Lets connections try again whose own condition has changed.
    pub fn retry_unparked(&mut self, fx: &mut Effects) {
        while let Some(id) = self.unparked.pop() {
            self.retry(id, fx);
        }
    }

    fn retry(&mut self, id: ConnectionId, fx: &mut Effects) {
        let Some(conn) = self.connections.find(id) else { return };
        if conn.phase != Phase::Open || !conn.parked {
            return;
        }
        let _stage = self.profile.enter(Stage::Parse);
        conn.parked = false;
        conn.waits_for = None;
        // Time in which we did not read is not the client's silence.
        conn.heard_ms = self.now.as_millis() as u32;
        self.process_residue(id.slot, fx);
        self.receive_on(id.slot, fx);
    }

    /// Arms the receive of an open connection that is to be read, and cancels that of one that is not.
    pub(super) fn receive_on(&mut self, slot: Slot, fx: &mut Effects) {
        let conn = self.connections.at_mut(slot);
        let generation = conn.generation;
        match conn.phase {
            Phase::Open if conn.parked => {
                if conn.receiving && !conn.cancelling {
                    conn.cancelling = true;
                    fx.ops.push(Op::CancelRecv { slot, generation });
                }
            }
            Phase::Open if conn.ended => self.close(slot, self.end_of_stream(slot), fx),
            Phase::Open if !conn.receiving => {
                conn.receiving = true;
                fx.ops.push(Op::Recv { slot, generation, multishot: true });
            }
            Phase::Open => {}
            _ => self.close_when_quiet(slot, fx),
        }
    }

    /// Throws away what a client sends that was told goodbye, until it closes.
    fn listen_to_the_end(&mut self, slot: Slot, fx: &mut Effects) {
        let conn = self.connections.at_mut(slot);
        if !conn.receiving {
            conn.receiving = true;
            fx.ops.push(Op::Recv { slot, generation: conn.generation, multishot: false });
        }
    }

    fn process_residue(&mut self, slot: Slot, fx: &mut Effects) {
        let Some(mut bytes) = self.connections.at_mut(slot).residue.take() else { return };
        let consumed = self.process(slot, &bytes, fx);
        let conn = self.connections.at_mut(slot);
        if conn.phase == Phase::Open && consumed < bytes.len() {
            bytes.drain(..consumed);
            conn.residue = Some(bytes);
        } else {
            self.give_buffer(bytes);
        }
    }

    /// Keeps bytes that could not be handled yet.
    fn keep(&mut self, slot: Slot, bytes: &[u8]) {
        if !bytes.is_empty() && self.connections.at(slot).phase == Phase::Open {
            let mut buffer = self.take_buffer();
            buffer.extend_from_slice(bytes);
            self.connections.at_mut(slot).residue = Some(buffer);
        }
    }

    /// Handles whole packets. Returns how many bytes they took.
    fn process(&mut self, slot: Slot, bytes: &[u8], fx: &mut Effects) -> usize {
        let bytes_max = match self.meters {
            None => self.limits.max_packet_size,
            Some(_) => self.packet_bytes_max(self.connections.at(slot).listener),
        };
        self.profile.at(Stage::Parse);
        let generation = self.connections.at(slot).generation;
        let mut consumed = 0;
        loop {
            let conn = self.connections.at_mut(slot);
            if conn.phase != Phase::Open || conn.generation != generation {
                return bytes.len();
            }
            let raw = match deframe(&bytes[consumed..], bytes_max) {
                Ok(Deframed::Packet(raw)) => raw,
                Ok(Deframed::Incomplete { .. }) => return consumed,
                Err(error) => {
                    self.close(slot, Cause::Malformed(error), fx);
                    return bytes.len();
                }
            };
            let flow = if crate::delivery::write::waiting(conn) > self.limits.max_outbox_bytes as usize {
                // It does not read what it asks for: it is not read either.
                Flow::Wait
            } else {
                self.packet(slot, &raw, fx)
            };
            match flow {
                Flow::Next => {
                    consumed += raw.len;
                    self.counters.add(Counter::PacketsReceived, 1);
                    if consumed == bytes.len() {
                        return consumed;
                    }
                    self.profile.at(Stage::Parse);
                }
                Flow::Wait => {
                    self.connections.at_mut(slot).parked = true;
                    return consumed;
                }
                Flow::WaitFor(owner) => {
                    self.counters.add(Counter::Parked, 1);
                    let conn = self.connections.at_mut(slot);
                    (conn.parked, conn.waits_for) = (true, Some(owner));
                    let id = self.connections.id(slot);
                    self.parked[usize::from(owner.0)].push_back(id);
                    return consumed;
                }
                Flow::Close(reason) => {
                    self.close(slot, Cause::Reason(reason), fx);
                    return bytes.len();
                }
                Flow::End(cause) => {
                    self.close(slot, cause, fx);
                    return bytes.len();
                }
            }
        }
    }

    fn packet(&mut self, slot: Slot, raw: &RawPacket<'_>, fx: &mut Effects) -> Flow {
        let version = self.connections.at(slot).version;
        if raw.first >> 4 == PUBLISH {
            if let Some(flow) = self.held_back(slot, fx) {
                return flow;
            }
            let flow = match decode_publish(raw, version) {
                Ok(publish) => self.client_publish(slot, &publish, fx),
                Err(error) => Flow::End(Cause::Malformed(error)),
            };
            self.charge(slot, raw.len, &flow);
            return flow;
        }
        // A server's packet or a second CONNECT ([MQTT-3.1.0-2]) is a protocol error before its body is looked at.
        let packet = match decode_from_client(raw, version) {
            Ok(packet) => packet,
            Err(error) => return Flow::End(Cause::Malformed(error)),
        };
        self.profile.at(Stage::Session);
        match packet {
            Packet::Puback(ack) => self.delivery_acknowledged(slot, &ack, outgoing::Stage::Puback, fx),
            Packet::Pubrec(ack) => self.delivery_received(slot, &ack, fx),
            Packet::Pubrel(ack) => self.publish_released(slot, &ack),
            Packet::Pubcomp(ack) => self.delivery_acknowledged(slot, &ack, outgoing::Stage::Pubcomp, fx),
            Packet::Subscribe(subscribe) => self.subscribe(slot, &subscribe, fx),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(slot, &unsubscribe, fx),
            Packet::Pingreq => {
                self.write(slot, packets::pingresp);
                Flow::Next
            }
            Packet::Disconnect(disconnect) => self.goodbye(slot, &disconnect),
            Packet::Auth(auth) => self.client_auth(slot, &auth, fx),
            // What only a server sends does not pass the decoder.
            _ => Flow::Close(ReasonCode::ProtocolError),
        }
    }

    /// DISCONNECT: it may lower the session expiry, not raise it from 0 (section 3.14.2.2.2).
    fn goodbye(&mut self, slot: Slot, disconnect: &Disconnect<'_>) -> Flow {
        if !may_say(disconnect.reason) {
            return Flow::Close(ReasonCode::ProtocolError);
        }
        let id = self.connections.at(slot).session.expect("an open connection has a session");
        let max = u32::try_from(self.limits.session_expiry_interval.as_secs()).unwrap_or(u32::MAX);
        let session = self.sessions.at_mut(id);
        if let Some(asked) = disconnect.session_expiry_interval {
            if session.expiry == 0 && asked > 0 {
                return Flow::Close(ReasonCode::ProtocolError);
            }
            if !planted(Fault::ExpiryOfDisconnectIgnored) {
                session.expiry = asked.min(max);
            }
        }
        Flow::End(Cause::Disconnect { will: disconnect.reason != ReasonCode::NormalDisconnection })
    }
}

/// Whether a client may give this reason for its DISCONNECT ([MQTT-3.14.2-1]; section 3.14.2.1: sent by client).
fn may_say(reason: ReasonCode) -> bool {
    use ReasonCode as R;
    matches!(
        reason,
        R::NormalDisconnection
            | R::DisconnectWithWill
            | R::UnspecifiedError
            | R::MalformedPacket
            | R::ProtocolError
            | R::ImplementationSpecificError
            | R::TopicNameInvalid
            | R::ReceiveMaximumExceeded
            | R::TopicAliasInvalid
            | R::PacketTooLarge
            | R::MessageRateTooHigh
            | R::QuotaExceeded
            | R::AdministrativeAction
            | R::PayloadFormatInvalid
    )
}
