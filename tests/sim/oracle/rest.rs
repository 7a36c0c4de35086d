//! What must hold whenever no shard has anything to do and clients that read have read all: nobody waits for an answer,
//! nobody is missing a message, nobody is connected twice.

use crate::model::{CLASSES, ConnId, Owed, Stage};
use crate::packet::Version;
use crate::trace::trace;
use crate::world::{Check, World, fail};

/// How long the switch may hold a socket after its client gave it up, in seconds.
const LET_GO: f64 = 3.0;

/// What may be missing.
const NAMES: [&str; CLASSES] = ["QoS 0", "QoS 1 and 2", "any QoS", "QoS 1 to a group"];

impl World {
    /// Everything comes to rest, and is looked at.
    pub(crate) fn look(&mut self) -> Check {
        self.rest()?;
        if self.machine.is_fenced() {
            // What a member leaves behind cannot be passed on.
            self.weak_groups = u64::MAX;
        }
        let missing = self.missing.each_ref().map(Vec::len);
        trace!(self, "at rest: {} open, {missing:?} missing, {} dropped", self.live.len(), self.dropped());
        for index in 0..self.live.len() {
            self.has_its_answers(self.live[index])?;
        }
        for client in 0..self.clients.len() {
            let conns = &self.clients[client].conns;
            // One that does not read does not know that it was closed.
            let reading = conns.iter().filter(|conn| !self.conns[**conn].paused);
            let open = reading.clone().filter(|conn| self.conns[**conn].stage == Stage::Open).count();
            if open > 1 || (reading.count() > 1 && self.swarm.plan.faults.no_descriptor == 0) {
                fail!("c{client} is connected twice: {conns:?}");
            }
        }
        self.sockets_are_let_go()?;
        self.accept_at_rest();
        self.rested = self.tick();
        if !self.machine.is_fenced() {
            self.all_is_kept();
        }
        self.owed_has_come();
        for (class, name) in NAMES.iter().enumerate() {
            let dropped = self.dropped_at(class);
            // A message is dropped after it was made: of those that were made from some moment on no more may be
            // missing than were counted since.
            self.missing[class].sort_unstable_by(|a, b| b.cmp(a));
            for (before, missing) in self.missing[class].iter().zip(1..) {
                let counted = dropped - before;
                if missing > counted {
                    fail!("{missing} messages did not come ({name}), and {counted} were counted as dropped since");
                }
            }
        }
        Ok(())
    }

    /// The switch has answered all that was asked on a connection whose client reads.
    fn has_its_answers(&self, conn: ConnId) -> Check {
        let state = &self.conns[conn];
        if state.paused {
            return Ok(());
        }
        match state.stage {
            // Without descriptors the accept is tried again in the next second.
            Stage::Asked if self.swarm.plan.faults.no_descriptor > 0 => return Ok(()),
            Stage::Asked => fail!("#{conn} has no answer to CONNECT"),
            Stage::Leaving => {
                let waited = self.now().since(state.sent_at).as_secs_f64();
                if waited > LET_GO {
                    fail!("#{conn} said goodbye {waited} s ago and is open");
                }
                return Ok(());
            }
            Stage::Open | Stage::Over => {}
        }
        if let Some(code) = state.doomed {
            fail!("hostile #{conn} is open, and was to be closed with {code:#04x}");
        }
        if state.pings > 0 {
            fail!("#{conn} has no answer to {} PINGREQs", state.pings);
        }
        if let Some(request) = state.requests.first() {
            fail!("#{conn} has no answer to {request:?}");
        }
        let quiet = self.now().since(state.sent_at).as_secs_f64();
        if state.silent && !state.was_paused && quiet > 1.5 * f64::from(state.keep_alive) + 1.0 {
            fail!("#{conn} with keep alive {} is open after {quiet} s of silence", state.keep_alive);
        }
        let Some(client) = state.client else { return Ok(()) };
        let mut outstanding = self.clients[client].session.outstanding.iter();
        if let Some(outstanding) = outstanding.find(|outstanding| outstanding.conn == conn) {
            fail!("#{conn} has no answer to {outstanding:?}");
        }
        Ok(())
    }

    /// Sockets that clients gave up are closed.
    fn sockets_are_let_go(&mut self) -> Check {
        let now = self.now();
        let machine = &self.machine;
        self.abandoned.retain(|(socket, _)| machine.kernel().socket(*socket).holders > 0);
        // Without descriptors they may not even be accepted.
        let held = self.abandoned.iter().find(|(_, since)| now.since(*since).as_secs_f64() > LET_GO + 10.0);
        match held {
            Some((socket, _)) => fail!("{socket:?} was given up more than {LET_GO} s ago and is held"),
            None => Ok(()),
        }
    }

    /// Of what needs no acknowledgement it is clear only at rest that it was accepted: QoS 0 on connections that are
    /// open still, and wills.
    fn accept_at_rest(&mut self) {
        let tick = self.tick();
        for index in 0..self.live.len() {
            let conn = self.live[index];
            if self.conns[conn].stage == Stage::Open && !self.conns[conn].paused {
                for message in std::mem::take(&mut self.conns[conn].loose) {
                    self.messages[message as usize].accepted = Some(tick);
                    self.owe(message);
                }
            }
        }
        for will in std::mem::take(&mut self.wills) {
            let socket = self.conns[self.messages[will as usize].conn].socket;
            if self.machine.kernel().socket(socket).holders > 0 {
                // Without descriptors the switch has not noticed yet.
                self.wills.push(will);
                continue;
            }
            if !self.will_may_be_refused(will) {
                self.messages[will as usize].accepted = Some(tick);
                self.owe(will);
            }
        }
    }

    /// What clients are owed has come, or is counted as missing.
    fn owed_has_come(&mut self) {
        for client in 0..self.clients.len() {
            let owed = std::mem::take(&mut self.clients[client].owed);
            let left: Vec<Owed> = owed.into_iter().filter(|owed| self.is_owed_still(client, owed)).collect();
            self.clients[client].owed = left;
        }
        let groups = std::mem::take(&mut self.group_owed);
        for owed in groups {
            let (filter, message) = (owed.filter, owed.message);
            let sent = self.messages[message as usize].sent;
            let ended = !owed.lasting && self.member_gone > sent;
            let ended = ended || owed.conns.iter().any(|conn| self.conns[*conn].stage != Stage::Open);
            let weakened = owed.lasting && self.weak_groups >> filter & 1 == 1;
            if ended || weakened || self.group_came.contains(&(filter, message)) {
                continue;
            }
            let members =
                self.clients.iter().filter(|name| name.worker && name.subs.iter().any(|s| s.filter == filter));
            let prompt = |conns: &[ConnId]| conns.first().is_some_and(|conn| self.is_prompt(*conn));
            if members.clone().all(|name| prompt(&name.conns)) && members.count() > 0 {
                trace!(self, "m{message} came to no member of group {filter}");
                let class = if owed.lasting { 3 } else { 2 * usize::from(self.messages[message as usize].qos > 0) };
                self.missing[class].push(self.messages[message as usize].dropped[class]);
            } else if !self.ending {
                // A member that has gone hands it on; one that does not answer keeps it.
                self.group_owed.push(owed);
            }
        }
    }

    fn is_owed_still(&mut self, client: usize, owed: &Owed) -> bool {
        let name = &self.clients[client];
        if owed.epoch != name.session.epoch || !name.session.certain {
            return false;
        }
        if name.session.copies.contains_key(&owed.message) {
            return false;
        }
        if owed.class > 0 && self.machine.is_fenced() {
            // What a failed disk cannot be told of waits for a restart.
            return true;
        }
        let ended = |conn: ConnId| self.conns[conn].stage != Stage::Open;
        if owed.conn.is_some_and(ended) {
            return false;
        }
        match name.conns.first() {
            Some(conn) if self.is_prompt(*conn) => {
                trace!(self, "m{} did not come to c{client} #{conn}", owed.message);
                self.missing[owed.class].push(self.messages[owed.message as usize].dropped[owed.class]);
                false
            }
            _ => true,
        }
    }

    /// Whether a client speaks v5.
    pub(crate) fn speaks_v5(&self, client: usize) -> bool {
        self.clients[client].version == Version::V5
    }
}
