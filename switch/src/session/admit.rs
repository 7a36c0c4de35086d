//! Between a home's verdict and CONNACK: the journal knows a durable session before its client does.

use compact_str::CompactString;
use persistence::{Position, Refused};
use shard::Effects;
use wire::entry::{self, Entry};
use wire::mqtt::{RawPacket, ReasonCode, decode_connect};

use super::Will;
use super::connect::first_packet;
use crate::connection::close::Cause;
use crate::connection::{ConnectionId, Phase};
use crate::counters::Counter;
use crate::journal::wait::Waiter;
use crate::journal::{AT_ONCE, Journal};
use crate::planted::{Fault, planted};
use crate::routing::parcel::Answer;
use crate::switch::Switch;

/// A client that is accepted once the journal knows its session.
pub struct Admitted {
    connection: ConnectionId,
    client_id: CompactString,
    /// Its socket came from another shard.
    moved: bool,
    /// The session's number; 0: the journal need not know it.
    uid: u64,
    /// The session is a new one.
    new: bool,
    /// Connections of the session before, and when the last had gone.
    before: (u32, u64),
    /// Where the journal stood when this began.
    begun: Position,
}

impl Admitted {
    /// Whether the session was there before.
    pub fn resumes(&self) -> bool {
        self.uid > 0 && !self.new
    }

    /// Who comes.
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// As whom.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Lets the journal know that it knows more of the session than memory, until the client is accepted or has gone.
    pub fn hold(&self, journal: &mut Journal) {
        if !journal.admitting.iter().any(|(_, uid)| *uid == self.uid) {
            journal.admitting.push((self.begun, self.uid));
        }
    }
}

impl Switch {
    /// The session lives here: the journal knows it before its client does. `moved`: its socket came from another
    /// shard.
    pub(super) fn admit(&mut self, connection: ConnectionId, client_id: &str, moved: bool, fx: &mut Effects) {
        let client_id: CompactString = client_id.into();
        let begun = self.journal.tail();
        let mut admitted = Admitted { connection, client_id, moved, uid: 0, new: true, before: (0, 0), begun };
        match self.write_session(&mut admitted, fx) {
            Err(refused) => {
                let reason = match refused {
                    Refused::Fenced => ReasonCode::ServerUnavailable,
                    Refused::Full | Refused::TooLarge => ReasonCode::ServerBusy,
                };
                self.counters.add(Counter::JournalRefused, 1);
                self.close(connection.slot, Cause::Refused(reason), fx);
                self.not_admitted(admitted, fx);
            }
            Ok(ticket) if self.journal.holds(ticket) || planted(Fault::ConnackBeforeWritten) => {
                self.admitted(admitted, fx);
            }
            Ok(ticket) => {
                self.journal.admitting.push((begun, admitted.uid));
                self.journal.wait(ticket, Waiter::Admitted(Box::new(admitted)));
            }
        }
    }

    /// Writes the session that a CONNECT asks for, if it is a durable one.
    fn write_session(&mut self, admitted: &mut Admitted, fx: &mut Effects) -> Result<Position, Refused> {
        let conn = self.connections.at_mut(admitted.connection.slot);
        let bytes = conn.residue.take().expect("CONNECT waits in the residue");
        let raw = first_packet(&bytes, self.limits.max_connect_size);
        if says_clean_311(&raw) {
            // Most clients want nothing to be kept; their CONNECT is decoded once.
            self.connections.at_mut(admitted.connection.slot).residue = Some(bytes);
            return Ok(AT_ONCE);
        }
        let connect = decode_connect(&raw).expect("it was decoded before");
        let expiry = self.expiry_of(&connect);
        let resumed = if connect.clean_start { None } else { self.sessions.durable(&admitted.client_id) };
        let mut written = Ok(AT_ONCE);
        if expiry > 0 || resumed.is_some() {
            if let Some(id) = resumed {
                let session = self.sessions.at_mut(id);
                // It must neither end nor fire its will until it is known who has it.
                if let Some(timer) = session.timer.take_if(|_| !planted(Fault::SessionTimerKept)) {
                    fx.timers.cancel(timer);
                }
            }
            let kept = resumed.and_then(|id| self.sessions.at(id).kept.as_ref());
            (admitted.new, admitted.uid) = (kept.is_none(), kept.map_or(0, |kept| kept.uid));
            let connections = kept.map_or(1, |kept| kept.connections.wrapping_add(1));
            admitted.before = kept.map_or((0, 0), |kept| (kept.connections, kept.left_ms));
            if admitted.new {
                admitted.uid = self.journal.next_uid();
            }
            let uid = admitted.uid;
            let old_will = resumed.is_some_and(|id| self.sessions.at(id).will.is_some());
            let client_hash = self.placement.client_hash(&admitted.client_id);
            let session = entry::Session { uid, client_id: &admitted.client_id, expiry, connections, left_ms: 0 };
            let resumes = !admitted.new;
            let entry = Entry::Session(session);
            // Who has come back is told so when a crash would not let the session end as if it had not.
            written = self.journal.commit(&entry);
            if written.is_err() && resumes {
                // The session is durable already: who comes for what it is owed is not refused where there is no room.
                self.journal.note(&entry);
                written = Ok(AT_ONCE);
            }
            let who = self.gate.as_ref().and_then(|gate| gate.proved(admitted.connection));
            if let (Ok(ticket), Some(who)) = (&mut written, who) {
                let entry = Entry::Owner { uid, identity: who.stored() };
                if *ticket == AT_ONCE {
                    self.journal.note(&entry);
                } else {
                    match self.journal.commit(&entry) {
                        Ok(behind) => *ticket = behind,
                        Err(refused) => written = Err(refused),
                    }
                }
            }
            if let Ok(ticket) = &mut written
                && old_will
            {
                // Within its delay a will is cancelled by the client's return ([MQTT-3.1.3-9]).
                self.journal.note(&Entry::WillDone { uid, number: connections.wrapping_sub(1) });
                if *ticket != AT_ONCE {
                    *ticket = self.journal.tail();
                }
            }
            if let (Ok(_), Some(will)) = (&written, &connect.will) {
                let will = Will::new(will);
                let entry = will.entry(uid, connections, client_hash);
                if resumes && self.journal.is_stuck() {
                    self.journal.note(&entry);
                } else {
                    written = self.journal.commit(&entry);
                }
            }
        }
        self.connections.at_mut(admitted.connection.slot).residue = Some(bytes);
        written
    }

    /// The journal knows the session: CONNACK, once it is known what remains of its subscriptions.
    pub(crate) fn admitted(&mut self, admitted: Admitted, fx: &mut Effects) {
        if !self.waits(&admitted) {
            return self.not_admitted(admitted, fx);
        }
        if let Some(admitted) = self.recall_before(admitted, fx) {
            self.resume(admitted, fx);
        }
    }

    fn waits(&self, admitted: &Admitted) -> bool {
        self.connections.get(admitted.connection).is_some_and(|conn| conn.phase == Phase::Claimed)
    }

    /// CONNACK, if the client is still there.
    pub(crate) fn resume(&mut self, admitted: Admitted, fx: &mut Effects) {
        if !self.waits(&admitted) {
            return self.not_admitted(admitted, fx);
        }
        self.journal.admitting.retain(|(_, uid)| *uid != admitted.uid);
        let Admitted { connection, client_id, moved, uid, .. } = admitted;
        self.accept(connection.slot, &client_id, uid, fx);
        if moved {
            self.moved_in(&client_id, fx);
        } else {
            // Whoever claims from now on evicts an open connection.
            self.answer_home(&client_id, connection, Answer::Kept, fx);
        }
    }

    /// A client that was to be accepted is gone, or the journal does not take its session.
    pub(crate) fn not_admitted(&mut self, admitted: Admitted, fx: &mut Effects) {
        self.journal.admitting.retain(|(_, uid)| *uid != admitted.uid);
        let Admitted { connection, client_id, moved, uid, new, before: (connections, left_ms), .. } = admitted;
        if self.connections.get(connection).is_some_and(|conn| conn.phase == Phase::Claimed) {
            self.close(connection.slot, Cause::Refused(ReasonCode::ServerUnavailable), fx);
        }
        if uid > 0 && new {
            self.journal.note_end(uid, self.placement.client_hash(&client_id));
        } else if uid > 0
            && let Some(id) = self.sessions.durable(&client_id)
        {
            // The session waits on as before.
            let session = self.sessions.at(id);
            let entry = entry::Session { uid, client_id: &client_id, expiry: session.expiry, connections, left_ms };
            self.journal.note(&Entry::Session(entry));
            let will = session.will.as_ref().map(|will| will.entry(uid, connections, session.client_hash));
            if let Some(will) = will {
                self.journal.note(&will);
                self.journal.note(&Entry::WillDone { uid, number: connections.wrapping_add(1) });
            }
            self.time_restored(id, fx);
        }
        if moved {
            self.moved_in(&client_id, fx);
            self.leave_home(&client_id, connection, fx);
        } else {
            self.answer_home(&client_id, connection, Answer::GaveUp, fx);
        }
    }
}

/// Whether a CONNECT is one of 3.1.1 with Clean Session 1: its session ends with its connection.
fn says_clean_311(raw: &RawPacket<'_>) -> bool {
    raw.body.starts_with(b"\0\x04MQTT\x04") && raw.body.get(7).is_some_and(|flags| flags & 2 != 0)
}
