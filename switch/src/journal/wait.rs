//! What waits for a ticket, and what happens when it holds, or when it never will.

use persistence::Position;
use shard::mesh::Inbound;
use shard::{Effects, Instant};
use wire::entry::Entry;
use wire::mqtt::{PacketId, ReasonCode};

use super::Journal;
use crate::connection::close::Cause;
use crate::connection::{ConnectionId, Phase};
use crate::counters::Counter;
use crate::packets;
use crate::program::log::Level;
use crate::routing::home::Offer;
use crate::session::SessionId;
use crate::session::admit::Admitted;
use crate::session::outgoing::Stage;
use crate::session::subscribe::Granted;
use crate::session::will::Will;
use crate::switch::Switch;

/// What waits for a ticket.
pub enum Waiter {
    /// This shard's part of a publish that it owns.
    Publish(usize),
    /// Acknowledgements of what a session's client has published.
    Incoming(SessionId),
    /// Messages toward a session.
    Outgoing(SessionId),
    /// PUBREL.
    Release(SessionId, ConnectionId, PacketId),
    /// PUBCOMP.
    Complete(ConnectionId, PacketId, ReasonCode),
    /// SUBACK.
    Granted(Box<Granted>),
    /// UNSUBACK.
    Unsubscribed(Box<(ConnectionId, PacketId, Vec<ReasonCode>)>),
    /// CONNACK.
    Admitted(Box<Admitted>),
    /// A verdict of the session home.
    Offer(Box<Offer>),
    /// A publish of the switch itself, by its key in `Journal::own`.
    Own(usize),
}

/// A publish of the switch itself that its journal keeps until it is resolved.
pub enum Own {
    /// A will that was fired.
    Will {
        /// The session.
        uid: u64,
        /// The number of the connection that had it.
        number: u32,
        /// The will.
        will: Box<Will>,
        /// The hash of its client.
        client_hash: u64,
    },
    /// A message of a group whose member has gone.
    Handing {
        /// The message.
        message: u64,
        /// The group.
        group: u64,
        /// The message itself.
        frame: Vec<u8>,
    },
}

/// How often a publish of the switch itself was refused.
#[derive(Clone, Copy, Debug)]
pub struct Refusals {
    /// So many times.
    pub count: u32,
    /// For the first time then.
    pub since: Instant,
    /// When it is tried again; `None`: it is under way.
    pub again: Option<Instant>,
}

impl Own {
    /// What its journal is told when it is resolved.
    pub fn done(&self) -> Entry<'static> {
        match *self {
            Own::Will { uid, number, .. } => Entry::WillDone { uid, number },
            Own::Handing { message, group, .. } => Entry::HandedOn { message, group },
        }
    }
}

/// A parcel of an owner that was handled and is not resolved.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// The number of the last parcel that this resolves.
    pub number: u64,
    /// The number of the one that the ticket, or the remark, is about.
    pub about: u64,
    /// The ticket that it waits for.
    pub ticket: Position,
    /// What is to be said of it.
    pub remark: Option<crate::routing::resolve::Remark>,
}

impl Switch {
    /// Looks how far the journal has come: what waited for that goes on. Once a turn.
    pub fn settle_journal(&mut self, rx: &mut Inbound, fx: &mut Effects) {
        if self.holding {
            self.resolve_held(rx);
        }
        if !self.journal.is_on() {
            return;
        }
        if self.journal.is_fenced() {
            self.tell_fence(fx);
        }
        self.journal.write_later();
        self.journal.settle_ended();
        // What finds no room once more waits for another turn: where staged is durable its ticket holds meanwhile.
        for _ in 0..self.journal.waiting() {
            let Some(waiter) = self.journal.next_kept() else { break };
            self.kept(waiter, fx);
        }
        if self.journal.is_stuck() != self.journal.stuck_told || self.journal.stuck_told {
            self.tell_stuck(fx);
        }
        if !self.journal.blocked.is_empty() && self.journal.notes_fit() {
            self.unparked.append(&mut self.journal.blocked);
        }
        self.sweep(fx);
    }

    /// A connection is not read until there is room for what its next packet causes.
    pub fn wait_for_room(&mut self, connection: ConnectionId) {
        self.journal.blocked.push(connection);
    }

    /// What was promised with a ticket holds.
    fn kept(&mut self, waiter: Waiter, fx: &mut Effects) {
        match waiter {
            Waiter::Publish(publish) => self.resolve_one(publish, fx),
            Waiter::Incoming(session) => self.acknowledge_publishes(session, fx),
            Waiter::Outgoing(session) => {
                if self.sessions.find(session).is_some() {
                    self.pump(session, fx);
                }
            }
            Waiter::Release(session, connection, packet_id) => {
                self.release_kept(session, connection, packet_id, fx);
            }
            Waiter::Complete(connection, packet_id, reason) => {
                if let Some(version) = self.open_version(connection) {
                    self.write(connection.slot, |out| packets::pubcomp(version, packet_id, reason, out));
                }
            }
            Waiter::Granted(granted) => self.granted(*granted, fx),
            Waiter::Unsubscribed(unsubscribed) => {
                let (connection, packet_id, codes) = *unsubscribed;
                if let Some(version) = self.open_version(connection) {
                    self.write(connection.slot, |out| packets::unsuback(version, packet_id, &codes, out));
                }
            }
            Waiter::Admitted(admitted) => self.admitted(*admitted, fx),
            Waiter::Offer(offer) => self.tell_offer(*offer, fx),
            Waiter::Own(key) => self.own_resolved(key, ReasonCode::Success, fx),
        }
    }

    /// What was promised with a ticket will never hold: whoever waits for it is refused.
    fn lost(&mut self, waiter: Waiter, fx: &mut Effects) {
        match waiter {
            Waiter::Publish(publish) => self.refuse_one(publish, fx),
            Waiter::Incoming(session) => self.refuse_incoming(session, fx),
            Waiter::Outgoing(_) | Waiter::Own(_) => {}
            Waiter::Release(_, connection, _) | Waiter::Complete(connection, ..) => self.close_fenced(connection, fx),
            Waiter::Granted(granted) => self.close_fenced(granted.connection(), fx),
            Waiter::Unsubscribed(unsubscribed) => self.close_fenced(unsubscribed.0, fx),
            // Its session is there, whatever becomes of this journal.
            Waiter::Admitted(admitted) if admitted.resumes() => self.admitted(*admitted, fx),
            Waiter::Admitted(admitted) => self.not_admitted(*admitted, fx),
            Waiter::Offer(offer) => self.tell_offer(offer.refused(ReasonCode::ServerUnavailable), fx),
        }
    }

    /// A connection waits for what this journal cannot promise any more.
    pub(crate) fn close_fenced(&mut self, connection: ConnectionId, fx: &mut Effects) {
        if self.connections.find(connection).is_some_and(|conn| conn.phase == Phase::Open) {
            self.close(connection.slot, Cause::Reason(ReasonCode::ImplementationSpecificError), fx);
        }
    }

    fn open_version(&self, connection: ConnectionId) -> Option<wire::mqtt::ProtocolVersion> {
        let conn = self.connections.get(connection)?;
        (conn.phase == Phase::Open).then_some(conn.version)
    }

    /// There is no room on the disk, or there is again. Publishes that wait for it are refused, and sessions that were
    /// there before go on: nobody knows how long it will last. What they have left in the log may become durable all
    /// the same.
    fn tell_stuck(&mut self, fx: &mut Effects) {
        let stuck = self.journal.log().and_then(|log| log.shared().stuck());
        if stuck.is_some() != self.journal.stuck_told {
            self.journal.stuck_told = stuck.is_some();
            self.counters.set(Counter::JournalStuck, u64::from(stuck.is_some()));
            let shard = self.id.0;
            let (level, text) = match stuck {
                None => (Level::Info, format!("the journal of shard {shard} has room again")),
                Some(errno) => {
                    let why = match errno {
                        0 => "journal.max_size is reached".to_owned(),
                        errno => std::io::Error::from_raw_os_error(errno).to_string(),
                    };
                    let what = "publishes of QoS 1 and 2 to its durable sessions are refused until there is";
                    (Level::Warn, format!("the journal of shard {shard} has no room on the disk: {why}; {what}"))
                }
            };
            self.log.event(self.now, level, &text);
        }
        if stuck.is_some() {
            for waiter in self.journal.take_refusable() {
                self.lost(waiter, fx);
            }
        }
    }

    fn tell_fence(&mut self, fx: &mut Effects) {
        if !self.journal.fence_told {
            self.journal.fence_told = true;
            self.counters.set(Counter::JournalFenced, 1);
            let why = self.journal.log().and_then(|log| log.fenced().copied());
            let why = why.map(|fence| fence.to_string()).unwrap_or_default();
            let text = format!(
                "the journal of shard {} takes nothing more until a restart: {why}. QoS 0 goes on; publishes of QoS 1 \
                 and 2 to its durable sessions are refused",
                self.id.0
            );
            self.log.event(self.now, Level::Error, &text);
        }
        // What is durable already is kept first.
        while let Some(waiter) = self.journal.next_kept() {
            self.kept(waiter, fx);
        }
        while let Some(waiter) = self.journal.next_lost() {
            self.lost(waiter, fx);
        }
    }

    fn release_kept(&mut self, session: SessionId, connection: ConnectionId, packet_id: PacketId, fx: &mut Effects) {
        let Some(version) = self.open_version(connection) else {
            // The client may be back, and what is sent again on its new connection waits for this, too.
            if self.sessions.find(session).is_some() {
                self.pump(session, fx);
            }
            return;
        };
        let Some(outgoing) = self.sessions.find(session).and_then(|session| session.outgoing.as_mut()) else { return };
        if outgoing.find(packet_id).is_some_and(|flight| flight.stage == Stage::Pubcomp) {
            self.write(connection.slot, |out| packets::pubrel(version, packet_id, out));
        }
    }

    /// Parcels whose tickets hold are resolved, in order.
    fn resolve_held(&mut self, rx: &mut Inbound) {
        self.holding = false;
        for owner in 0..self.inboxes.len() {
            let inbox = &self.inboxes[owner];
            if !inbox.held.is_empty() || inbox.refused.is_some() {
                self.resolve_held_of(shard::mesh::ShardId(owner as u16), rx);
                let inbox = &self.inboxes[owner];
                self.holding |= !inbox.held.is_empty() || inbox.refused.is_some();
            }
        }
    }

    /// Says to an owner what this shard has resolved of its parcels. Nothing beyond a remark is resolved until the
    /// owner has seen it.
    pub(crate) fn resolve_held_of(&mut self, owner: shard::mesh::ShardId, rx: &mut Inbound) {
        let fenced = self.journal.is_fenced() || self.journal.is_stuck();
        let inbox = &mut self.inboxes[usize::from(owner.0)];
        loop {
            if let Some(refused) = inbox.refused {
                if rx.seen(owner) < refused {
                    return;
                }
                inbox.refused = None;
            }
            let Some(held) = inbox.held.front().copied() else { return };
            let mut remark = held.remark;
            if !self.journal.holds(held.ticket) {
                if !fenced {
                    return;
                }
                remark = Some(crate::routing::resolve::Remark::Refused);
            }
            inbox.held.pop_front();
            if let Some(remark) = remark {
                let word = remark.of(held.about);
                inbox.refused = Some(word);
                rx.set_refused(owner, word);
            }
            rx.set_resolved(owner, held.number);
        }
    }
}

impl Journal {
    /// The publish of the switch itself under this key is resolved: its journal need not keep it.
    pub(crate) fn forget_own(&mut self, key: usize) -> Option<Own> {
        let own = self.own.try_remove(key)?;
        self.own_refused.remove(&key);
        self.note(&own.done());
        Some(own)
    }
}
