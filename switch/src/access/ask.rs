//! The shard's side of a service that decides about packets: what is not known is asked about, and the connection is not
//! read meanwhile.
//!
//! ```text
//!   PUBLISH, SUBSCRIBE ─▶ asked (the cache) ─┬─▶ known: on it goes
//!                                            └─▶ desk ─▶ service thread ─▶ News::Told ─▶ the packet again
//! ```
//! One packet of a connection waits at a time; those behind it wait in its socket. A will that is to be published waits in
//! a list of its own, as its connection has gone.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use shard::{Effects, Instant, Slot};
use slab::Slab;
use wire::mqtt::topic::TopicFilter;
use wire::mqtt::{QoS, ReasonCode, Subscribe};

use super::asked::{Asked, Items, Manner, Right, Told, Wait, Word};
use super::decider::{Inquiry, unanswered};
use super::desk::{Question, Request};
use super::gate::Gate;
use super::identity::Identity;
use super::live::Granted;
use super::policy::Grant;
use super::recall::{Line, Recall};
use super::rules::{Actions, Extent};
use crate::config::access::AclHttp;
use crate::connection::close::Cause;
use crate::connection::{ConnectionId, Phase};
use crate::counters::Counter;
use crate::journal::wait::Own;
use crate::session::{SessionId, Will};
use crate::switch::Switch;

/// Whose packet it is that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// That of a connection, with a number.
    Packet(ConnectionId, u32),
    /// A will that is to be published; its place.
    Will(usize, u32),
    /// Subscriptions that are there; their place.
    Again(usize, u32),
}

/// A will that waits for its verdict; its session may have ended.
struct HeldWill {
    number: u32,
    who: Arc<Identity>,
    qos: QoS,
    retain: bool,
    items: Arc<Items>,
    kept: Kept,
}

/// Who has the will meanwhile.
enum Kept {
    /// The journal, under this key.
    Journal(usize),
    /// Nobody else; and its publisher.
    Here(Box<Will>, u64),
}

/// What a shard asks about.
pub struct Asking {
    /// How.
    pub manner: Manner,
    wills: Slab<HeldWill>,
    /// Subscriptions that are asked about again.
    pub(super) recalls: Slab<Recall>,
    /// Sessions that are to be, by service.
    pub(super) lines: Vec<Line>,
    numbers: u32,
    /// What was asked about packets and wills, in order, and by when there must be an answer: as many as the desk takes.
    due: VecDeque<(Instant, About)>,
}

impl Asking {
    /// Nothing is asked yet of these services.
    pub fn new(services: &[AclHttp]) -> Asking {
        let (manner, lines) = (Manner::new(services), services.iter().map(|_| Line::default()).collect());
        Asking { manner, wills: Slab::new(), recalls: Slab::new(), lines, numbers: 0, due: VecDeque::new() }
    }

    /// A number that no other question has for a long time.
    pub(super) fn next_number(&mut self) -> u32 {
        self.numbers = self.numbers.wrapping_add(1);
        self.numbers
    }
}

/// What is asked and not answered, where services decide about packets.
pub(super) fn asking(gate: &Option<Box<Gate>>) -> Option<&Asking> {
    gate.as_ref()?.asking.as_deref()
}

/// The same, to change it.
pub(super) fn asking_mut(gate: &mut Option<Box<Gate>>) -> Option<&mut Asking> {
    gate.as_mut()?.asking.as_deref_mut()
}

impl Gate {
    /// What is known about the clients of a listener, where somebody is asked about these.
    pub(super) fn asked(&self, identity: &Identity, peer: Option<IpAddr>) -> Option<Box<Asked>> {
        let wanted = self.asking.is_some() && self.desk.decider(&identity.origin).is_some() && !identity.superuser;
        wanted.then(|| Box::new(Asked::new(peer)))
    }
}

impl Switch {
    /// Whether wills wait for their verdict.
    pub(crate) fn wills_wait(&self) -> bool {
        asking(&self.gate).is_some_and(|asking| !asking.wills.is_empty())
    }

    /// What a service says of a publish of a session; `None`: it is not asked, or leaves it to the rules.
    pub(super) fn told_of_publish(&mut self, id: SessionId, qos: QoS, retain: bool, topic: &str) -> Option<Right> {
        let gate = self.gate.as_ref()?;
        let manner = &gate.asking.as_ref()?.manner;
        let session = self.sessions.at_mut(id);
        let access = session.access.as_mut()?;
        access.keep_up(gate.epoch);
        let asked = access.asked.as_mut()?;
        let shape = manner.publish(qos, retain);
        if asked.wait.is_some() {
            return Some(Right::Asked);
        }
        match asked.word(shape, topic, self.now) {
            Some(word) => {
                asked.pass();
                asked.allowed = word == Word::Allow;
                match word {
                    Word::Allow => Some(Right::Yes),
                    Word::Deny => Some(Right::No),
                    Word::Ignore => None,
                }
            }
            None => {
                let connection = session.connection?;
                if self.inquire(id, connection, [(shape, topic.into())].into()) {
                    return Some(Right::Asked);
                }
                self.told_of_publish(id, qos, retain, topic)
            }
        }
    }

    /// The publish at hand could not be passed on: what was said of it counts once more.
    pub(crate) fn untold(&mut self, id: SessionId) {
        let session = self.sessions.find(id).and_then(|session| session.access.as_mut());
        if let Some(asked) = session.and_then(|access| access.asked.as_mut()) {
            asked.again();
        }
    }

    /// Whether all is known about the filters of a SUBSCRIBE; otherwise somebody is asked, about all of them at once.
    pub(crate) fn asked_about_filters(&mut self, slot: Slot, packet: &Subscribe<'_>) -> bool {
        let Some(gate) = &self.gate else { return true };
        let Some(manner) = gate.asking.as_ref().map(|asking| &asking.manner) else { return true };
        let connection = self.connections.id(slot);
        let id = self.connections.at(slot).session.expect("an open connection has one");
        let Some(access) = self.sessions.at_mut(id).access.as_mut() else { return true };
        access.keep_up(gate.epoch);
        let Some(asked) = access.asked.as_mut() else { return true };
        if asked.wait.is_some() {
            return false;
        }
        let (now, levels_max) = (self.now, usize::from(self.limits.max_topic_levels));
        let filters = packet.filters().filter_map(|(text, options)| {
            let filter = TopicFilter::parse(text, levels_max).ok()?;
            let about = (manner.subscribe(options.qos), filter.filter());
            (!is_ours(about.1)).then_some(about)
        });
        if filters.clone().all(|(shape, filter)| asked.word(shape, filter, now).is_some()) {
            return true;
        }
        let items = filters.map(|(shape, filter)| (shape, filter.into())).collect();
        !self.inquire(id, connection, items)
    }

    /// All filters of a SUBSCRIBE were judged: what was said of it alone is used up.
    pub(crate) fn filters_judged(&mut self, id: SessionId) {
        if let Some(asked) = self.sessions.at_mut(id).access.as_mut().and_then(|access| access.asked.as_mut()) {
            asked.pass();
        }
    }

    /// What becomes of a subscription about which all is known, and whether that was a service's word.
    pub(crate) fn judge_asked(&mut self, id: SessionId, filter: &TopicFilter<'_>, qos: QoS) -> (Grant, bool) {
        let now = self.now;
        let word = asking(&self.gate).and_then(|asking| {
            let asked = self.sessions.at_mut(id).access.as_mut()?.asked.as_mut()?;
            asked.word(asking.manner.subscribe(qos), filter.filter(), now).filter(|_| !is_ours(filter.filter()))
        });
        match word {
            Some(Word::Allow) => (Grant { extent: Extent::Whole, qos: QoS::ExactlyOnce }, true),
            Some(Word::Deny) => (Grant { extent: Extent::None, qos: QoS::AtMostOnce }, false),
            Some(Word::Ignore) | None => {
                (self.judge_subscription(id, filter.filter(), filter.group().is_some()), false)
            }
        }
    }

    /// Whether a subscription that a service granted stays so: its client comes in where that one is asked.
    pub(super) fn is_told(&self, id: SessionId) -> bool {
        self.gate.as_ref().is_some_and(|gate| gate.asking.is_some())
            && self.sessions.at(id).access.as_ref().is_some_and(|access| access.asked.is_some())
    }

    /// Asks about a packet of a connection. False: there is no place, and it is known already what counts then.
    fn inquire(&mut self, id: SessionId, connection: ConnectionId, items: Arc<Items>) -> bool {
        let Some(access) = self.sessions.at_mut(id).access.as_mut() else { return false };
        let who = Arc::clone(&access.identity);
        let Some(asked) = access.asked.as_mut() else { return false };
        let (peer, wait) = (asked.peer, asked.ask(items));
        if self.ask_about(About::Packet(connection, wait.number), who, peer, &wait.items) {
            return true;
        }
        let told = self.unanswered(&wait.items);
        let Some(asking) = asking(&self.gate) else { return false };
        let asked = self.sessions.at_mut(id).access.as_mut().and_then(|access| access.asked.as_mut());
        asked.map(|asked| asked.answered(wait.number, told, &asking.manner, self.now));
        false
    }

    /// Asks about the will of a client that is about to be accepted.
    pub(super) fn ask_about_will(
        &mut self,
        connection: ConnectionId,
        identity: &Arc<Identity>,
        (topic, qos, retain): (Box<str>, QoS, bool),
        fx: &mut Effects,
    ) {
        let Some(gate) = &mut self.gate else { return };
        let Some(asking) = &mut gate.asking else { return };
        let (number, items) = (asking.next_number(), Arc::from([(asking.manner.publish(qos, retain), topic)]));
        gate.will_waits(connection, Wait { number, items: Arc::clone(&items) });
        let peer = SocketAddr::from(self.connections.at(connection.slot).peer).ip();
        let about = About::Packet(connection, number);
        if !self.ask_about(about, Arc::clone(identity), Some(peer), &items) {
            let told = self.unanswered(&items);
            self.told_of_coming(connection, number, told, fx);
        }
    }

    /// Asks. False: there is no place.
    pub(super) fn ask_about(
        &mut self,
        about: About,
        who: Arc<Identity>,
        peer: Option<IpAddr>,
        items: &Arc<Items>,
    ) -> bool {
        let Some(gate) = &mut self.gate else { return false };
        let Some(asking) = &mut gate.asking else { return false };
        let connection = match about {
            About::Packet(connection, _) => connection,
            // What is told of these names no connection.
            About::Will(..) | About::Again(..) => ConnectionId { slot: Slot(0), generation: 0 },
        };
        let Some(decider) = gate.desk.decider(&who.origin) else { return false };
        let inquiry = Inquiry { who, peer, items: Arc::downgrade(items), decider };
        let question = Question::Decide(about, Box::new(inquiry));
        self.counters.add(Counter::AuthorizationsAsked, 1);
        let asked = gate.desk.ask(Request { shard: self.id, connection, question }).is_ok();
        if asked && matches!(about, About::Again(..)) {
            // It is looked through by itself.
        } else if asked {
            asking.due.push_back((self.now.after(asking.manner.patience), about));
        } else {
            self.counters.add(Counter::AuthorizationsBusy, 1);
        }
        asked
    }

    fn unanswered(&self, items: &Items) -> Vec<Told> {
        let Some(gate) = &self.gate else { return Vec::new() };
        items.iter().map(|(shape, topic)| unanswered(&gate.desk.access.acl_http, *shape, topic)).collect()
    }

    /// What nobody answered in time counts as not answered.
    pub(crate) fn end_patience(&mut self, fx: &mut Effects) {
        while let Some(gate) = &self.gate
            && let Some(asking) = &gate.asking
            && let Some((due, about)) = asking.due.front().copied()
            && due <= self.now
        {
            let items = match about {
                About::Packet(connection, number) => self.awaited(connection, number),
                About::Will(key, number) => {
                    let held = asking.wills.get(key).filter(|held| held.number == number);
                    held.map(|held| Arc::clone(&held.items))
                }
                About::Again(..) => None,
            };
            let told = items.map(|items| self.unanswered(&items)).unwrap_or_default();
            self.told(about, told, fx);
        }
    }

    /// What a connection waits for under this number.
    fn awaited(&self, connection: ConnectionId, number: u32) -> Option<Arc<Items>> {
        let conn = self.connections.get(connection)?;
        let wait = match conn.session {
            None => self.gate.as_ref()?.will_wait(connection),
            Some(id) => self.sessions.at(id).access.as_ref()?.asked.as_ref()?.wait.as_ref(),
        };
        wait.filter(|wait| wait.number == number).map(|wait| Arc::clone(&wait.items))
    }

    /// A service has answered; with nothing, where nobody waited any more.
    pub(super) fn told(&mut self, about: About, told: Vec<Told>, fx: &mut Effects) {
        if !matches!(about, About::Again(..))
            && let Some(asking) = asking_mut(&mut self.gate)
            && let Some(index) = asking.due.iter().position(|(_, one)| *one == about)
        {
            // It lies near the front: what was asked first is answered first, mostly.
            asking.due.remove(index);
        }
        let unanswered = told.iter().any(|told| !told.lasts);
        let known = !told.is_empty()
            && match about {
                About::Packet(connection, number) => self.told_of_packet(connection, number, told, fx),
                About::Will(key, number) => self.told_of_will(key, number, &told, fx),
                About::Again(key, number) => self.told_again(key, number, told, fx),
            };
        if known && unanswered {
            self.counters.add(Counter::AuthorizationsDown, 1);
        }
    }

    fn told_of_packet(&mut self, connection: ConnectionId, number: u32, told: Vec<Told>, fx: &mut Effects) -> bool {
        let now = self.now;
        let Some((phase, session)) = self.connections.find(connection).map(|conn| (conn.phase, conn.session)) else {
            return false;
        };
        if phase == Phase::Authenticating {
            return self.told_of_coming(connection, number, told, fx);
        }
        let Some(asking) = asking(&self.gate) else { return false };
        let Some(id) = session else { return false };
        let access = self.sessions.at_mut(id).access.as_mut();
        let Some(asked) = access.and_then(|access| access.asked.as_mut()) else { return false };
        let known = asked.answered(number, told, &asking.manner, now);
        if known {
            self.unpark_soon(connection.slot);
        }
        known
    }

    /// The verdict about the will of a client that is about to be accepted.
    fn told_of_coming(&mut self, connection: ConnectionId, number: u32, mut told: Vec<Told>, fx: &mut Effects) -> bool {
        let Some(told) = told.pop() else { return false };
        let word = told.word;
        let identity = self.gate.as_mut().and_then(|gate| gate.told_will(connection, number, told));
        let Some(identity) = identity else { return false };
        let allowed = match word {
            Word::Allow => true,
            Word::Deny => false,
            Word::Ignore => self.may_leave_will(connection.slot, &identity),
        };
        if allowed {
            self.let_in(connection, &identity, fx);
        } else {
            self.close(connection.slot, Cause::Refused(ReasonCode::NotAuthorized), fx);
        }
        true
    }

    /// Holds a will back until it is known whether it may be published; the session lets go of it.
    pub(crate) fn hold_will(&mut self, id: SessionId, fx: &mut Effects) {
        let session = self.sessions.at_mut(id);
        let (Some(will), Some(access)) = (session.will.take(), &session.access) else { return };
        let (who, client_hash) = (Arc::clone(&access.identity), session.client_hash);
        let peer = access.asked.as_ref().and_then(|asked| asked.peer);
        let (topic, qos, retain) = will.place();
        let Some(asking) = asking_mut(&mut self.gate) else { return };
        let items: Arc<Items> = Arc::from([(asking.manner.publish(qos, retain), topic.into())]);
        let kept = match session.kept.as_ref().filter(|_| self.journal.is_on()) {
            Some(kept) => {
                let (uid, number) = (kept.uid, kept.connections);
                Kept::Journal(self.journal.own.insert(Own::Will { uid, number, will, client_hash }))
            }
            None => Kept::Here(will, client_hash),
        };
        let number = asking.next_number();
        let held = HeldWill { number, who: Arc::clone(&who), qos, retain, items: Arc::clone(&items), kept };
        let key = asking.wills.insert(held);
        if !self.ask_about(About::Will(key, number), who, peer, &items) {
            let told = self.unanswered(&items);
            self.told_of_will(key, number, &told, fx);
        }
    }

    fn told_of_will(&mut self, key: usize, number: u32, told: &[Told], fx: &mut Effects) -> bool {
        let Some(gate) = &mut self.gate else { return false };
        let Some(asking) = &mut gate.asking else { return false };
        if asking.wills.get(key).is_none_or(|held| held.number != number) {
            return false;
        }
        let HeldWill { who, qos, retain, mut kept, .. } = asking.wills.remove(key);
        let Some(told) = told.first() else { return false };
        let allowed = match told.word {
            Word::Allow => true,
            Word::Deny => false,
            Word::Ignore => gate.policy.topic(&who, Actions::PUBLISH, &told.topic).has(qos, retain),
        };
        let source = self.source_of(&who, &told.topic, qos, told.word == Word::Allow).filter(|_| retain);
        let source = source.map(|source| source.boxed());
        match &mut kept {
            Kept::Here(will, _) => will.set_source(source),
            Kept::Journal(own) => {
                if let Some(Own::Will { will, .. }) = self.journal.own.get_mut(*own) {
                    will.set_source(source);
                }
            }
        }
        match (kept, allowed) {
            (Kept::Journal(own), true) => {
                self.queue_kept(own);
                self.run_own(fx);
            }
            (Kept::Here(will, client_hash), true) => {
                let frame = self.will_frame(&will, client_hash, None);
                self.publish_own(frame, fx);
            }
            (kept, false) => {
                self.counters.add(Counter::MessagesMatched, 1);
                self.counters.add(Counter::DroppedNotAuthorized, 1);
                if let Kept::Journal(own) = kept {
                    self.journal.forget_own(own);
                }
            }
        }
        true
    }

    /// What a session before this start knows of its client.
    pub(crate) fn granted_before(&self, identity: Arc<Identity>) -> Granted {
        let asked = self.gate.as_ref().and_then(|gate| gate.asked(&identity, None));
        let mut granted = Granted::new(identity, false);
        granted.asked = asked;
        granted
    }
}

/// What the switch says of itself is not for a service to give.
pub(super) fn is_ours(filter: &str) -> bool {
    filter == "$SYS" || filter.starts_with("$SYS/")
}
