//! How connections end.
//!
//! The session lets go at once; the socket follows: what was written last is sent, the sending half is shut down, what
//! the client still sends is thrown away for a moment (closing a socket with unread bytes would make the kernel reset
//! it, and the client could lose the reason), armed ops are cancelled, and when the last has ended the slot is closed.

use std::net::SocketAddr;

use compact_str::CompactString;
use shard::mesh::ShardId;
use shard::{Effects, Errno, Op, Slot};
use wire::Malformed;
use wire::entry::Entry;
use wire::mqtt::{Connack, ProtocolVersion, ReasonCode};
use wire::websocket::{CloseCode, Refusal};

use super::stack::Ending;
use super::{ConnectionId, Phase};
use crate::counters::Counter;
use crate::limits::LINGER;
use crate::packets;
use crate::planted::{Fault, planted};
use crate::program::log::Peer;
use crate::routing::parcel::PUBLISH;
use crate::session::connect::answer_in_311;
use crate::session::outgoing::Stage;
use crate::session::{EXPIRY_NEVER, SessionId};
use crate::switch::Switch;
use crate::tls::failure::Failure;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// DISCONNECT came; whether the will is wanted (reason 0x04, or anything but 0).
    Disconnect {
        /// The reason was not 0x00.
        will: bool,
    },
    /// The client closed its side without DISCONNECT.
    Eof,
    /// The network failed.
    Broken(Errno),
    /// Nothing came for 1.5 times the keep alive ([MQTT-3.1.2-22]).
    KeepAlive,
    /// CONNECT did not come in time.
    ConnectTimeout,
    /// The same client connected elsewhere ([MQTT-3.1.4-3]).
    TakenOver,
    /// A later CONNECT of the same client overtook this one.
    Superseded,
    /// The client sent something that is not MQTT.
    Malformed(Malformed),
    /// The client broke a rule, or a limit.
    Reason(ReasonCode),
    /// CONNECT was refused.
    Refused(ReasonCode),
    /// No CONNACK fits the client's Maximum Packet Size ([MQTT-3.1.2-24]).
    NoConnackFits,
    /// The socket is another shard's now.
    Moved,
    /// A proxy that is trusted did not say whom it serves.
    NoProxyHeader,
    /// Its address has as many connections as it may have.
    Crowded,
    /// Its address connects too fast, and it speaks TLS.
    Hasty,
    /// A request for WebSocket was refused.
    NotUpgraded(Refusal),
    /// The WebSocket has ended on the client's side.
    WebSocket(Ending),
    /// There is no TLS with this client, or no more.
    Tls(Failure),
    /// The client has ended TLS in order, without DISCONNECT.
    TlsClosed,
    /// The switch stops.
    Stop,
}

impl Cause {
    /// The reason code that a v5 client is told; `None`: nothing is said.
    fn reason(self) -> Option<ReasonCode> {
        match self {
            Cause::KeepAlive => Some(ReasonCode::KeepAliveTimeout),
            Cause::TakenOver => Some(ReasonCode::SessionTakenOver),
            Cause::Malformed(error) => Some(error.reason()),
            Cause::Reason(reason) | Cause::Refused(reason) => Some(reason),
            Cause::Stop => Some(ReasonCode::ServerShuttingDown),
            Cause::Disconnect { .. }
            | Cause::Eof
            | Cause::Broken(_)
            | Cause::ConnectTimeout
            | Cause::Superseded
            | Cause::NoConnackFits
            | Cause::NoProxyHeader
            | Cause::Crowded
            | Cause::Hasty
            | Cause::NotUpgraded(_)
            | Cause::WebSocket(_)
            | Cause::Tls(_)
            | Cause::TlsClosed
            | Cause::Moved => None,
        }
    }

    /// What a close frame says that a WebSocket client is told goodbye with: nothing, or a code. `None`: there is none.
    pub(super) fn close_code(self) -> Option<Option<CloseCode>> {
        let code = match self {
            Cause::Eof | Cause::Broken(_) | Cause::Moved | Cause::NotUpgraded(_) | Cause::NoProxyHeader => return None,
            Cause::Tls(_) | Cause::TlsClosed | Cause::Crowded | Cause::Hasty => return None,
            Cause::WebSocket(Ending::Closed(code)) => return Some(code),
            Cause::WebSocket(Ending::Violated(violation)) => violation.code(),
            Cause::Disconnect { .. } => CloseCode::NORMAL,
            Cause::Stop => CloseCode::GOING_AWAY,
            Cause::Malformed(Malformed::PacketTooLarge) | Cause::Reason(ReasonCode::PacketTooLarge) => {
                CloseCode::TOO_BIG
            }
            Cause::Malformed(_) => CloseCode::PROTOCOL_ERROR,
            Cause::Refused(ReasonCode::ServerBusy | ReasonCode::ServerUnavailable | ReasonCode::QuotaExceeded) => {
                CloseCode::TRY_AGAIN_LATER
            }
            Cause::KeepAlive
            | Cause::ConnectTimeout
            | Cause::TakenOver
            | Cause::Superseded
            | Cause::NoConnackFits
            | Cause::Reason(_)
            | Cause::Refused(_) => CloseCode::POLICY,
        };
        Some(Some(code))
    }

    /// For the log.
    fn text(self) -> &'static str {
        match self {
            Cause::Disconnect { will: false } => "DISCONNECT",
            Cause::Disconnect { will: true } => "DISCONNECT with will",
            Cause::Eof => "the client closed the connection",
            Cause::Broken(_) => "the network failed",
            Cause::KeepAlive => "keep alive timeout",
            Cause::ConnectTimeout => "no CONNECT in time",
            Cause::TakenOver => "session taken over",
            Cause::Superseded => "another CONNECT of the same client came later",
            Cause::Malformed(error) => error.description(),
            Cause::Reason(reason) | Cause::Refused(reason) => reason.name(),
            Cause::NoConnackFits => "no CONNACK fits the client's Maximum Packet Size",
            Cause::NoProxyHeader => "a trusted proxy sent no PROXY header",
            Cause::Crowded => "its address has as many connections as it may have",
            Cause::Hasty => "its address connects too fast",
            Cause::NotUpgraded(refusal) => refusal.description(),
            Cause::WebSocket(ending) => ending.description(),
            Cause::Tls(failure) => failure.description(),
            Cause::TlsClosed => "the client closed the connection",
            Cause::Moved => "moved",
            Cause::Stop => "the switch stops",
        }
    }

    /// Whether the client can still read what is written.
    fn can_read(self) -> bool {
        !matches!(self, Cause::Broken(_) | Cause::Moved)
    }
}

impl Switch {
    /// Ends a connection. Its session lets go now, its slot is free some turns later.
    pub fn close(&mut self, slot: Slot, cause: Cause, fx: &mut Effects) {
        let connection = self.connections.id(slot);
        if let Some(gate) = &mut self.gate {
            gate.forget(connection);
        }
        let conn = self.connections.at_mut(slot);
        match conn.phase {
            Phase::Open => {
                self.detach(slot, cause, fx);
                if let Some(reason) = cause.reason()
                    && self.connections.at(slot).v5()
                {
                    self.write(slot, |out| packets::disconnect(reason, out));
                }
            }
            Phase::Handshake | Phase::Authenticating | Phase::Challenged | Phase::Claimed | Phase::Moving => {
                self.refuse(slot, cause);
            }
            Phase::Empty | Phase::Accepting | Phase::Arriving | Phase::Lingering | Phase::Closing => return,
        }
        if self.connections.at(slot).framed {
            self.write_close_frame(slot, cause);
        }
        if self.connections.at(slot).encrypted {
            self.end_channel(slot, cause);
        }
        let conn = self.connections.at_mut(slot);
        if cause == Cause::Moved {
            conn.send_closed = true;
        }
        conn.parked = false;
        conn.residue = None;
        if let Some(timer) = conn.timer.take() {
            fx.timers.cancel(timer);
        }
        let peer_closed = matches!(cause, Cause::Eof);
        let open = cause.can_read() && !conn.send_closed;
        if open && (!peer_closed || self.unsent(slot)) {
            self.linger(slot, fx);
        } else {
            self.begin_closing(slot, fx);
        }
    }

    /// The network failed while something was sent.
    pub fn broken(&mut self, slot: Slot, errno: Errno, fx: &mut Effects) {
        let conn = self.connections.at_mut(slot);
        conn.send_closed = true;
        match conn.phase {
            Phase::Lingering => self.begin_closing(slot, fx),
            Phase::Closing => {}
            _ => self.close(slot, Cause::Broken(errno), fx),
        }
    }

    /// A connection that is not open has sent what waited.
    pub fn last_packet_left(&mut self, slot: Slot, fx: &mut Effects) {
        let conn = self.connections.at_mut(slot);
        if conn.phase != Phase::Lingering || conn.send_closed {
            return;
        }
        conn.send_closed = true;
        let generation = conn.generation;
        fx.ops.push(Op::Shutdown { slot, generation });
        if !conn.receiving {
            conn.receiving = true;
            fx.ops.push(Op::Recv { slot, generation, multishot: false });
        }
    }

    /// The client has read all, or has had its time.
    pub fn begin_closing(&mut self, slot: Slot, fx: &mut Effects) {
        let conn = self.connections.at_mut(slot);
        conn.phase = Phase::Closing;
        conn.send_closed = true;
        let generation = conn.generation;
        if let Some(timer) = conn.timer.take() {
            fx.timers.cancel(timer);
        }
        if conn.receiving && !conn.cancelling {
            conn.cancelling = true;
            fx.ops.push(Op::CancelRecv { slot, generation });
        }
        if conn.polling {
            fx.ops.push(Op::CancelPollOut { slot, generation });
        }
        if let Some(mut outbox) = conn.outbox.take() {
            let (sent, unsent) = outbox.abandon();
            self.counters.add(Counter::MessagesDelivered, u64::from(sent));
            let dropped = if planted(Fault::DropCountedTwice) { unsent + sent } else { unsent };
            self.counters.add(Counter::DroppedConnectionClosed, u64::from(dropped));
            self.outboxes.give(outbox);
        }
        self.close_when_quiet(slot, fx);
    }

    /// Closes the slot once no op is armed on it.
    pub fn close_when_quiet(&mut self, slot: Slot, fx: &mut Effects) {
        let conn = self.connections.at(slot);
        if conn.phase == Phase::Closing && !conn.receiving && !conn.polling {
            fx.ops.push(Op::Close { slot, generation: conn.generation });
        }
    }

    /// The slot is empty.
    pub fn closed(&mut self, slot: Slot, fx: &mut Effects) {
        let listener = self.connections.at(slot).listener;
        self.listeners[usize::from(listener)].closed(self.id);
        if self.connections.at(slot).wrapped {
            self.stacks.take(slot);
            self.stacks.take_sealer(slot);
        }
        self.uncount_address(slot);
        self.connections.free(slot);
        self.counters.sub(Counter::ConnectionsOpen, 1);
        self.arm_accepts(fx);
    }

    /// Ends a session: nothing of it remains.
    pub fn end_session(&mut self, id: SessionId, fx: &mut Effects) {
        // A will that waited for its delay fires when the session ends ([MQTT-3.1.2-8]).
        self.fire_will(id, fx);
        let uid = self.sessions.at(id).kept.as_ref().map(|kept| kept.uid);
        while !self.sessions.at(id).subscriptions.is_empty() {
            let last = self.sessions.at(id).subscriptions.len() - 1;
            self.remove_subscription(id, last, fx);
        }
        let Some(mut session) = self.sessions.remove(id) else { return };
        if let Some(uid) = uid.filter(|_| !planted(Fault::EndNotWritten)) {
            self.journal.note_end(uid, session.client_hash);
        }
        if let Some(timer) = session.timer.take() {
            fx.timers.cancel(timer);
        }
        if session.left {
            self.counters.sub(Counter::ClientsDisconnected, 1);
        }
        for (stage, owed) in session.outgoing.iter_mut().flat_map(|outgoing| outgoing.drain()) {
            let group = owed.as_ref().and_then(|owed| owed.group);
            match (stage, group) {
                // [MQTT-4.8.2-5]: QoS 2 that was sent is nobody else's.
                (None | Some(Stage::Puback), Some(group)) if !planted(Fault::GroupMessageLost) => {
                    self.hand_on(group, owed.as_ref().expect("it has a group").message);
                }
                (Some(Stage::Pubcomp), _) => {}
                _ => self.counters.add(Counter::DroppedSessionEnded, 1),
            }
            if let Some(owed) = owed
                && !(planted(Fault::StoredMessageLeaked) && stage.is_none())
            {
                self.store.release(owed.message);
            }
        }
        self.run_own(fx);
    }

    /// The session of a connection loses it: it ends, or waits for its client.
    fn detach(&mut self, slot: Slot, cause: Cause, fx: &mut Effects) {
        let connection = self.connections.id(slot);
        let conn = self.connections.at_mut(slot);
        let peer = SocketAddr::from(conn.peer);
        let id = conn.session.take().expect("an open connection has a session");
        self.abandon_fetches(slot);
        let client_id = self.sessions.at(id).client_id.clone();
        self.log.disconnected(self.now, Peer { client_id: &client_id, address: peer }, cause.text());
        self.counters.sub(Counter::ClientsConnected, 1);
        self.release_feeds(id, fx);
        let session = self.sessions.at_mut(id);
        session.connection = None;
        let kept = planted(Fault::WillAfterDisconnect) && session.expiry > 0;
        if matches!(cause, Cause::Disconnect { will: false } | Cause::NoConnackFits) && !kept {
            // [MQTT-3.14.4-3]. Nor has a client one that was never told of success.
            self.forget_will(id);
        }
        let expiry = self.sessions.at(id).expiry;
        if expiry == 0 {
            self.end_session(id, fx);
        } else {
            self.keep_session(id, expiry, cause, fx);
        }
        self.depart(client_id, connection, fx);
    }

    /// A session waits for its client: until it expires, and its will until its delay is over.
    fn keep_session(&mut self, id: SessionId, expiry: u32, cause: Cause, fx: &mut Effects) {
        self.idle_subscriptions(id, fx);
        self.counters.add(Counter::ClientsDisconnected, 1);
        let now = self.now;
        let at_ms = self.journal.wall.ms(now);
        let ends = match expiry {
            EXPIRY_NEVER => shard::Instant::NEVER,
            seconds => now.after(std::time::Duration::from_secs(u64::from(seconds))),
        };
        let session = self.sessions.at_mut(id);
        session.left = true;
        if let Some(kept) = &mut session.kept {
            (kept.left_ms, kept.ends) = (at_ms, ends);
            self.journal.note(&Entry::Left { uid: kept.uid, at_ms, expiry });
        }
        // The node comes back, and with it the will, unless the client is faster.
        let stays = cause == Cause::Stop && self.journal.is_on();
        let mut due = ends;
        match self.sessions.at(id).will.as_ref().map(|will| will.delay) {
            None => {}
            Some(_) if stays => {}
            Some(0) => self.fire_will(id, fx),
            Some(delay) => due = due.min(now.after(std::time::Duration::from_secs(u64::from(delay)))),
        }
        if due != shard::Instant::NEVER {
            self.set_session_timer(id, due, fx);
        }
    }

    /// Answers a CONNECT that is not accepted, as its version has it.
    fn refuse(&mut self, slot: Slot, cause: Cause) {
        let conn = self.connections.at(slot);
        if cause != Cause::Moved {
            self.counters.add(Counter::ConnectsRefused, 1);
            self.log.refused(self.now, Peer { client_id: "", address: conn.peer.into() }, cause.text());
        }
        let version = conn.version;
        let answer = match (version, cause) {
            (_, Cause::Malformed(error)) if answer_in_311(error) => Some(ProtocolVersion::V311),
            // [MQTT-3.2.2-6] of 3.1.1: nothing suits a malformed CONNECT.
            (ProtocolVersion::V311, Cause::Malformed(_)) => None,
            (ProtocolVersion::V311, Cause::Refused(reason)) if reason.to_return_code().is_none() => None,
            (_, Cause::Refused(_)) => Some(version),
            (ProtocolVersion::V5, Cause::Malformed(Malformed::FirstPacketNotConnect)) => None,
            (ProtocolVersion::V5, Cause::Malformed(_)) => Some(version),
            _ => None,
        };
        if let (Some(version), Some(reason)) = (answer, cause.reason()) {
            let writable = self.connections.at(slot).writable();
            if writable {
                self.write(slot, |out| Connack::new(false, reason).encode(version, out));
            }
        }
    }

    fn linger(&mut self, slot: Slot, fx: &mut Effects) {
        self.set_connection_timer(slot, self.now.after(LINGER), fx);
        self.connections.at_mut(slot).phase = Phase::Lingering;
        if !self.unsent(slot) {
            self.last_packet_left(slot, fx);
        }
    }

    /// The session home is told that a connection has left, once every owner has taken its last publish off its ring:
    /// what the client publishes on its next connection cannot overtake it.
    fn depart(&mut self, client_id: CompactString, connection: ConnectionId, fx: &mut Effects) {
        if planted(Fault::HomeToldEarly) || self.leaving.is_empty() && self.owners_have_all(fx) {
            return self.leave_home(&client_id, connection, fx);
        }
        let tails = (0..self.shards).map(|owner| fx.tx.tail(ShardId(owner), PUBLISH));
        self.leaving.push_back(Leaving { client_id, connection, tails: tails.collect() });
    }

    fn owners_have_all(&self, fx: &Effects) -> bool {
        (0..self.shards).map(ShardId).all(|owner| fx.tx.has_released(owner, PUBLISH, fx.tx.tail(owner, PUBLISH)))
    }

    /// Tells session homes of connections whose last publishes owners have taken.
    pub fn tell_departures(&mut self, fx: &mut Effects) {
        while let Some(first) = self.leaving.front() {
            let taken = first
                .tails
                .iter()
                .enumerate()
                .all(|(owner, tail)| fx.tx.has_released(ShardId(owner as u16), PUBLISH, *tail));
            if !taken {
                return;
            }
            let Leaving { client_id, connection, .. } = self.leaving.pop_front().expect("it is the first");
            self.leave_home(&client_id, connection, fx);
        }
    }
}

/// A connection that has left, and how far owners must have come before its home is told.
pub struct Leaving {
    client_id: CompactString,
    connection: ConnectionId,
    tails: Box<[u64]>,
}
