//! From CONNECT to CONNACK: checked here, decided by the session home, accepted where the session lives.

use compact_str::CompactString;
use shard::{Effects, Errno, Op, Slot};
use smallvec::SmallVec;
use wire::Malformed;
use wire::mqtt::topic::level_count;
use wire::mqtt::{
    Connack, Connect, Deframed, ProtocolVersion, QoS, RawPacket, ReasonCode, decode_connect, deframe_connect,
};

use super::{EXPIRY_NEVER, Matched, Session, SessionId, Will};
use crate::access::desk::News;
use crate::config::keys::LISTENERS_MAX;
use crate::connection::address::Address;
use crate::connection::close::Cause;
use crate::connection::stack::Stack;
use crate::connection::{Connection, ConnectionId, Phase};
use crate::counters::Counter;
use crate::journal::entries::Kept;
use crate::planted::{Fault, planted};
use crate::program::log::Peer;
use crate::routing::home::Claim;
use crate::routing::parcel::{Answer, MOVE, Verdict};
use crate::switch::Switch;

impl Switch {
    /// Looks whether the whole CONNECT has come. It and what follows stay in the residue until the session home has
    /// decided.
    pub fn handshake(&mut self, slot: Slot, fx: &mut Effects) {
        let conn = self.connections.at_mut(slot);
        let bytes = conn.residue.take().unwrap_or_default();
        match deframe_connect(&bytes, self.limits.max_connect_size) {
            Ok(Deframed::Incomplete { .. }) => {
                let generation = conn.generation;
                conn.residue = Some(bytes);
                conn.receiving = true;
                fx.ops.push(Op::Recv { slot, generation, multishot: false });
            }
            Ok(Deframed::Packet(raw)) => {
                self.counters.add(Counter::PacketsReceived, 1);
                match self.examine(slot, &raw) {
                    Ok(_) if self.connections.at(slot).hasty => {
                        self.close(slot, Cause::Refused(ReasonCode::ConnectionRateExceeded), fx);
                    }
                    Ok((client_id, claim)) => {
                        self.connections.at_mut(slot).residue = Some(bytes);
                        self.authenticate(slot, client_id, claim, fx);
                    }
                    Err(cause) => self.close(slot, cause, fx),
                }
            }
            Err(error) => self.close(slot, Cause::Malformed(error), fx),
        }
    }

    /// Acceptor: the session home has decided.
    pub fn decided(
        &mut self,
        client_id: &str,
        connection: ConnectionId,
        verdict: Verdict,
        reserved: ConnectionId,
        reason: Option<ReasonCode>,
        fx: &mut Effects,
    ) {
        let waits = self.connections.find(connection).is_some_and(|conn| conn.phase == Phase::Claimed);
        if !waits {
            if verdict != Verdict::Refuse {
                self.answer_home(client_id, connection, Answer::GaveUp, fx);
            }
            return;
        }
        match verdict {
            Verdict::Stay => self.admit(connection, client_id, false, fx),
            Verdict::Move => {
                let to = self.placement.home(client_id);
                self.connections.at_mut(connection.slot).phase = Phase::Moving;
                self.moving.insert(connection, (client_id.into(), reserved));
                fx.ops.push(Op::SendFd {
                    slot: connection.slot,
                    generation: connection.generation,
                    to: to.0,
                    to_slot: reserved.slot,
                });
            }
            Verdict::Refuse => {
                let cause = reason.map_or(Cause::Superseded, Cause::Refused);
                self.close(connection.slot, cause, fx);
            }
        }
    }

    /// Acceptor: the socket is in the home's table, or not.
    pub fn socket_sent(&mut self, connection: ConnectionId, result: Result<(), Errno>, fx: &mut Effects) {
        let Some((client_id, reserved)) = self.moving.remove(&connection) else { return };
        if result.is_err() {
            self.answer_home(&client_id, connection, Answer::GaveUp, fx);
            self.connections.at_mut(connection.slot).phase = Phase::Claimed;
            return self.close(connection.slot, Cause::Refused(ReasonCode::ServerBusy), fx);
        }
        let conn = self.connections.at_mut(connection.slot);
        let mut bytes = conn.residue.take().unwrap_or_default();
        if planted(Fault::BytesLeftBehind) {
            bytes.truncate(first_packet(&bytes, self.limits.max_connect_size).len);
        }
        let [high, low, rest] = conn.peer.to_words();
        let listener = u64::from(conn.listener) << 16;
        // What was written before, an answer to a handshake or to pings, goes along if it has not left.
        let unsent = conn.outbox.as_ref().map_or(&[][..], |outbox| outbox.bytes());
        let (mut stack, mut channel) = (Vec::new(), None);
        if conn.wrapped {
            let layers = self.stacks.get_mut(connection.slot).expect("it is wrapped");
            layers.save(&mut stack);
            channel = layers.channel.take();
        }
        // It was counted where it came in.
        let counted = if std::mem::take(&mut conn.counted) { COUNTED } else { 0 };
        let encrypted = if channel.is_some() { ENCRYPTED } else { 0 };
        let lengths = (stack.len() as u64) << 32 | unsent.len() as u64;
        let words = [reserved.to_word(), high, low, rest | listener | encrypted | counted, lengths];
        let home = self.placement.home(&client_id);
        if let Some(channel) = channel {
            // It is there before the parcel that tells of its connection.
            let sealer = self.stacks.take_sealer(connection.slot);
            self.node.channels[usize::from(home.0)].push((reserved, channel, sealer));
        }
        if let Some(gate) = &mut self.gate {
            // It is there before the parcel that follows.
            let proof = gate.take_proof(connection);
            gate.desk.tell(home, News::Moved(reserved, proof));
        }
        self.courier.send(&mut fx.tx, home, MOVE, &words, &[&stack, unsent, &bytes]);
        self.close(connection.slot, Cause::Moved, fx);
    }

    /// Home: a socket has come, with what was read from it.
    pub fn arrived(&mut self, words: [u64; 5], bytes: &[u8], fx: &mut Effects) {
        let (stack, bytes) = bytes.split_at((words[4] >> 32) as usize);
        let (unsent, bytes) = bytes.split_at(words[4] as u32 as usize);
        let connection = ConnectionId::from_word(words[0]);
        let channel = (words[3] & ENCRYPTED != 0).then(|| {
            let (channel, sealer) = self.take_channel(connection);
            self.stacks.put_sealer(connection.slot, sealer);
            channel
        });
        let conn = self.connections.find(connection).expect("a reserved slot waits for its socket");
        assert_eq!(conn.phase, Phase::Arriving, "a reserved slot waits for its socket");
        conn.phase = Phase::Claimed;
        conn.peer = Address::from_words([words[1], words[2], words[3]]);
        conn.counted = words[3] & COUNTED != 0;
        conn.listener = ((words[3] & !(ENCRYPTED | COUNTED)) >> 16) as u16;
        self.listeners[usize::from(conn.listener)].opened(self.id);
        conn.residue = Some(Box::new(bytes.to_vec()));
        if let Some(stack) = Stack::restore(stack, channel) {
            let closed = stack.channel.as_ref().is_some_and(|channel| channel.has_ended());
            (conn.wrapped, conn.framed, conn.encrypted) = (true, stack.is_framed(), stack.channel.is_some());
            conn.ended = closed || stack.ending().is_some();
            self.stacks.put(connection.slot, Box::new(stack));
            self.recheck_soon(connection);
        }
        if !unsent.is_empty() {
            self.outbox(connection.slot).buffer().extend_from_slice(unsent);
        }
        if self.connections.at(connection.slot).encrypted {
            self.flush_soon(connection.slot);
        }
        self.counters.add(Counter::ConnectionsOpen, 1);
        self.hear_news(fx);
        let raw = first_packet(bytes, self.limits.max_connect_size);
        let checked = self.examine(connection.slot, &raw);
        let Ok((client_id, _)) = checked else { panic!("a CONNECT that was checked elsewhere passes here") };
        self.admit(connection, &client_id, true, fx);
    }

    /// Checks a CONNECT. Returns the client id, one of our own where the client sent none, and what to ask its home
    /// for.
    fn examine(&mut self, slot: Slot, raw: &RawPacket<'_>) -> Result<(CompactString, Claim), Cause> {
        let conn = self.connections.at_mut(slot);
        let connect = decode_connect(raw).map_err(|error| {
            // The version decides how a refusal is written; it stands before what may be malformed.
            conn.version = if says_v5(raw) { ProtocolVersion::V5 } else { ProtocolVersion::V311 };
            Cause::Malformed(error)
        })?;
        conn.version = connect.version;
        conn.bridge = connect.bridge;
        // A refusal keeps to it, too ([MQTT-3.1.2-24]).
        conn.packet_bytes_max = connect.properties.maximum_packet_size.unwrap_or(u32::MAX);
        let v5 = connect.version == ProtocolVersion::V5;
        let listener = conn.listener;
        if connect.properties.authentication_method.is_some_and(|method| !self.knows_method(method, listener)) {
            return Err(Cause::Refused(ReasonCode::BadAuthenticationMethod));
        }
        if let Some(will) = &connect.will {
            if will.qos > self.qos_max() {
                return Err(Cause::Refused(ReasonCode::QosNotSupported));
            }
            if will.retain && !self.limits.retain_available {
                return Err(Cause::Refused(ReasonCode::RetainNotSupported));
            }
            if level_count(will.topic) > usize::from(self.limits.max_topic_levels) {
                return Err(Cause::Refused(ReasonCode::TopicNameInvalid));
            }
            if !self.may_publish(will.topic) {
                return Err(Cause::Refused(ReasonCode::NotAuthorized));
            }
        }
        let client_id = match connect.client_id {
            "" if !v5 && !connect.clean_start => {
                // [MQTT-3.1.3-8] of 3.1.1.
                return Err(Cause::Refused(ReasonCode::ClientIdentifierNotValid));
            }
            // It is at home here, so the socket stays here, too.
            "" => {
                let random = self.random();
                self.placement.assigned_client_id(self.id, random).into()
            }
            given => given.into(),
        };
        let claim = Claim {
            shard: self.id,
            connection: self.connections.id(slot),
            clean_start: connect.clean_start,
            durable: self.expiry_of(&connect) > 0,
            owner: 0,
        };
        Ok((client_id, claim))
    }

    /// The session lives here: CONNACK, and everything that the session brings.
    pub(super) fn accept(&mut self, slot: Slot, client_id: &str, uid: u64, fx: &mut Effects) {
        let connection = self.connections.id(slot);
        let mut proof = self.gate.as_mut().map(|gate| gate.take_proof(connection)).unwrap_or_default();
        let conn = self.connections.at_mut(slot);
        let bytes = conn.residue.take().expect("CONNECT waits in the residue");
        let raw = first_packet(&bytes, self.limits.max_connect_size);
        let connect = decode_connect(&raw).expect("it was decoded before");
        let expiry = self.expiry_of(&connect);
        let resumed = if connect.clean_start { None } else { self.sessions.durable(client_id) };
        let session = match resumed {
            Some(session) => {
                self.counters.sub(Counter::ClientsDisconnected, 1);
                session
            }
            None => {
                let client_hash = self.placement.client_hash(client_id);
                self.sessions.insert(Session {
                    client_id: client_id.into(),
                    client_hash,
                    connection: None,
                    expiry,
                    durable: expiry > 0,
                    subscriptions: SmallVec::new(),
                    outgoing: None,
                    incoming: None,
                    will: None,
                    timer: None,
                    left: false,
                    matched: Matched::default(),
                    kept: (expiry > 0).then(|| Box::new(Kept::new(uid))),
                    access: None,
                })
            }
        };
        self.attach(session, connection, &connect, expiry, fx);
        let (last_word, told, unasked) = (proof.data.clone(), std::mem::take(&mut proof.subscriptions), proof.unasked);
        self.grant(session, slot, proof);
        if !self.greet(slot, client_id, &connect, (expiry, resumed.is_some()), last_word.as_deref()) {
            self.give_buffer(bytes);
            return self.close(slot, Cause::NoConnackFits, fx);
        }
        let peer = Peer { client_id, address: self.connections.at(slot).peer.into() };
        self.log.connected(self.now, peer, connect.version.level(), connect.keep_alive, resumed.is_some());
        self.wake_subscriptions(session, fx);
        if resumed.is_some() {
            self.recalled(session, told, fx);
            if unasked {
                self.recall_later(session);
            }
        }
        self.pump(session, fx);
        self.start_keepalive(slot, connect.keep_alive, fx);
        let len = raw.len;
        let mut rest = bytes;
        rest.drain(..len);
        self.open(slot, rest, fx);
    }

    /// Joins session and connection.
    fn attach(
        &mut self,
        id: SessionId,
        connection: ConnectionId,
        connect: &Connect<'_>,
        expiry: u32,
        fx: &mut Effects,
    ) {
        let session = self.sessions.at_mut(id);
        assert_eq!(session.connection, None, "the one before has gone");
        if let Some(timer) = session.timer.take_if(|_| !planted(Fault::SessionTimerKept)) {
            fx.timers.cancel(timer);
        }
        session.connection = Some(connection);
        if let Some(outgoing) = &mut session.outgoing {
            outgoing.begin_again();
        }
        if let Some(incoming) = &mut session.incoming {
            incoming.begin_again();
        }
        if planted(Fault::ReceivedForgotten) {
            session.incoming = None;
        }
        session.left = false;
        session.expiry = expiry;
        if let Some(kept) = &mut session.kept {
            kept.connections = kept.connections.wrapping_add(1);
            (kept.left_ms, kept.ends) = (0, shard::Instant::NEVER);
        }
        // Within its delay a will is cancelled by the client's return ([MQTT-3.1.3-9]).
        session.will = connect.will.as_ref().map(|will| Box::new(Will::new(will)));
        let inflight_max = connect.properties.receive_maximum.unwrap_or(u16::MAX).min(self.limits.max_inflight);
        let conn: &mut Connection = self.connections.at_mut(connection.slot);
        conn.phase = Phase::Open;
        conn.session = Some(id);
        conn.inflight_max = inflight_max;
        conn.alias_max = connect.properties.topic_alias_maximum.unwrap_or(0).min(self.limits.max_topic_alias);
        conn.problem_information = connect.properties.request_problem_information;
        self.counters.add(Counter::ClientsConnected, 1);
        let connected = self.counters.read(Counter::ClientsConnected);
        let maximum = self.counters.read(Counter::ClientsMaximum).max(connected);
        self.counters.set(Counter::ClientsMaximum, maximum);
    }

    /// Writes CONNACK with success. False: the client's Maximum Packet Size is too small for any ([MQTT-3.1.2-24]).
    fn greet(
        &mut self,
        slot: Slot,
        client_id: &str,
        connect: &Connect<'_>,
        (expiry, session_present): (u32, bool),
        last_word: Option<&[u8]>,
    ) -> bool {
        let version = connect.version;
        let limits = std::sync::Arc::clone(&self.limits);
        let mut connack = Connack::new(session_present, ReasonCode::Success);
        if version == ProtocolVersion::V5 {
            let asked = connect.properties.session_expiry_interval.unwrap_or(0);
            connack.session_expiry_interval = (asked != expiry).then_some(expiry);
            connack.receive_maximum = (limits.receive_maximum < u16::MAX).then_some(limits.receive_maximum);
            connack.maximum_qos = Some(self.qos_max()).filter(|qos| *qos < QoS::ExactlyOnce);
            connack.retain_available = (!limits.retain_available).then_some(false);
            let listener = self.connections.at(slot).listener;
            connack.maximum_packet_size = Some(self.packet_bytes_max(listener));
            connack.assigned_client_identifier = connect.client_id.is_empty().then_some(client_id);
            connack.topic_alias_maximum = (limits.max_topic_alias > 0).then_some(limits.max_topic_alias);
            connack.server_keep_alive = self.server_keep_alive(connect.keep_alive);
            // [MQTT-4.12.0-6]: a success carries the method, too.
            connack.authentication_method = connect.properties.authentication_method.filter(|_| last_word.is_some());
            connack.authentication_data = last_word;
        }
        let fitted = connack.fitted(version, self.connections.at(slot).packet_bytes_max);
        if let Some(connack) = &fitted {
            self.write(slot, |out| connack.encode(version, out));
        }
        fitted.is_some()
    }

    /// What becomes of the session after its connection: seconds.
    pub(super) fn expiry_of(&self, connect: &Connect<'_>) -> u32 {
        let max = u32::try_from(self.limits.session_expiry_interval.as_secs()).unwrap_or(EXPIRY_NEVER);
        match connect.version {
            ProtocolVersion::V5 => connect.properties.session_expiry_interval.unwrap_or(0).min(max),
            ProtocolVersion::V311 if connect.clean_start => 0,
            ProtocolVersion::V311 => max,
        }
    }

    /// Bytes of a packet at most of a client that came in by this listener.
    pub fn packet_bytes_max(&self, listener: u16) -> u32 {
        self.listeners[usize::from(listener)].packet_bytes_max.unwrap_or(self.limits.max_packet_size)
    }

    /// The highest QoS that clients may use.
    pub fn qos_max(&self) -> QoS {
        QoS::from_bits(self.limits.max_qos_allowed).unwrap_or(QoS::ExactlyOnce)
    }
}

/// Above a listener's number in a parcel: the connection's channel has gone ahead.
const ENCRYPTED: u64 = 1 << 31;
/// Likewise: the connection is counted to its address.
const COUNTED: u64 = 1 << 30;

const _: () = assert!(LISTENERS_MAX <= 1 << 14, "a listener's number fits below these");

/// The CONNECT at the front of bytes that begin with a whole one.
pub(crate) fn first_packet(bytes: &[u8], max: u32) -> RawPacket<'_> {
    match deframe_connect(bytes, max) {
        Ok(Deframed::Packet(raw)) => raw,
        _ => panic!("a whole CONNECT was kept"),
    }
}

/// Whether a CONNECT that cannot be decoded says that it is of version 5.
fn says_v5(raw: &RawPacket<'_>) -> bool {
    raw.body.starts_with(b"\0\x04MQTT\x05")
}

/// Whether a CONNECT that cannot be decoded is answered with a return code in the form of 3.1.1
/// ([MQTT-3.1.2-2] of 3.1.1).
pub fn answer_in_311(error: Malformed) -> bool {
    matches!(error, Malformed::UnsupportedProtocolVersion(_))
}
