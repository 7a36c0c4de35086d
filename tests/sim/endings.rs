//! How connections end, for which reasons they may, and what their clients know then.

use crate::model::{ConnId, Left, Stage};
use crate::packet::Version;
use crate::trace::trace;
use crate::world::{Check, World, fail};

impl World {
    /// The client gives a connection up: what still comes on it is lost.
    pub(crate) fn abandon(&mut self, conn: ConnId) {
        let (socket, now, tick) = (self.conns[conn].socket, self.now(), self.tick());
        self.abandoned.push((socket, now));
        let state = &self.conns[conn];
        // The switch may have ended it before, where that may have a reason of its own: a CONNECT that raced with this
        // one's has taken the session over.
        let ends_here = state.stage == Stage::Open && !state.silent && !state.raced && !self.may_be_refused(conn);
        if let (Some(will), true) = (state.will, ends_here) {
            self.messages[will as usize].sent = tick;
            self.messages[will as usize].at = now;
        }
        self.over(conn);
    }

    /// The switch has ended a connection, and all was read.
    pub(crate) fn closed(&mut self, conn: ConnId) -> Check {
        let state = &self.conns[conn];
        let reset = self.machine.kernel().socket(state.socket).switch_reset;
        trace!(self, "#{conn} closed, goodbye {:?}, reset {reset}", state.goodbye);
        // Who does not read for longer than a connection lingers has lost the rest.
        // Where there are disks time passes while it does not read.
        let prompt = !state.was_paused && self.swarm.plan.disk.is_none();
        if !state.input.is_empty() && !reset && prompt {
            fail!("#{conn} got a packet without its end: {:02x?}", state.input);
        }
        if let Some(doomed) = state.doomed
            && !reset
            && state.goodbye != Some(doomed)
        {
            fail!("hostile #{conn} was closed with {:02x?}, not {doomed:#04x}", state.goodbye);
        }
        if state.client.is_some() {
            self.why_closed(conn)?;
        }
        if let (Stage::Leaving, None, Some(will), false, false) =
            (self.conns[conn].stage, self.conns[conn].goodbye, self.conns[conn].will, self.conns[conn].raced, reset)
            && self.conns[conn].will_delay != u32::MAX
            && !self.may_be_refused(conn)
            && !self.conns[conn].silent
        {
            self.messages[will as usize].cancelled = true;
            self.cancelled.push(will);
        }
        self.over(conn);
        Ok(())
    }

    /// Well-behaved clients are closed for few reasons.
    fn why_closed(&self, conn: ConnId) -> Check {
        if self.crashing {
            return Ok(());
        }
        let state = &self.conns[conn];
        let goodbye = state.goodbye;
        let v5 = state.version == Version::V5;
        if state.stage == Stage::Leaving {
            return match goodbye {
                Some(0x8d) if state.silent => Ok(()),
                Some(0x8e | 0x93) if state.raced => Ok(()),
                Some(0x83) if self.journal_refuses() => Ok(()),
                Some(code) => fail!("#{conn} said goodbye and got DISCONNECT {code:#04x}"),
                None => Ok(()),
            };
        }
        if state.raced {
            return match goodbye {
                Some(0x8d) if state.silent => Ok(()),
                // With the session the client has forgotten what is under way.
                Some(0x83) if self.journal_refuses() => Ok(()),
                Some(code) if code != 0x8e && code != 0x93 => {
                    fail!("#{conn} lost a race and got DISCONNECT {code:#04x}")
                }
                _ => Ok(()),
            };
        }
        if self.may_be_refused(conn) || (state.stage == Stage::Asked && self.scarce) {
            return Ok(());
        }
        // What the switch said last may be lost where the client did not read in time.
        let said = goodbye == Some(0x8d) || (goodbye.is_none() && state.was_paused);
        if state.silent && (said || !v5) {
            // A client that reads later than it sends does not know when it was closed.
            let quiet = self.now().since(state.sent_at).as_secs_f64();
            if !state.was_paused && quiet > 0.001 && quiet + 0.1 < 1.5 * f64::from(state.keep_alive) {
                fail!("#{conn} with keep alive {} was closed after {quiet} s", state.keep_alive);
            }
            return Ok(());
        }
        fail!("#{conn} did nothing wrong and was closed with {goodbye:02x?}")
    }

    /// Whether a publish may have been refused for want of memory: where v5 says 0x97, 3.1.1 has no words.
    pub(crate) fn may_be_refused(&self, conn: ConnId) -> bool {
        let without_words =
            self.conns[conn].version == Version::V311 && self.swarm.plan.settings.limits.queue_memory < 1 << 20;
        without_words || self.journal_refuses()
    }

    /// Whether a journal may refuse what it is to keep: its ring is small, or its disk may fail.
    pub(crate) fn journal_refuses(&self) -> bool {
        self.swarm.crashes.refuses
    }

    /// A connection is over: what its client knows of the session.
    pub(crate) fn over(&mut self, conn: ConnId) {
        let (refused, refuses) = (self.may_be_refused(conn), self.journal_refuses());
        let wall_ms = self.machine.wall_ms();
        let (tick, now) = (self.tick(), self.now());
        let state = &mut self.conns[conn];
        let was = std::mem::replace(&mut state.stage, Stage::Over);
        self.live.retain(|live| *live != conn);
        let Some(client) = state.client else { return };
        let name = &mut self.clients[client];
        name.conns.retain(|live| *live != conn);
        if name.worker {
            self.member_gone = tick;
        }
        if was == Stage::Asked {
            // The switch may have accepted it.
            let session = &mut name.session;
            let lasts = name.left_at.is_some_and(|left| now.since(left).as_secs_f64() + 0.5 < session.expiry.into());
            session.renewed |= state.clean || !lasts || !(session.certain || session.unanswered);
            session.unanswered |= session.certain;
            session.certain = false;
            session.none = false;
            return;
        }
        name.left_at = Some(now);
        name.left = Left { tick, wall_ms, latest: None };
        name.session.expiry = state.expiry;
        let unread = was == Stage::Leaving && state.goodbye.is_some();
        if state.silent || (refuses && state.was_paused) || unread {
            // It may have ended long before; or the switch ended it over what came before the client's DISCONNECT, so
            // that nobody read what that says of the session.
            name.session.certain = false;
        }
        if state.expiry == 0 {
            for sub in &mut name.subs {
                sub.leaving.get_or_insert(tick);
            }
        }
        if let Some(will) = state.will
            && !self.messages[will as usize].cancelled
            && !state.silent
            && !refused
        {
            if was == Stage::Leaving {
                // It may have been published, or not.
            } else if state.will_delay == 0 {
                self.wills.push(will);
            } else if state.will_delay != u32::MAX {
                name.session.will = Some((will, now, state.will_delay));
            }
        }
    }
}
