//! What sessions may do, by the rules at hand.

use std::net::SocketAddr;
use std::sync::Arc;

use shard::{Effects, Slot};
use wire::entry::Entry;
use wire::frame::Frame;
use wire::mqtt::topic::matches;
use wire::mqtt::{Publish, QoS, ReasonCode};

use super::asked::{Asked, Right, Word};
use super::decisions::Decisions;
use super::gate::Gate;
use super::identity::{Identity, Origin};
use super::policy::Grant;
use super::rules::{Actions, Extent, Ways};
use crate::config::access::DenyAction;
use crate::counters::Counter;
use crate::delivery::Subscribers;
use crate::delivery::store::MessageStore;
use crate::frames;
use crate::session::outgoing::Owed;
use crate::session::{Route, Session, SessionId};
use crate::switch::Switch;
use crate::topic::tree::{FilterId, FilterTree};

/// What a session knows of its client.
pub struct Granted {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// It proved that by an enhanced authentication.
    pub enhanced: bool,
    /// What a service said of its packets, where one is asked.
    pub asked: Option<Box<Asked>>,
    /// By which rules it was decided.
    epoch: u32,
    decisions: Option<Box<Decisions>>,
}

impl Granted {
    /// Nothing is decided yet.
    pub fn new(identity: Arc<Identity>, enhanced: bool) -> Granted {
        Granted { identity, enhanced, asked: None, epoch: 0, decisions: None }
    }

    /// The client is who it was, with another proof.
    pub fn renew(&mut self, identity: Arc<Identity>) {
        (self.identity, self.epoch) = (identity, 0);
    }

    /// Forgets what was decided by other rules than those at hand.
    pub fn keep_up(&mut self, epoch: u32) {
        if self.epoch == epoch {
            return;
        }
        self.epoch = epoch;
        if let Some(decisions) = &mut self.decisions {
            decisions.clear();
        }
        if let Some(asked) = &mut self.asked {
            asked.forget();
        }
    }

    /// In which ways it may do something to a topic.
    fn ways(&mut self, gate: &Gate, action: Actions, topic: &str) -> Ways {
        self.keep_up(gate.epoch);
        let decisions = self.decisions.get_or_insert_default();
        if let Some(ways) = decisions.find(action, topic) {
            return ways;
        }
        let ways = gate.policy.topic(&self.identity, action, topic);
        decisions.put(action, topic, ways);
        ways
    }
}

/// What tells whether a message that waits is still for its session.
struct Parts<'a> {
    store: &'a MessageStore,
    filters: &'a FilterTree<Subscribers>,
    gate: Option<&'a Gate>,
}

/// Whether a session may receive a message at this QoS. One whose client is not known since a restart is judged when it
/// comes back.
pub(crate) fn may_receive(gate: Option<&Gate>, session: &mut Session, topic: &str, qos: QoS) -> bool {
    let (Some(gate), Some(access)) = (gate, &mut session.access) else { return true };
    access.ways(gate, Actions::RECEIVE, topic).has(qos, false)
}

impl Switch {
    /// Whether a session may publish this to this topic.
    pub(crate) fn is_allowed(&mut self, id: SessionId, publish: &Publish<'_>, topic: &str) -> Right {
        let asked = self.sessions.at(id).access.as_ref().is_some_and(|access| access.asked.is_some());
        if asked && let Some(right) = self.told_of_publish(id, publish.qos, publish.retain, topic) {
            return right;
        }
        let Some(gate) = &self.gate else { return Right::Yes };
        let access = self.sessions.at_mut(id).access.as_mut();
        let judge =
            |access: &mut Box<Granted>| access.ways(gate, Actions::PUBLISH, topic).has(publish.qos, publish.retain);
        if access.is_some_and(judge) { Right::Yes } else { Right::No }
    }

    /// Whether a session may receive a retained message.
    pub(crate) fn may_receive_retained(&mut self, id: SessionId, frame: &Frame<'_>, qos: QoS) -> bool {
        if self.gate.is_none() {
            return true;
        }
        may_receive(self.gate.as_deref(), self.sessions.at_mut(id), frame.topic, qos)
    }

    /// What a denial does, beside that nothing happens.
    pub(crate) fn deny_action(&self) -> DenyAction {
        self.gate.as_ref().map_or(DenyAction::Reason, |gate| gate.policy.deny_action)
    }

    /// What becomes of a subscription; all of it where nobody is judged.
    pub(crate) fn judge_subscription(&self, id: SessionId, filter: &str, shared: bool) -> Grant {
        let access = self.sessions.at(id).access.as_ref();
        match self.gate.as_ref().zip(access) {
            Some((gate, access)) => gate.policy.subscription(&access.identity, filter, shared),
            None => Grant { extent: Extent::Whole, qos: QoS::ExactlyOnce },
        }
    }

    /// Whether the will of a session may be published now.
    pub(crate) fn may_fire(&mut self, id: SessionId, (topic, qos, retain): (&str, QoS, bool)) -> Right {
        let Some(gate) = &self.gate else { return Right::Yes };
        let access = self.sessions.at_mut(id).access.as_mut();
        let told = access.zip(gate.asking.as_ref()).and_then(|(access, asking)| {
            access.keep_up(gate.epoch);
            let shape = asking.manner.publish(qos, retain);
            access.asked.as_mut().map(|asked| {
                let word = asked.word(shape, topic, self.now);
                asked.allowed = word == Some(Word::Allow);
                word
            })
        });
        match told {
            Some(None) => return Right::Asked,
            Some(Some(Word::Allow)) => return Right::Yes,
            Some(Some(Word::Deny)) => return Right::No,
            Some(Some(Word::Ignore)) | None => {}
        }
        let session = self.sessions.at(id);
        let judge = |who: &Identity| gate.policy.topic(who, Actions::PUBLISH, topic).has(qos, retain);
        let allowed = match &session.access {
            Some(access) => judge(&access.identity),
            None => judge(&Identity::anonymous(&session.client_id, &Origin::default())),
        };
        if allowed { Right::Yes } else { Right::No }
    }

    /// Judges the subscriptions of a session by the rules at hand, and what it is owed and was not sent.
    pub(crate) fn judge_session(&mut self, id: SessionId, fx: &mut Effects) {
        if self.gate.is_none() || self.sessions.at(id).access.is_none() {
            return;
        }
        let mut index = 0;
        while index < self.sessions.at(id).subscriptions.len() {
            let subscription = self.sessions.at(id).subscriptions[index];
            let filter = self.filters.filter(subscription.filter).to_owned();
            let shared = matches!(subscription.route, Route::Shared(..));
            if subscription.options.told() {
                if self.is_told(id) {
                    index += 1;
                    continue;
                }
                // It came in where nobody is asked: the rules decide from now on.
                let options = &mut self.sessions.at_mut(id).subscriptions[index].options;
                *options = options.with_told(false);
            }
            let subscription = self.sessions.at(id).subscriptions[index];
            let grant = self.judge_subscription(id, &filter, shared);
            if shared && grant.extent != Extent::Whole {
                // What the group has for it would be lost: another member gets it.
                self.withdraw(id, index, &filter, fx);
                continue;
            }
            let judged = grant.extent != Extent::Whole;
            if !shared && judged != subscription.options.judged() {
                self.unroute(id, &subscription, fx);
                let subscriptions = &mut self.sessions.at_mut(id).subscriptions;
                subscriptions[index].options = subscription.options.with_judged(judged);
                self.route_subscription(id, index);
            }
            index += 1;
        }
        self.drop_denied(id);
    }

    /// Takes a subscription from a session whose client did not ask for that.
    pub(super) fn withdraw(&mut self, id: SessionId, index: usize, filter: &str, fx: &mut Effects) {
        let subscription = self.sessions.at(id).subscriptions[index];
        let group = match subscription.route {
            Route::Shared(key, _) => {
                let groups = &self.filters.value(subscription.filter).groups;
                groups.iter().find(|group| group.key == key).map(|group| group.name.clone())
            }
            _ => Some("".into()),
        };
        self.remove_subscription(id, index, fx);
        if let (Some(kept), Some(group)) = (&self.sessions.at(id).kept, group) {
            self.journal.note(&Entry::Unsubscribed { uid: kept.uid, filter, group: &group });
        }
    }

    /// Drops what waits for a session that may not receive it any more.
    fn drop_denied(&mut self, id: SessionId) {
        let session = self.sessions.at(id);
        let told: Vec<FilterId> =
            session.subscriptions.iter().filter(|one| one.options.told()).map(|one| one.filter).collect();
        self.drop_waiting(id, |parts, session, owed| {
            let frame = parts.store.frame(owed.message);
            !told.iter().any(|filter| matches(parts.filters.filter(*filter), frame.topic))
                && !may_receive(parts.gate, session, frame.topic, owed.qos)
        });
    }

    /// Drops what waits for a session because of subscriptions that were withdrawn, filters with the keys of their groups,
    /// and of no other.
    pub(super) fn drop_withdrawn(&mut self, id: SessionId, withdrawn: &[(Box<str>, Option<u64>)]) {
        if withdrawn.is_empty() {
            return;
        }
        self.drop_waiting(id, |parts, session, owed| {
            let topic = parts.store.frame(owed.message).topic;
            let of = |group: Option<u64>, filter: &str| group == owed.group && matches(filter, topic);
            let mut left = session.subscriptions.iter();
            withdrawn.iter().any(|(filter, group)| of(*group, filter))
                && !left.any(|one| of(one.route.group(), parts.filters.filter(one.filter)))
        });
    }

    fn drop_waiting(&mut self, id: SessionId, mut which: impl FnMut(&Parts<'_>, &mut Session, &Owed) -> bool) {
        let Switch { sessions, store, gate, counters, journal, filters, .. } = self;
        let session = sessions.at_mut(id);
        let Some(mut outgoing) = session.outgoing.take() else { return };
        let parts = Parts { store, filters, gate: gate.as_deref() };
        let denied = outgoing.take_waiting(|owed| which(&parts, session, owed));
        for owed in denied {
            counters.add(Counter::DroppedNotAuthorized, 1);
            let (message, group) = (store.number(owed.message), owed.group.unwrap_or(0));
            if let Some(kept) = session.kept.as_ref().filter(|_| message > 0) {
                journal.note(&Entry::Dropped { uid: kept.uid, message, group });
            }
            store.release(owed.message);
        }
        session.outgoing = Some(outgoing);
    }

    /// The will of a session is not published: its client may not.
    pub(crate) fn deny_will(&mut self, id: SessionId) {
        self.counters.add(Counter::MessagesMatched, 1);
        self.counters.add(Counter::DroppedNotAuthorized, 1);
        self.forget_will(id);
    }

    /// A connection is accepted: what it has proved is its session's.
    pub(crate) fn grant(&mut self, id: SessionId, slot: Slot, proof: super::gate::Proof) {
        let Some(gate) = &mut self.gate else { return };
        let enhanced = proof.data.is_some();
        let session = self.sessions.at_mut(id);
        let identity =
            proof.identity.unwrap_or_else(|| Arc::new(Identity::anonymous(&session.client_id, &Origin::default())));
        if let Some(at_ms) = identity.expires_ms {
            gate.expires(self.connections.id(slot), at_ms);
        }
        let peer = SocketAddr::from(self.connections.at(slot).peer).ip();
        let mut granted = Granted::new(identity, enhanced);
        granted.asked = gate.asked(&granted.identity, Some(peer));
        let before = session.access.as_ref().and_then(|access| access.asked.as_ref());
        if let (Some(asked), Some(before)) = (&mut granted.asked, before) {
            asked.in_line = before.in_line;
        }
        granted.keep_up(gate.epoch);
        if let (Some(asked), Some(asking), Some(told)) = (&mut granted.asked, &gate.asking, &proof.will) {
            asked.keep(told, &asking.manner, self.now);
        }
        session.access = Some(Box::new(granted));
    }
}

/// What a SUBSCRIBE is told about a filter that it may not have.
pub(crate) fn refusal(v5: bool) -> ReasonCode {
    if v5 { ReasonCode::NotAuthorized } else { ReasonCode::UnspecifiedError }
}

/// The QoS of a delivery: of a frame to a subscription.
pub(crate) fn delivered(frame: &Frame<'_>, granted: QoS) -> QoS {
    granted.min(frames::qos(frame))
}
