//! The shard's side of authentication: a client waits here until it is known who it is.
//!
//! ```text
//!   Handshake ─▶ Authenticating ─┬──────────────────────────────▶ Claimed
//!                   ▲            └─▶ Challenged (AUTH is awaited) ─┐
//!                   └──────────────────────────────────────────────┘
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;

use compact_str::CompactString;
use hashbrown::HashMap;
use shard::{Effects, Slot};
use wire::mqtt::{QoS, ReasonCode, decode_connect};
use zeroize::Zeroizing;

use super::ask::Asking;
use super::asked::{Told, Wait};
use super::desk::{Desk, News, Question, Request};
use super::identity::{Credentials, Identity, Origin, Particulars, Verdict};
use super::policy::Policy;
use super::rules::Actions;
use super::scram::Exchange;
use super::users::Registers;
use crate::config::CertificateName;
use crate::config::access::{Backend, Takeover};
use crate::connection::close::Cause;
use crate::connection::{ConnectionId, Phase};
use crate::counters::Counter;
use crate::planted::{Fault, planted};
use crate::routing::home::Claim;
use crate::session::SessionId;
use crate::session::connect::first_packet;
use crate::switch::Switch;
use crate::tls::holder::Holder;

/// Sessions that are judged again in one turn, after rules were read again.
const SESSIONS_PER_TURN: u32 = 256;

/// What a shard knows of access control; there is none where that is off.
pub struct Gate {
    /// Where verdicts come from.
    pub desk: Arc<Desk>,
    /// The rules.
    pub policy: Arc<Policy>,
    users: Arc<Registers>,
    /// How a service is asked about packets, where there is one.
    pub asking: Option<Box<Asking>>,
    /// Which rules these are: what was decided by others is forgotten.
    pub epoch: u32,
    pub(super) waiting: HashMap<ConnectionId, Waiting, ahash::RandomState>,
    /// Connections whose proof expires, the first one on top.
    expiring: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// The session that is judged again next.
    row: Option<u32>,
}

/// A connection that is about to prove who it is, or has done so and is not accepted yet.
#[derive(Default)]
pub(super) struct Waiting {
    /// What is asked of its home afterwards.
    claim: Option<(CompactString, Claim)>,
    pub(super) exchange: Option<Box<Exchange>>,
    proof: Proof,
    /// Somebody is asked about its will.
    will: Option<Wait>,
}

/// What was proved.
#[derive(Default)]
pub struct Proof {
    /// Who it is.
    pub identity: Option<Arc<Identity>>,
    /// The last word of an enhanced authentication, for CONNACK.
    pub data: Option<Vec<u8>>,
    /// What a service said of its will.
    pub will: Option<Told>,
    /// What it said of the subscriptions that the client comes back to.
    pub subscriptions: Vec<Told>,
    /// Not about all of them: there was no answer.
    pub unasked: bool,
}

impl Gate {
    /// The gate of one shard.
    pub fn new(desk: Arc<Desk>, hasher: ahash::RandomState) -> Gate {
        let book = desk.book();
        let waiting = HashMap::with_hasher(hasher);
        let (policy, users) = (book.policy, book.users);
        let asks = !desk.deciders.is_empty();
        let asking = asks.then(|| Box::new(Asking::new(&desk.deciders)));
        Gate { desk, policy, users, asking, epoch: 1, waiting, expiring: BinaryHeap::new(), row: None }
    }

    /// Forgets a connection that has ended.
    pub fn forget(&mut self, connection: ConnectionId) {
        self.waiting.remove(&connection);
    }

    /// Takes what a connection has proved, as it is accepted.
    pub fn take_proof(&mut self, connection: ConnectionId) -> Proof {
        self.waiting.remove(&connection).map(|waiting| waiting.proof).unwrap_or_default()
    }

    /// Who a connection is that is not accepted yet.
    pub fn proved(&self, connection: ConnectionId) -> Option<&Arc<Identity>> {
        self.waiting.get(&connection)?.proof.identity.as_ref()
    }

    /// Somebody is asked about the will of a client that is about to be accepted.
    pub(super) fn will_waits(&mut self, connection: ConnectionId, wait: Wait) {
        if let Some(waiting) = self.waiting.get_mut(&connection) {
            waiting.will = Some(wait);
        }
    }

    /// What the will of such a client is asked about.
    pub(super) fn will_wait(&self, connection: ConnectionId) -> Option<&Wait> {
        self.waiting.get(&connection)?.will.as_ref()
    }

    /// What is said of it. Who the client is; `None`: nobody waits for that.
    pub(super) fn told_will(&mut self, connection: ConnectionId, number: u32, told: Told) -> Option<Arc<Identity>> {
        let waiting = self.waiting.get_mut(&connection)?;
        waiting.will.take_if(|wait| wait.number == number)?;
        waiting.proof.will = Some(told);
        waiting.proof.identity.clone()
    }

    /// What a service said of the subscriptions that a client comes back to; `complete`: of all.
    pub(super) fn recalled(&mut self, connection: ConnectionId, told: Vec<Told>, complete: bool) {
        if let Some(waiting) = self.waiting.get_mut(&connection) {
            (waiting.proof.subscriptions, waiting.proof.unasked) = (told, !complete);
        }
    }

    /// A connection's proof expires then.
    pub fn expires(&mut self, connection: ConnectionId, at_ms: u64) {
        self.expiring.push(Reverse((at_ms, connection.slot.0, connection.generation)));
    }
}

impl Switch {
    /// Finds out who a client is whose CONNECT was checked, and goes on to ask its home.
    pub(crate) fn authenticate(&mut self, slot: Slot, client_id: CompactString, claim: Claim, fx: &mut Effects) {
        let Some(gate) = &mut self.gate else {
            self.connections.at_mut(slot).phase = Phase::Claimed;
            return self.ask_home(&client_id, claim, fx);
        };
        let connection = self.connections.id(slot);
        let conn = self.connections.at_mut(slot);
        conn.phase = Phase::Authenticating;
        let desk = Arc::clone(&gate.desk);
        let door = desk.door(conn.listener);
        let shown = self.stacks.get(slot).and_then(|stack| stack.channel.as_ref()?.client_certificates().first());
        let holder = shown.map(|certificate| Holder::of(certificate, door.identity));
        let bytes = conn.residue.as_ref().expect("CONNECT waits in the residue");
        let connect =
            decode_connect(&first_packet(bytes, self.limits.max_connect_size)).expect("it was decoded before");
        let credentials = Credentials {
            user: connect.user_name.map(Box::from),
            password: connect.password.map(|password| Zeroizing::new(password.to_vec())),
            client_id: client_id.as_str().into(),
            peer: SocketAddr::from(conn.peer).ip(),
            listener: conn.listener,
            origin: Origin {
                subject: holder.as_ref().map(|holder| holder.subject.as_str().into()),
                listener: door.own.clone(),
                users: door.users.clone(),
                asked: door.asked,
            },
            anonymous: door.anonymous,
        };
        let data = connect.properties.authentication_data.map(<[u8]>::to_vec);
        let enhanced = connect.properties.authentication_method.is_some();
        let named = enhanced || credentials.user.is_some() || credentials.password.is_some();
        gate.waiting.insert(connection, Waiting { claim: Some((client_id, claim)), ..Waiting::default() });
        let bans = &gate.policy.bans;
        if bans.has_address(credentials.peer) || bans.has_client(&credentials.client_id) {
            return self.proved(connection, Verdict::Refused(ReasonCode::Banned), None, fx);
        }
        if let Some(holder) = holder.filter(|_| door.identity != CertificateName::None && !enhanced) {
            let verdict = certified(holder.user.as_deref(), &credentials);
            return self.proved(connection, verdict, None, fx);
        }
        let asked = door.chain.contains(&Backend::Http);
        if door.chain.is_empty() && !credentials.anonymous {
            // Only a certificate would have told.
            return self.proved(connection, Verdict::Refused(ReasonCode::NotAuthorized), None, fx);
        }
        if door.chain.is_empty() || (!named && credentials.anonymous && !asked) {
            // There is nothing to prove, or nobody to prove it to: a name that nobody has checked is none.
            let identity = Identity::anonymous(&credentials.client_id, &credentials.origin);
            return self.proved(connection, Verdict::Accepted(Arc::new(identity)), None, fx);
        }
        if !named && !asked {
            return self.proved(connection, Verdict::Refused(ReasonCode::NotAuthorized), None, fx);
        }
        let question = match (enhanced, data) {
            (false, _) => Question::Connect(credentials, 0),
            (true, Some(data)) => Question::Begin(credentials, data),
            // The client has the first word in this method.
            (true, None) => return self.proved(connection, Verdict::Refused(ReasonCode::NotAuthorized), None, fx),
        };
        self.ask_desk(connection, question, fx);
    }

    pub(super) fn ask_desk(&mut self, connection: ConnectionId, question: Question, fx: &mut Effects) {
        let Some(gate) = &self.gate else { return };
        let request = Request { shard: self.id, connection, question };
        if gate.desk.ask(request).is_err() {
            self.counters.add(Counter::AuthenticationsBusy, 1);
            self.proved(connection, Verdict::Refused(ReasonCode::ServerBusy), None, fx);
        }
    }

    /// Takes what service threads and other shards have left. Whether sessions are to be judged that need no event.
    pub(crate) fn hear_news(&mut self, fx: &mut Effects) -> bool {
        while let Some(news) = self.gate.as_ref().and_then(|gate| gate.desk.hear(self.id)) {
            match news {
                News::Verdict(connection, verdict, data) => self.proved(connection, verdict, data, fx),
                News::Challenge(connection, exchange, data) => self.challenge(connection, exchange, &data, fx),
                News::Told(about, told) => self.told(about, told, fx),
                News::Moved(connection, proof) => {
                    if let Some(gate) = &mut self.gate {
                        gate.waiting.insert(connection, Waiting { proof, ..Waiting::default() });
                    }
                }
                News::Reloaded(policy, users) => {
                    if let Some(gate) = &mut self.gate {
                        (gate.policy, gate.users) = (policy, users);
                        gate.row = Some(0).filter(|_| !planted(Fault::LiveSubscriptionsForgotten));
                        if !planted(Fault::DecisionsKept) {
                            gate.epoch = gate.epoch.wrapping_add(1).max(1);
                        }
                    }
                }
            }
        }
        self.judge_again(fx)
    }

    /// A verdict about a connection has come.
    fn proved(&mut self, connection: ConnectionId, verdict: Verdict, data: Option<Vec<u8>>, fx: &mut Effects) {
        let Some(phase) = self.connections.find(connection).map(|conn| conn.phase) else { return };
        match (phase, verdict) {
            (Phase::Authenticating, Verdict::Refused(reason)) => {
                if reason != ReasonCode::ServerBusy {
                    self.counters.add(Counter::AuthenticationsFailed, 1);
                }
                self.close(connection.slot, Cause::Refused(reason), fx);
            }
            (Phase::Authenticating, Verdict::Accepted(identity)) => {
                if self.gate.as_ref().is_some_and(|gate| gate.policy.bans.has_user(identity.user.as_deref())) {
                    return self.close(connection.slot, Cause::Refused(ReasonCode::Banned), fx);
                }
                let Some(waiting) = self.gate.as_mut().and_then(|gate| gate.waiting.get_mut(&connection)) else {
                    return;
                };
                waiting.proof = Proof { identity: Some(Arc::clone(&identity)), data, ..Proof::default() };
                self.judge_will(connection, &identity, fx);
            }
            (Phase::Open, verdict) => self.proved_again(connection, verdict, data, fx),
            _ => {}
        }
    }

    /// Lets a client go on that has proved who it is, as soon as it is known that it may leave its will.
    fn judge_will(&mut self, connection: ConnectionId, identity: &Arc<Identity>, fx: &mut Effects) {
        let slot = connection.slot;
        let asked = self.gate.as_ref().is_some_and(|gate| gate.asked(identity, None).is_some());
        if let Some((topic, qos, retain)) = self.will_of_connect(slot).filter(|_| asked) {
            return self.ask_about_will(connection, identity, (topic, qos, retain), fx);
        }
        if !self.may_leave_will(slot, identity) {
            return self.close(slot, Cause::Refused(ReasonCode::NotAuthorized), fx);
        }
        self.let_in(connection, identity, fx);
    }

    /// Who a client is is known: its home is asked.
    pub(super) fn let_in(&mut self, connection: ConnectionId, identity: &Identity, fx: &mut Effects) {
        let owner = self.owner_of(identity);
        let waiting = self.gate.as_mut().and_then(|gate| gate.waiting.get_mut(&connection));
        let Some((client_id, claim)) = waiting.and_then(|waiting| waiting.claim.take()) else { return };
        self.connections.at_mut(connection.slot).phase = Phase::Claimed;
        self.ask_home(&client_id, Claim { owner, ..claim }, fx);
    }

    /// What the session home is told of who a client is: the same for the same user, on every shard and after a restart.
    /// 0 where there is no access control.
    pub(crate) fn owner_of(&self, identity: &Identity) -> u64 {
        match (&self.gate, &identity.user, &identity.origin.users) {
            (None, ..) => 0,
            (_, Some(user), Some(users)) => self.placement.client_hash(&format!("user\0{user}\0{users}")).max(1),
            (_, Some(user), None) => self.placement.client_hash(&format!("user\0{user}")).max(1),
            (_, None, _) => self.nobody(),
        }
    }

    /// The owner of what belongs to clients that name nobody.
    pub(crate) fn nobody(&self) -> u64 {
        self.placement.client_hash("anonymous\0").max(1)
    }

    /// Whether a client identifier is its user's alone.
    pub(crate) fn binds_sessions(&self) -> bool {
        self.gate.as_ref().is_some_and(|gate| gate.desk.access.takeover == Takeover::SameUser)
    }

    pub(super) fn may_leave_will(&self, slot: Slot, identity: &Identity) -> bool {
        let Some(gate) = &self.gate else { return true };
        let judge = |(topic, qos, retain): (Box<str>, QoS, bool)| {
            gate.policy.topic(identity, Actions::PUBLISH, &topic).has(qos, retain)
        };
        self.will_of_connect(slot).is_none_or(judge)
    }

    /// Where the will of a CONNECT is to be published, and how.
    fn will_of_connect(&self, slot: Slot) -> Option<(Box<str>, QoS, bool)> {
        let bytes = self.connections.at(slot).residue.as_ref().expect("CONNECT waits in the residue");
        let connect =
            decode_connect(&first_packet(bytes, self.limits.max_connect_size)).expect("it was decoded before");
        connect.will.map(|will| (will.topic.into(), will.qos, will.retain))
    }

    /// Ends connections whose proof has expired.
    pub(crate) fn end_expired(&mut self, fx: &mut Effects) {
        let now_ms = self.journal.wall.ms(self.now);
        while let Some(gate) = &mut self.gate
            && let Some(Reverse((at_ms, slot, generation))) = gate.expiring.peek().copied()
            && at_ms <= now_ms
        {
            gate.expiring.pop();
            let connection = ConnectionId { slot: Slot(slot), generation };
            let Some(id) = self.connections.find(connection).and_then(|conn| conn.session) else { continue };
            let access = self.sessions.at(id).access.as_ref();
            if access.and_then(|access| access.identity.expires_ms).is_some_and(|expires| expires <= now_ms) {
                self.close(connection.slot, Cause::Reason(ReasonCode::NotAuthorized), fx);
            }
        }
    }

    /// Whether the client of a session is not to be here any more.
    fn is_banned(&self, id: SessionId, slot: Slot) -> bool {
        let Some(gate) = &self.gate else { return false };
        let (bans, session) = (&gate.policy.bans, self.sessions.at(id));
        let user = session.access.as_ref().and_then(|access| access.identity.user.as_deref());
        let address = SocketAddr::from(self.connections.at(slot).peer).ip();
        bans.has_user(user) || bans.has_client(&session.client_id) || bans.has_address(address)
    }

    /// Goes on to judge sessions by rules that were read again. Whether some are left.
    fn judge_again(&mut self, fx: &mut Effects) -> bool {
        let Some(row) = self.gate.as_mut().and_then(|gate| gate.row.take()) else { return false };
        let end = (row + SESSIONS_PER_TURN).min(self.sessions.rows());
        for row in row..end {
            let Some(id) = self.sessions.in_row(row) else { continue };
            let session = self.sessions.at(id);
            let stands = session
                .access
                .as_ref()
                .zip(self.gate.as_ref())
                .is_none_or(|(access, gate)| super::desk::Book::stands(&gate.users, &access.identity));
            let banned = session.connection.is_some_and(|connection| self.is_banned(id, connection.slot));
            match session.connection {
                Some(connection) if banned => {
                    self.close(connection.slot, Cause::Reason(ReasonCode::AdministrativeAction), fx);
                }
                Some(connection) if !stands => {
                    self.close(connection.slot, Cause::Reason(ReasonCode::NotAuthorized), fx);
                }
                _ => {
                    self.judge_session(id, fx);
                    self.recall_later(id);
                }
            }
        }
        self.recall_more(fx);
        let more = end < self.sessions.rows();
        if let Some(gate) = &mut self.gate
            && more
            && gate.row.is_none()
        {
            gate.row = Some(end);
        }
        more
    }
}

/// What comes of a certificate that proves who a client is.
fn certified(user: Option<&str>, credentials: &Credentials) -> Verdict {
    let identity =
        user.map(|user| Identity::new(Some(user), &credentials.client_id, &credentials.origin, Particulars::default()));
    match identity {
        Some(Ok(identity)) => Verdict::Accepted(Arc::new(identity)),
        _ => Verdict::Refused(ReasonCode::NotAuthorized),
    }
}
