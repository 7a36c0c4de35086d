//! A node ends without a goodbye and comes back: what clients and oracles know then.
//!
//! Certain stays what had been acknowledged, where the durability covers this crash: sessions by their CONNACK,
//! subscriptions by their SUBACK, messages by their PUBACK or PUBREC, what clients have acknowledged at QoS 2. What was
//! not acknowledged may have happened or not. What nobody is told of, such as that a DISCONNECT was heard, or a PUBACK
//! of a client, is certain when everything has been at rest, and so on disk, since.
//!
//! Where the durability does not cover the crash only that is certain of which nothing has changed since such a rest.

use std::time::Duration;

use persistence::Durability;
use shard::Instant;
use switch::counters::Counter;

use crate::disk::Crash;
use crate::model::{ClientId, Stage, Unheard};
use crate::swarm;
use crate::topics::FILTERS;
use crate::trace::trace;
use crate::world::{Check, World};

/// Packets that a client may act on, by type: CONNACK, PUBLISH of QoS 2, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK.
const ANSWERS: [u8; 7] = [2, 3, 4, 5, 6, 7, 9];

impl World {
    /// The node crashes, now and then.
    pub(crate) fn may_crash(&mut self) -> Check {
        let rate = self.swarm.crashes.rate;
        if rate == 0 || self.chaos.u16(..) >= rate {
            return Ok(());
        }
        let crashes = self.swarm.crashes;
        if self.chaos.u8(..) < crashes.sharp {
            self.awaited = Some(ANSWERS[self.chaos.usize(..ANSWERS.len())]);
            return Ok(());
        }
        let crash = if self.chaos.u8(..) < crashes.power { Crash::PowerLoss } else { Crash::Killed };
        self.crash_and_return(crash)
    }

    /// The power fails in the very moment in which a client has heard what is awaited.
    pub(crate) fn may_crash_as_awaited(&mut self) -> Check {
        match self.awaited {
            Some(kind) if self.heard >> kind & 1 == 1 => {
                self.awaited = None;
                self.crash_and_return(Crash::PowerLoss)
            }
            _ => Ok(()),
        }
    }

    /// The node crashes, and some clients are back at once.
    fn crash_and_return(&mut self, crash: Crash) -> Check {
        let crashes = self.swarm.crashes;
        if self.chaos.u8(..) < crashes.reshards {
            self.swarm.plan.shards = self.chaos.u16(1..=4);
        }
        let redecided = (self.chaos.u8(..) < crashes.redecides).then(|| swarm::durability(&mut self.chaos));
        let set_ms = if self.chaos.u8(..) < crashes.clock {
            [-3_600_000, -10_000, -1_500, 1_500, 10_000, 3_600_000][self.chaos.usize(..6)]
        } else {
            0
        };
        self.crash(crash, redecided, set_ms)?;
        for client in 0..self.clients.len() {
            let name = &self.clients[client];
            if name.conns.is_empty() && name.session.expiry > 0 && self.chaos.u8(..) < crashes.prompt {
                let expiry = name.session.expiry;
                self.connect_as(client, false, expiry, 0, false);
            }
        }
        Ok(())
    }

    /// The node crashes and starts again.
    fn crash(&mut self, crash: Crash, redecided: Option<Durability>, set_ms: i64) -> Check {
        self.crashes += 1;
        let disk = self.swarm.plan.disk.as_mut().expect("only a node with journals comes back");
        let durability = disk.durability;
        disk.durability = redecided.unwrap_or(durability);
        let covered = match durability {
            Durability::Fsync => true,
            Durability::Written => crash == Crash::Killed,
            Durability::Memory => false,
        };
        trace!(self, "the node crashes: {crash:?} at {durability:?}, then the clock is set by {set_ms} ms");
        // Behind a failed disk sessions go on in memory alone.
        let fenced = self.machine.is_fenced();
        let turns = self.machine.turns;
        self.fit_rings();
        self.machine.crash(crash, &self.swarm.plan, set_ms);
        self.crashing = true;
        for conn in self.live.clone() {
            if !self.conns[conn].paused {
                self.read(conn, false)?;
            }
            self.release_nothing(conn);
            if self.conns[conn].stage != Stage::Over {
                self.over(conn);
            }
        }
        self.crashing = false;
        self.crashed = true;
        for client in 0..self.clients.len() {
            self.releases_after(client, covered && !fenced, turns);
            self.session_after(client, covered, fenced);
            self.time_after(client, set_ms);
        }
        self.messages_after(covered, fenced);
        self.wills_after(covered)
    }

    /// At the end disks are not unkind, and a journal that was fenced begins again.
    pub(crate) fn come_back_with_kind_disks(&mut self) -> Check {
        if let Some(disk) = &mut self.swarm.plan.disk {
            (disk.slow, disk.fails) = (0, 0);
            self.machine.be_kind();
            if self.machine.is_fenced() {
                self.crash(Crash::Killed, None, 0)?;
            }
        }
        Ok(())
    }

    /// Everything is at rest and on disk: nothing of before can get lost.
    pub(crate) fn all_is_kept(&mut self) {
        self.kept = self.tick;
        self.cancelled.clear();
        for client in 0..self.clients.len() {
            // What a client whose connection was lost had acknowledged may be unheard.
            if !self.clients[client].conns.first().is_some_and(|conn| self.is_prompt(*conn)) {
                continue;
            }
            let session = &mut self.clients[client].session;
            let fresh = std::mem::take(&mut session.fresh);
            session.settled.extend(fresh);
            session.newest_settled.clone_from(&session.newest);
        }
    }

    /// What a client wanted to acknowledge on a connection that is gone.
    fn release_nothing(&mut self, conn: usize) {
        self.conns[conn].owing.clear();
        self.conns[conn].input.clear();
        self.out.clear();
    }

    /// A PUBREL that was sent when the node took no turn any more is not known to it.
    fn releases_after(&mut self, client: ClientId, kept: bool, turns: u64) {
        for outstanding in &mut self.clients[client].session.outstanding {
            let unheard = kept && outstanding.released_at == Some(turns);
            outstanding.unheard = if unheard { Unheard::Yes } else { Unheard::No };
        }
    }

    /// What is known of a session after a crash.
    fn session_after(&mut self, client: ClientId, covered: bool, fenced: bool) {
        let kept = self.kept;
        let messages = &mut self.messages;
        let name = &mut self.clients[client];
        let session = &mut name.session;
        for outstanding in session.outstanding.iter().filter(|out| out.qos == 2 && !out.released) {
            // Only who owes it to a session remembers it.
            messages[outstanding.message as usize].repeats += 1;
        }
        // A DISCONNECT may not have been heard.
        session.certain &= name.changed <= kept;
        session.none &= covered && !fenced;
        if !covered || fenced {
            let quiet = name.left_at.is_some() && name.left.tick <= kept;
            session.certain &= quiet;
            session.unanswered &= quiet;
        }
        if !covered {
            name.owed.retain(|owed| messages[owed.message as usize].accepted.is_some_and(|at| at <= kept));
        }
        // That a message of QoS 1 was sent, or a PUBACK for it heard, need not be written.
        session.inflight.retain(|inflight| inflight.qos == 2);
        for message in session.fresh.drain(..) {
            if let Some(copies) = session.copies.get_mut(&message) {
                copies[1] = 0;
            }
        }
        let settled = &session.newest_settled;
        session.newest.retain(|key, newest| {
            if key.2 == 1 {
                *newest = settled.get(key).copied().unwrap_or_default();
            }
            true
        });
        session.newest_kept.retain(|_, message| messages[*message as usize].accepted.is_some());
    }

    /// When a client has left, by the clock that the node has now.
    fn time_after(&mut self, client: ClientId, set_ms: i64) {
        let (now, wall_ms, kept, tick) = (self.now(), self.machine.wall_ms(), self.kept, self.tick());
        let ago = |then: u64| {
            let gone = Duration::from_millis(wall_ms.saturating_sub(then));
            Instant::from_nanos(now.as_nanos().saturating_sub(gone.as_nanos() as u64))
        };
        let name = &mut self.clients[client];
        let Some(left_at) = name.left_at else { return };
        let left = ago(name.left.wall_ms);
        // With the end of its connection unwritten it has left with the node.
        let unwritten = name.left.tick > kept;
        name.left_at = Some(if unwritten { left.min(left_at) } else { left });
        if unwritten {
            (name.left.tick, name.left.latest) = (tick, Some((now, wall_ms)));
        } else if let Some((at, then)) = &mut name.left.latest {
            *at = ago(*then);
        }
        // By the clock of before, or by that of now.
        let away = now.since(name.left_at.map_or(left_at, |left| left.min(left_at))).as_secs_f64();
        let limit = f64::from(name.session.expiry) - 0.5;
        // It may have ended before the clock was set once more; or it is taken to have left when it did so last.
        let before = self.swarm.crashes.clock > 0 && away > limit;
        if before || (unwritten && set_ms as f64 / 1000.0 > limit) {
            name.session.certain = false;
        }
        if let Some((_, since, _)) = &mut name.session.will {
            *since = name.left_at.unwrap_or(*since).min(*since);
        }
    }

    /// What is known of messages after a crash.
    fn messages_after(&mut self, covered: bool, fenced: bool) {
        let (kept, now) = (self.kept, self.now());
        let unkept = self.machine.total(Counter::RetainedUnkept) > 0;
        for message in &mut self.messages {
            if !covered && message.accepted.is_some_and(|accepted| accepted > kept) {
                message.accepted = None;
            }
            let unwritten = fenced && message.accepted.is_some_and(|accepted| accepted > kept);
            if (unkept || unwritten) && message.retain && message.qos == 0 {
                // It was retained in memory alone.
                message.accepted = None;
            }
            if self.swarm.crashes.clock > 0 && message.expiry > 0 {
                // Its time may begin once more with each start, until a clock that was set back is where it was.
                message.at = now;
            }
            message.repeats += u32::from(message.will);
        }
        // What members of groups without a lasting session were sent is lost with them.
        let (clients, messages) = (&self.clients, &self.messages);
        self.group_owed.retain(|owed| {
            let sent = messages[owed.message as usize].sent;
            let mut members = clients.iter().filter(|name| {
                name.worker && name.subs.iter().any(|sub| sub.filter == owed.filter && sub.may_bring(sent))
            });
            covered && owed.lasting && members.all(|name| name.session.certain && name.session.expiry > 0)
        });
        debug_assert!(self.group_owed.iter().all(|owed| owed.filter >= FILTERS.len()));
    }

    /// Wills of sessions that last are published after the start, unless their clients come back at once.
    fn wills_after(&mut self, covered: bool) -> Check {
        for will in std::mem::take(&mut self.cancelled) {
            self.messages[will as usize].cancelled = false;
        }
        let wills = std::mem::take(&mut self.wills);
        if !covered || self.chaos.bool() {
            return Ok(());
        }
        self.rest()?;
        self.pass(Duration::from_millis(50))?;
        for will in wills {
            let message = &self.messages[will as usize];
            let session = &self.clients[message.client].session;
            if message.qos > 0 && session.certain && self.conns[message.conn].expiry > 0 {
                self.wills.push(will);
            }
        }
        Ok(())
    }

    /// Rings between shards, as the number of shards needs them.
    fn fit_rings(&mut self) {
        let plan = &mut self.swarm.plan;
        let least = switch::routing::parcel::rank_specs(&plan.settings.limits, plan.shards);
        for (rank, spec) in plan.ranks.iter_mut().enumerate() {
            if rank == usize::from(switch::routing::parcel::ACK.0) {
                *spec = least[rank];
            }
        }
    }
}
