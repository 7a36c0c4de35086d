//! Asks a service again about subscriptions that it, or rules that it left them to, granted before.
//!
//! ```text
//!   CONNECT that resumes a session ─▶ batch after batch, one at a time ─▶ CONNACK
//!   SIGHUP ─▶ connected sessions in line, a few batches at a time ─▶ what is denied is withdrawn
//! ```
//! Batches go the way of packets that are asked about. Where there is no answer nothing changes, whatever `when_down` says:
//! a service that is down for a moment must not cost sessions their subscriptions. They are asked about again once it
//! answers.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use shard::{Effects, Instant};

use super::ask::{About, asking, asking_mut, is_ours};
use super::asked::{Items, Shape, Told, Word};
use super::identity::Identity;
use crate::connection::{ConnectionId, Phase};
use crate::counters::Counter;
use crate::session::SessionId;
use crate::session::admit::Admitted;
use crate::switch::Switch;

/// Subscriptions that are asked about in one go: as many as one answer's time is enough for, mostly.
const BATCH: usize = 8;
/// Batches that a shard has under way at one service after a reload, beside packets of clients, who must not wait long.
const UNDER_WAY_MAX: usize = 4;

/// A line that is no longer than that is not looked through for sessions that have ended.
const LINE_MIN: usize = 64;

/// Subscriptions of one session that are asked about.
pub struct Recall {
    number: u32,
    session: SessionId,
    who: Arc<Identity>,
    peer: Option<IpAddr>,
    /// So many of its subscriptions, those in front, were not asked about. One that goes meanwhile leaves its place to the
    /// last one, which was.
    left: usize,
    items: Arc<Items>,
    /// Something was not answered.
    missed: bool,
    /// Since which reload: what was said before another one may not hold.
    epoch: u32,
    /// By then the batch counts as not answered.
    due: Instant,
    why: Why,
}

enum Why {
    /// A client has come back and waits for CONNACK, until then at most; and what was said so far.
    Resumed(Box<Admitted>, Instant, Vec<Told>),
    /// Rules, and what a service has in mind, may have changed; whose session it was.
    Reloaded(ConnectionId),
}

/// Sessions whose subscriptions are to be asked about at one service.
#[derive(Default)]
pub struct Line {
    sessions: VecDeque<SessionId>,
    under_way: usize,
    /// There was no answer: the next second goes on.
    rests: bool,
}

impl Switch {
    /// Lets a client that may be accepted wait until it is known what remains of its subscriptions, or gives it back.
    pub(crate) fn recall_before(&mut self, admitted: Admitted, fx: &mut Effects) -> Option<Admitted> {
        let Some(gate) = self.gate.as_ref().filter(|_| admitted.resumes()) else { return Some(admitted) };
        let Some(asking) = &gate.asking else { return Some(admitted) };
        let connection = admitted.connection();
        let who = gate.proved(connection).filter(|who| gate.asked(who, None).is_some());
        let session = self.sessions.durable(admitted.client_id());
        let Some((who, session)) = who.map(Arc::clone).zip(session) else { return Some(admitted) };
        let until = self.now.after(asking.manner.patience);
        let peer = Some(SocketAddr::from(self.connections.at(connection.slot).peer).ip());
        admitted.hold(&mut self.journal);
        match self.recall(session, who, peer, Why::Resumed(Box::new(admitted), until, Vec::new()), fx)? {
            Why::Resumed(admitted, ..) => Some(*admitted),
            Why::Reloaded(_) => None,
        }
    }

    /// Begins to ask about the subscriptions of a session. Why is given back where there is nothing to ask.
    fn recall(
        &mut self,
        session: SessionId,
        who: Arc<Identity>,
        peer: Option<IpAddr>,
        why: Why,
        fx: &mut Effects,
    ) -> Option<Why> {
        let mut left = self.sessions.at(session).subscriptions.len();
        let items = self.next_batch(session, &mut left);
        let Some(gate) = self.gate.as_mut().filter(|_| !items.is_empty()) else { return Some(why) };
        let (Some(asking), epoch) = (&mut gate.asking, gate.epoch) else { return Some(why) };
        let (number, due) = (asking.next_number(), self.now.after(asking.manner.patience));
        let recall = Recall { number, session, who, peer, left, items, missed: false, epoch, due, why };
        let key = asking.recalls.insert(recall);
        self.ask_batch(key, fx);
        None
    }

    /// The subscriptions of a session that are asked about next.
    fn next_batch(&self, id: SessionId, left: &mut usize) -> Arc<Items> {
        let manner = asking(&self.gate).map(|asking| &asking.manner);
        let subscriptions = &self.sessions.at(id).subscriptions;
        let mut items: Vec<(Shape, Box<str>)> = Vec::new();
        *left = (*left).min(subscriptions.len());
        while let Some(manner) = manner
            && *left > 0
            && items.len() < BATCH
        {
            *left -= 1;
            let subscription = &subscriptions[*left];
            let filter = self.filters.filter(subscription.filter);
            let item = (manner.subscribe(subscription.options.qos()), filter.into());
            if !is_ours(filter) && !items.contains(&item) {
                items.push(item);
            }
        }
        items.into()
    }

    fn ask_batch(&mut self, key: usize, fx: &mut Effects) {
        let asking = asking(&self.gate);
        let Some(recall) = asking.and_then(|asking| asking.recalls.get(key)) else { return };
        let (who, peer, items) = (Arc::clone(&recall.who), recall.peer, Arc::clone(&recall.items));
        if !self.ask_about(About::Again(key, recall.number), who, peer, &items) {
            self.end_recall(key, false, fx);
        }
    }

    /// What was said of a batch. Whether somebody waited for that.
    pub(super) fn told_again(&mut self, key: usize, number: u32, told: Vec<Told>, fx: &mut Effects) -> bool {
        let now = self.now;
        let Some(recall) = self.recall_of(key).filter(|recall| recall.number == number) else { return false };
        let (session, mut left) = (recall.session, recall.left);
        recall.missed |= told.iter().any(|told| !told.lasts);
        let answered = told.iter().any(|told| told.lasts);
        let (mut complete, mut goes_on) = (!recall.missed, answered);
        match &mut recall.why {
            Why::Resumed(_, until, all) => {
                all.extend(told.into_iter().filter(|told| told.lasts));
                if now >= *until {
                    (complete, goes_on) = (complete && left == 0, false);
                }
            }
            Why::Reloaded(connection) => {
                let connection = *connection;
                if self.sessions.find(session).is_some_and(|it| it.connection == Some(connection)) {
                    self.recalled(session, told, fx);
                } else {
                    (complete, goes_on) = (true, false);
                }
            }
        }
        if goes_on && self.sessions.find(session).is_some() {
            let items = self.next_batch(session, &mut left);
            let asking = asking_mut(&mut self.gate);
            if let Some(asking) = asking.filter(|_| !items.is_empty()) {
                let (number, due) = (asking.next_number(), now.after(asking.manner.patience));
                if let Some(recall) = asking.recalls.get_mut(key) {
                    (recall.number, recall.left, recall.items, recall.due) = (number, left, items, due);
                }
                self.ask_batch(key, fx);
                return true;
            }
        }
        self.end_recall(key, complete, fx);
        true
    }

    fn recall_of(&mut self, key: usize) -> Option<&mut Recall> {
        asking_mut(&mut self.gate)?.recalls.get_mut(key)
    }

    /// All was asked that could be; `complete`: and answered, or nobody wants to know.
    fn end_recall(&mut self, key: usize, complete: bool, fx: &mut Effects) {
        let Some(gate) = &mut self.gate else { return };
        let Some(asking) = &mut gate.asking else { return };
        let Some(Recall { session, who, epoch, why, .. }) = asking.recalls.try_remove(key) else { return };
        match why {
            Why::Resumed(admitted, _, told) => {
                let complete = complete && epoch == gate.epoch;
                gate.recalled(admitted.connection(), told, complete);
                self.resume(*admitted, fx);
            }
            Why::Reloaded(connection) => {
                let line = gate.desk.decider(&who.origin).and_then(|decider| asking.lines.get_mut(decider));
                if let Some(line) = line {
                    line.under_way -= 1;
                    line.rests |= !complete;
                }
                if !complete && self.sessions.find(session).is_some_and(|it| it.connection == Some(connection)) {
                    self.recall_later(session);
                }
                self.recall_more(fx);
            }
        }
    }

    /// A connected session is to be asked about, when those before it were.
    pub(crate) fn recall_later(&mut self, id: SessionId) {
        let Some(gate) = &mut self.gate else { return };
        let Some(asking) = &mut gate.asking else { return };
        let session = self.sessions.at_mut(id);
        let Some(access) = session.access.as_mut().filter(|_| session.connection.is_some()) else { return };
        let Some(asked) = &mut access.asked else { return };
        let Some(decider) = gate.desk.decider(&access.identity.origin) else { return };
        if session.subscriptions.is_empty() || std::mem::replace(&mut asked.in_line, true) {
            return;
        }
        let line = &mut asking.lines[decider].sessions;
        if line.len() > 2 * self.sessions.len() + LINE_MIN {
            // Each session stands there once: the others have ended.
            line.retain(|id| self.sessions.find(*id).is_some());
        }
        line.push_back(id);
    }

    /// Asks about sessions that stand in line, as far as may be under way.
    pub(super) fn recall_more(&mut self, fx: &mut Effects) {
        while let Some(id) = self.next_in_line() {
            let Some(session) = self.sessions.find(id) else { continue };
            let Some(access) = &mut session.access else { continue };
            let Some(asked) = &mut access.asked else { continue };
            asked.in_line = false;
            let Some(connection) = session.connection else { continue };
            let (who, peer) = (Arc::clone(&access.identity), asked.peer);
            let Some(gate) = &mut self.gate else { return };
            let (Some(asking), Some(decider)) = (&mut gate.asking, gate.desk.decider(&who.origin)) else { continue };
            asking.lines[decider].under_way += 1;
            let nothing = self.recall(id, who, peer, Why::Reloaded(connection), fx).is_some();
            let asking = asking_mut(&mut self.gate);
            if let Some(asking) = asking.filter(|_| nothing) {
                asking.lines[decider].under_way -= 1;
            }
        }
    }

    fn next_in_line(&mut self) -> Option<SessionId> {
        if !self.journal.notes_fit() {
            return None;
        }
        let asking = asking_mut(&mut self.gate)?;
        let free = |line: &&mut Line| !line.rests && line.under_way < UNDER_WAY_MAX && !line.sessions.is_empty();
        asking.lines.iter_mut().find(free)?.sessions.pop_front()
    }

    /// Once a second: batches that nobody answered in time, and lines that rested.
    pub(crate) fn end_recalls(&mut self, fx: &mut Effects) {
        let now = self.now;
        let Some(asking) = asking_mut(&mut self.gate) else { return };
        asking.lines.iter_mut().for_each(|line| line.rests = false);
        let due: Vec<usize> =
            asking.recalls.iter().filter(|(_, recall)| recall.due <= now).map(|(key, _)| key).collect();
        for key in due {
            self.counters.add(Counter::AuthorizationsDown, 1);
            self.end_recall(key, false, fx);
        }
        self.recall_more(fx);
    }

    /// The switch stops: who waits for CONNACK has gone.
    pub(crate) fn stop_recalls(&mut self, fx: &mut Effects) {
        let Some(asking) = asking_mut(&mut self.gate) else { return };
        asking.lines.iter_mut().for_each(|line| line.sessions.clear());
        let keys: Vec<usize> = asking.recalls.iter().map(|(key, _)| key).collect();
        for key in keys {
            let connection = self.recall_of(key).and_then(|recall| match &recall.why {
                Why::Resumed(admitted, ..) => Some(admitted.connection()),
                Why::Reloaded(_) => None,
            });
            let waits = |connection| self.connections.get(connection).is_some_and(|conn| conn.phase == Phase::Claimed);
            if connection.is_some_and(|connection| !waits(connection)) {
                self.end_recall(key, true, fx);
            }
        }
    }

    /// A service was asked again about subscriptions of a session: what it denies is withdrawn, and what it leaves to the
    /// rules is judged by them.
    pub(crate) fn recalled(&mut self, id: SessionId, told: Vec<Told>, fx: &mut Effects) {
        let mut withdrawn = Vec::new();
        for told in told.iter().filter(|told| told.lasts) {
            self.remember(id, told);
            let mut index = 0;
            while let Some(subscription) = self.sessions.at(id).subscriptions.get(index).copied() {
                let manner = asking(&self.gate).map(|asking| &asking.manner);
                let shape = manner.map(|manner| manner.subscribe(subscription.options.qos()));
                if shape != Some(told.shape) || self.filters.filter(subscription.filter) != &*told.topic {
                    index += 1;
                    continue;
                }
                if told.word == Word::Deny {
                    withdrawn.push((told.topic.clone(), subscription.route.group()));
                    self.counters.add(Counter::AuthorizationsWithdrawn, 1);
                    self.withdraw(id, index, &told.topic, fx);
                    continue;
                }
                let allowed = told.word == Word::Allow;
                let options = subscription.options.with_told(allowed);
                if allowed && options.judged() {
                    self.unroute(id, &subscription, fx);
                    self.sessions.at_mut(id).subscriptions[index].options = options.with_judged(false);
                    self.route_subscription(id, index);
                } else {
                    self.sessions.at_mut(id).subscriptions[index].options = options;
                }
                index += 1;
            }
        }
        self.drop_withdrawn(id, &withdrawn);
        self.judge_session(id, fx);
    }

    /// What was said counts for what the client asks for next, too.
    fn remember(&mut self, id: SessionId, told: &Told) {
        let now = self.now;
        let Some(asking) = asking(&self.gate) else { return };
        let access = self.sessions.at_mut(id).access.as_mut();
        if let Some(asked) = access.and_then(|access| access.asked.as_mut()) {
            asked.keep(told, &asking.manner, now);
        }
    }
}
