//! Enhanced authentication (section 4.12): AUTH packets, before CONNACK and of a client that is connected.

use std::net::SocketAddr;

use shard::{Effects, Op, Slot};
use wire::mqtt::{Auth, Deframed, Packet, ProtocolVersion, ReasonCode, decode_from_client, deframe};

use super::desk::Question;
use super::gate::Waiting;
use super::identity::{Credentials, Verdict};
use super::scram::{Exchange, MESSAGE_BYTES_MAX, METHOD};
use crate::config::access::Backend;
use crate::connection::close::Cause;
use crate::connection::inbound::Flow;
use crate::connection::{ConnectionId, Phase};
use crate::counters::Counter;
use crate::session::connect::first_packet;
use crate::switch::Switch;

/// Bytes of an AUTH packet that is awaited.
const AUTH_BYTES_MAX: u32 = MESSAGE_BYTES_MAX as u32 + 1024;

impl Switch {
    /// Whether an enhanced authentication is one of a listener's.
    pub(crate) fn knows_method(&self, method: &str, listener: u16) -> bool {
        let gate = self.gate.as_ref().filter(|_| method == METHOD);
        gate.is_some_and(|gate| gate.desk.door(listener).chain.contains(&Backend::Passwords))
    }

    /// A client is to answer.
    pub(super) fn challenge(
        &mut self,
        connection: ConnectionId,
        exchange: Box<Exchange>,
        data: &[u8],
        fx: &mut Effects,
    ) {
        let slot = connection.slot;
        let Some(phase) = self.connections.find(connection).map(|conn| conn.phase) else { return };
        let Some(waiting) = self.gate.as_mut().and_then(|gate| gate.waiting.get_mut(&connection)) else { return };
        if !matches!(phase, Phase::Authenticating | Phase::Open) {
            return;
        }
        waiting.exchange = Some(exchange);
        self.write_auth(slot, ReasonCode::ContinueAuthentication, data);
        if phase == Phase::Authenticating {
            self.connections.at_mut(slot).phase = Phase::Challenged;
            self.challenged(slot, fx);
        }
    }

    fn write_auth(&mut self, slot: Slot, reason: ReasonCode, data: &[u8]) {
        let auth =
            Auth { reason, authentication_method: Some(METHOD), authentication_data: Some(data), ..Auth::default() };
        self.write(slot, |out| auth.encode(ProtocolVersion::V5, out));
    }

    /// Looks whether the AUTH of a client that was challenged has come; it stands behind CONNECT.
    pub(crate) fn challenged(&mut self, slot: Slot, fx: &mut Effects) {
        let conn = self.connections.at_mut(slot);
        let mut bytes = conn.residue.take().expect("CONNECT waits in the residue");
        let begin = first_packet(&bytes, self.limits.max_connect_size).len;
        let answer = match deframe(&bytes[begin..], AUTH_BYTES_MAX) {
            Ok(Deframed::Incomplete { .. }) => {
                conn.residue = Some(bytes);
                if !conn.receiving {
                    conn.receiving = true;
                    fx.ops.push(Op::Recv { slot, generation: conn.generation, multishot: false });
                }
                return;
            }
            Ok(Deframed::Packet(raw)) => match decode_from_client(&raw, ProtocolVersion::V5) {
                Ok(Packet::Auth(auth)) if is_answer(&auth) => {
                    Ok((raw.len, auth.authentication_data.unwrap_or_default().to_vec()))
                }
                // Nothing else may come before CONNACK ([MQTT-3.1.2-30]).
                Ok(Packet::Disconnect(_)) => Err(Cause::Eof),
                Ok(_) => Err(Cause::Refused(ReasonCode::ProtocolError)),
                Err(error) => Err(Cause::Malformed(error)),
            },
            Err(error) => Err(Cause::Malformed(error)),
        };
        let (len, data) = match answer {
            Ok(answer) => answer,
            Err(cause) => return self.close(slot, cause, fx),
        };
        self.counters.add(Counter::PacketsReceived, 1);
        bytes.drain(begin..begin + len);
        conn.residue = Some(bytes);
        conn.phase = Phase::Authenticating;
        let connection = self.connections.id(slot);
        self.finish_exchange(connection, data, fx);
    }

    /// Whether there was an exchange to go on with.
    fn finish_exchange(&mut self, connection: ConnectionId, data: Vec<u8>, fx: &mut Effects) -> bool {
        let waiting = self.gate.as_mut().and_then(|gate| gate.waiting.get_mut(&connection));
        let Some(exchange) = waiting.and_then(|waiting| waiting.exchange.take()) else { return false };
        self.ask_desk(connection, Question::Finish(exchange, data), fx);
        true
    }

    /// AUTH of a client that is connected: it proves again who it is, as it did with its CONNECT (section 4.12.1).
    pub(crate) fn client_auth(&mut self, slot: Slot, auth: &Auth<'_>, fx: &mut Effects) -> Flow {
        let connection = self.connections.id(slot);
        let conn = self.connections.at(slot);
        let session = self.sessions.at(conn.session.expect("an open connection has one"));
        let enhanced = session.access.as_ref().is_some_and(|access| access.enhanced);
        let Some(gate) = self.gate.as_mut().filter(|_| enhanced && auth.authentication_method == Some(METHOD)) else {
            // Without a method in CONNECT, or with another one ([MQTT-4.12.0-7], [MQTT-4.12.1-1]).
            return Flow::Close(ReasonCode::ProtocolError);
        };
        let data = auth.authentication_data.unwrap_or_default().to_vec();
        match auth.reason {
            ReasonCode::ReAuthenticate if !gate.waiting.contains_key(&connection) => {
                let credentials = Credentials {
                    user: None,
                    password: None,
                    client_id: session.client_id.as_str().into(),
                    peer: SocketAddr::from(conn.peer).ip(),
                    listener: conn.listener,
                    origin: session.access.as_ref().map(|access| access.identity.origin.clone()).unwrap_or_default(),
                    anonymous: false,
                };
                gate.waiting.insert(connection, Waiting::default());
                self.ask_desk(connection, Question::Begin(credentials, data), fx);
                Flow::Next
            }
            ReasonCode::ContinueAuthentication if self.finish_exchange(connection, data, fx) => Flow::Next,
            _ => Flow::Close(ReasonCode::ProtocolError),
        }
    }

    /// A connected client has proved again who it is, or not.
    pub(super) fn proved_again(
        &mut self,
        connection: ConnectionId,
        verdict: Verdict,
        data: Option<Vec<u8>>,
        fx: &mut Effects,
    ) {
        let slot = connection.slot;
        if let Some(gate) = &mut self.gate {
            gate.forget(connection);
        }
        let id = self.connections.at(slot).session.expect("an open connection has a session");
        let before = self.sessions.at(id).access.as_ref().map(|access| self.owner_of(&access.identity));
        match verdict {
            Verdict::Accepted(identity) if before == Some(self.owner_of(&identity)) => {
                if let Some(access) = &mut self.sessions.at_mut(id).access {
                    access.renew(identity);
                }
                self.write_auth(slot, ReasonCode::Success, data.as_deref().unwrap_or_default());
                self.judge_session(id, fx);
            }
            Verdict::Accepted(_) => self.close(slot, Cause::Reason(ReasonCode::NotAuthorized), fx),
            Verdict::Refused(reason) => {
                self.counters.add(Counter::AuthenticationsFailed, 1);
                self.close(slot, Cause::Reason(reason), fx);
            }
        }
    }
}

/// Whether an AUTH goes on with what was begun.
fn is_answer(auth: &Auth<'_>) -> bool {
    auth.reason == ReasonCode::ContinueAuthentication && auth.authentication_method == Some(METHOD)
}
