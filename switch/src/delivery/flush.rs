//! Flushing: planned in slices, one send a socket, fairly in turn.
//!
//! A feed's pass goes through its members and plans a send for each that has not caught up; members with anything else
//! waiting go through their connection, which gathers from its feeds, its session's queue and its outbox into one send.
//!
//! A pass that a slice cuts goes on in the next one, up to [`FLUSH_VISIT`] sends; then all other jobs come first. So
//! rooms are served in the order of their messages, and one that takes longer cannot keep the others waiting.

use std::collections::VecDeque;

use shard::{Effects, Errno, Op, SendResult, Slot, Span};

use super::feed::{FeedId, Run};
use crate::connection::secure::Planned;
use crate::connection::{Phase, Seat};
use crate::counters::Counter;
use crate::limits::{FLUSH_SLICE, FLUSH_VISIT, OUTBOX_FILL_BYTES, SEND_BYTES_MAX};
use crate::planted::{Fault, planted};
use crate::switch::Switch;

/// What waits for a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// A pass over the members of a feed.
    Feed(FeedId),
    /// A connection's outbox, and the feeds that it reads through it.
    Connection(Slot),
}

/// Flush jobs, first come first served; each feed and connection is in it once at most, and a feed stays in front until
/// its visit is over.
#[derive(Default)]
pub struct FlushQueue {
    jobs: VecDeque<Job>,
}

impl FlushQueue {
    /// Adds a job behind the others.
    pub fn push(&mut self, job: Job) {
        self.jobs.push_back(job);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }
}

/// How far a flush has come through a feed's members.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlushState {
    /// The feed is in the flush queue.
    pub queued: bool,
    /// Next member to look at.
    pub next: u32,
    /// Something was appended, or left over, since the pass began: another pass follows.
    pub again: bool,
    /// Sends of the present visit.
    pub visit: u32,
}

impl FlushState {
    /// A slice has planned so many sends. Whether the pass goes on in the next slice, before all other jobs.
    pub fn stays(&mut self, sends: u32) -> bool {
        self.visit += sends;
        let stays = self.next > 0 && self.visit < FLUSH_VISIT;
        if !stays {
            self.visit = 0;
        }
        stays
    }
}

/// [`Span::source`] of bytes in the connection's outbox; else it is the feed.
const OUTBOX: u32 = u32::MAX;
/// The same of bytes that were sealed for this slice.
const SEALED: u32 = u32::MAX - 1;
/// Added to a feed where its run was sealed for this slice.
const SEALED_RUN: u32 = 1 << 31;
/// Whether a span is a feed's run as it is: the others have this bit, too.
fn is_feed(source: u32) -> bool {
    source & SEALED_RUN == 0
}

/// Members that one slice looks at, so that a pass over members that need nothing stays short too.
const MEMBERS_PER_SLICE: usize = 16 * FLUSH_SLICE;

impl Switch {
    /// Plans one slice of sends.
    pub fn plan_flush(&mut self, plan: &mut Vec<Span>, fx: &mut Effects) {
        let mut looks = MEMBERS_PER_SLICE;
        self.begin_sealing();
        // What is queued meanwhile waits for the next slice: no socket is in a plan twice.
        let mut jobs = self.flush.jobs.len();
        while plan.len() < FLUSH_SLICE && looks > 0 && jobs > 0 && !self.secure.is_full() {
            let Some(job) = self.flush.jobs.pop_front() else { return };
            (jobs, looks) = (jobs - 1, looks - 1);
            match job {
                Job::Connection(slot) => self.plan_connection(slot, plan, fx),
                Job::Feed(id) => looks = self.plan_feed(id, plan, looks),
            }
        }
    }

    /// The bytes of a planned span.
    pub fn span_bytes(&self, span: &Span) -> &[u8] {
        if is_feed(span.source) {
            self.feeds[span.source as usize].run_bytes(span.tag[1], span.start, span.len)
        } else if span.source == OUTBOX {
            let outbox = self.connections.at(span.slot).outbox.as_ref().expect("planned from an outbox");
            &outbox.bytes()[..span.len as usize]
        } else {
            self.sealed_bytes(span)
        }
    }

    /// Takes the results of a slice.
    pub fn flushed(&mut self, plan: &[Span], results: &[SendResult], fx: &mut Effects) {
        for (span, result) in plan.iter().zip(results) {
            if matches!(span.source, OUTBOX | SEALED) {
                self.connections.at_mut(span.slot).planned = false;
            }
            let sent = match *result {
                SendResult::Sent(count) => count,
                SendResult::WouldBlock => 0,
                SendResult::Broken(_) => continue,
            };
            self.counters.add(Counter::BytesSent, u64::from(sent));
            match span.source {
                feed if is_feed(feed) => self.feed_sent(span, sent, fx),
                OUTBOX => self.outbox_sent(span, sent, sent as usize, fx),
                SEALED => {
                    let plain = self.sealed_sent(span, sent);
                    self.outbox_sent(span, sent, plain, fx);
                }
                _ => self.sealed_run_sent(span, sent, fx),
            }
        }
        // Last: a connection that ends leaves its feeds, and other members take its place in them.
        for (span, result) in plan.iter().zip(results) {
            if let SendResult::Broken(errno) = *result {
                self.broken(span.slot, errno, fx);
            }
        }
    }

    /// The socket takes bytes again.
    pub fn unblock(&mut self, slot: Slot) {
        let conn = self.connections.at_mut(slot);
        conn.blocked = false;
        for index in 0..conn.seats.len() {
            let seat = conn.seats.at(index).expect("counted");
            self.feeds[seat.feed.0 as usize].member_mut(seat.member).set(true, false);
        }
        if !conn.flush_queued {
            conn.flush_queued = true;
            self.flush.push(Job::Connection(slot));
        }
    }

    /// A feed has no member any more.
    pub fn retire_feed(&mut self, id: FeedId) {
        let feed = &mut self.feeds[id.0 as usize];
        assert!(feed.members().is_empty(), "a feed is retired without members");
        if feed.flush.queued {
            // The job in the queue ends it.
            feed.retired = true;
        } else {
            self.feeds.remove(id.0 as usize);
        }
    }

    fn plan_feed(&mut self, id: FeedId, plan: &mut Vec<Span>, looks: usize) -> usize {
        let feed = &mut self.feeds[id.0 as usize];
        if feed.retired {
            self.feeds.remove(id.0 as usize);
            return looks;
        }
        let planned = plan.len();
        let mut state = feed.flush;
        if state.next == 0 {
            state.again = false;
        }
        let head = feed.head();
        let end = feed.members().len().min(state.next as usize + looks);
        let mut memo: Option<(u32, Run)> = None;
        let mut sealed = None;
        while (state.next as usize) < end && plan.len() < FLUSH_SLICE {
            let index = state.next;
            state.next += 1;
            let member = feed.members()[index as usize];
            if member.position == head || member.blocked() {
                continue;
            }
            let known = memo.filter(|(position, _)| *position == member.position).map(|(_, run)| run);
            let run = if member.plain() { known.or_else(|| feed.run(member.position, self.now)) } else { None };
            let Some(run) = run else {
                if member.encrypted()
                    && let Some((run, span)) =
                        self.secure.plan_run(&mut self.stacks, feed, &mut sealed, index, self.now)
                {
                    state.again |= run.until != head;
                    plan.push(Span { source: id.0 | SEALED_RUN, ..span });
                    if self.secure.is_full() {
                        break;
                    }
                    continue;
                }
                // It has other sources, or packets that must be looked at one by one.
                let conn = self.connections.at_mut(member.slot());
                feed.member_mut(index).set(true, false);
                if !conn.flush_queued {
                    conn.flush_queued = true;
                    self.flush.jobs.push_back(Job::Connection(member.slot()));
                }
                continue;
            };
            memo = Some((member.position, run));
            state.again |= run.until != head;
            plan.push(Span {
                slot: member.slot(),
                source: id.0,
                start: run.start,
                len: run.len,
                tag: [index, run.chunk],
            });
        }
        let used = end.saturating_sub(feed.flush.next as usize);
        if state.next as usize >= feed.members().len() {
            state.next = 0;
            state.queued = state.again && feed.behind() > 0;
        }
        let stays = state.stays((plan.len() - planned) as u32);
        feed.flush = state;
        if stays {
            self.flush.jobs.push_front(Job::Feed(id));
        } else if state.queued {
            self.flush.jobs.push_back(Job::Feed(id));
        }
        looks.saturating_sub(used)
    }

    fn plan_connection(&mut self, slot: Slot, plan: &mut Vec<Span>, fx: &mut Effects) {
        let conn = self.connections.at_mut(slot);
        // A job of an earlier use of the slot, or one that this plan has served.
        if !conn.flush_queued || conn.planned {
            return;
        }
        if !conn.blocked && !conn.send_closed && conn.phase == Phase::Open {
            let session = conn.session.expect("an open connection has a session");
            self.pump(session, fx);
            self.gather(slot);
        }
        let conn = self.connections.at_mut(slot);
        conn.flush_queued = false;
        if conn.blocked || conn.send_closed {
            return;
        }
        if conn.encrypted {
            return self.plan_encrypted(slot, plan, fx);
        }
        match conn.outbox.as_ref().map_or(0, |outbox| outbox.len()) {
            0 => self.drained(slot, fx),
            waits => {
                conn.planned = true;
                plan.push(Span { slot, source: OUTBOX, start: 0, len: waits.min(SEND_BYTES_MAX) as u32, tag: [0; 2] });
            }
        }
    }

    fn plan_encrypted(&mut self, slot: Slot, plan: &mut Vec<Span>, fx: &mut Effects) {
        match self.plan_sealed(slot, SEALED, plan) {
            Planned::Span => self.connections.at_mut(slot).planned = true,
            Planned::Nothing => self.drained(slot, fx),
            // What waits will not leave any more; what was sealed before has.
            Planned::Broken if self.connections.at(slot).phase == Phase::Lingering => self.last_packet_left(slot, fx),
            Planned::Broken => self.broken(slot, Errno(rustix::io::Errno::PROTO.raw_os_error()), fx),
        }
    }

    /// Copies packets from the connection's feeds into its outbox, in the order of their fan-outs.
    pub fn gather(&mut self, slot: Slot) {
        loop {
            let conn = self.connections.at_mut(slot);
            if conn.outbox.as_ref().map_or(0, |outbox| outbox.len()) >= OUTBOX_FILL_BYTES {
                return;
            }
            let mut oldest: Option<(Seat, super::feed::Entry)> = None;
            for index in 0..conn.seats.len() {
                let seat = conn.seats.at(index).expect("counted");
                let feed = &self.feeds[seat.feed.0 as usize];
                if let Some(entry) = feed.entry(feed.members()[seat.member as usize].position)
                    && oldest.is_none_or(|(_, other)| entry.tick < other.tick)
                {
                    oldest = Some((seat, *entry));
                }
            }
            let Some((seat, entry)) = oldest else { return };
            let feed = &mut self.feeds[seat.feed.0 as usize];
            let dropped = if feed.mqtt_len(&entry) > conn.packet_bytes_max as usize {
                Some(Counter::DroppedTooLarge)
            } else if self.now.since(entry.at) > self.limits.max_feed_age {
                Some(Counter::DroppedLagging)
            } else {
                let outbox = conn.outbox.get_or_insert_with(|| self.outboxes.take());
                if entry.aged(self.now) {
                    let start = outbox.buffer().len();
                    if feed.copy_aged(&entry, self.now, outbox.claim(entry.bytes_len())) {
                        outbox.note_unsettled();
                        None
                    } else {
                        outbox.buffer().truncate(start);
                        Some(Counter::DroppedExpired)
                    }
                } else {
                    outbox.buffer().extend_from_slice(feed.packet(&entry));
                    outbox.note_unsettled();
                    None
                }
            };
            if let Some(reason) = dropped {
                self.counters.add(reason, 1);
            }
            let position = feed.members()[seat.member as usize].position;
            feed.advance(&mut self.arena, seat.member, position.wrapping_add(1));
        }
    }

    /// Of a span so many bytes have left, and with them so many of the outbox, which may not be there where a handshake is
    /// answered.
    fn outbox_sent(&mut self, span: &Span, sent: u32, plain: usize, fx: &mut Effects) {
        let conn = self.connections.at_mut(span.slot);
        let settled = conn.outbox.as_mut().map_or(0, |outbox| outbox.advance(plain));
        let empty = !conn.outbox_waits();
        self.counters.add(Counter::MessagesDelivered, u64::from(settled));
        if sent < span.len {
            self.block(span.slot, fx);
        } else if empty {
            if let Some(outbox) = conn.outbox.take() {
                self.outboxes.give(outbox);
            }
            self.drained(span.slot, fx);
        } else if !conn.flush_queued {
            conn.flush_queued = true;
            self.flush.push(Job::Connection(span.slot));
        }
    }

    fn feed_sent(&mut self, span: &Span, sent: u32, fx: &mut Effects) {
        let feed = &mut self.feeds[span.source as usize];
        let member = span.tag[0];
        let position = feed.members()[member as usize].position;
        if sent == span.len {
            let passed = feed.advance(&mut self.arena, member, feed.run_end(span.tag[1]));
            return self.counters.add(Counter::MessagesDelivered, u64::from(passed));
        }
        let (whole, torn) = feed.split(position, sent as usize);
        if torn > 0 && !planted(Fault::TornPacketLost) {
            let entry = feed.entry(position.wrapping_add(whole)).expect("a packet was torn");
            let outbox = self.connections.at_mut(span.slot).outbox.get_or_insert_with(|| self.outboxes.take());
            outbox.tear(&feed.packet(entry)[torn..]);
        }
        let next = position.wrapping_add(whole + u32::from(torn > 0));
        self.counters.add(Counter::MessagesDelivered, u64::from(whole));
        if next != position {
            feed.advance(&mut self.arena, member, next);
        }
        self.block(span.slot, fx);
    }

    /// The same for a run that was sealed: it leaves as it is, so all of it is the connection's if not all has left.
    fn sealed_run_sent(&mut self, span: &Span, sent: u32, fx: &mut Effects) {
        let feed = &mut self.feeds[(span.source & !SEALED_RUN) as usize];
        let [member, chunk] = span.tag;
        let (position, until) = (feed.members()[member as usize].position, feed.run_end(chunk));
        if sent == span.len {
            let passed = feed.advance(&mut self.arena, member, until);
            return self.counters.add(Counter::MessagesDelivered, u64::from(passed));
        }
        let outbox = self.connections.at_mut(span.slot).outbox.get_or_insert_with(|| self.outboxes.take());
        outbox.put_run(feed.rest_of_chunk(position), until.wrapping_sub(position));
        feed.advance(&mut self.arena, member, until);
        self.keep_unsent_run(span, sent);
        self.block(span.slot, fx);
    }

    /// The socket took no more: wait until it does.
    fn block(&mut self, slot: Slot, fx: &mut Effects) {
        let conn = self.connections.at_mut(slot);
        conn.blocked = true;
        for index in 0..conn.seats.len() {
            let seat = conn.seats.at(index).expect("counted");
            self.feeds[seat.feed.0 as usize].member_mut(seat.member).set(true, true);
        }
        if !conn.polling {
            conn.polling = true;
            fx.ops.push(Op::PollOut { slot, generation: conn.generation });
        }
    }

    /// All that waited for this connection has left.
    fn drained(&mut self, slot: Slot, fx: &mut Effects) {
        let conn = self.connections.at_mut(slot);
        if let Some(outbox) = conn.outbox.take() {
            self.outboxes.give(outbox);
        }
        if conn.phase != Phase::Open {
            return self.last_packet_left(slot, fx);
        }
        if conn.parked && conn.waits_for.is_none() && !planted(Fault::WakeUpLost) {
            self.unpark_soon(slot);
        }
        let conn = self.connections.at_mut(slot);
        let fetching = conn.fetching;
        let session = conn.session;
        if fetching {
            self.fetch_more(slot, fx);
        }
        if let Some(session) = session {
            let outgoing = self.sessions.at(session).outgoing.as_ref();
            let waits = outgoing.is_some_and(|outgoing| !outgoing.waiting().is_empty() || !outgoing.all_sent());
            if waits {
                self.pump(session, fx);
            }
        }
        let conn = self.connections.at_mut(slot);
        if conn.outbox_waits() || conn.flush_queued {
            return;
        }
        let mut behind = false;
        for index in 0..conn.seats.len() {
            let seat = conn.seats.at(index).expect("counted");
            let feed = &self.feeds[seat.feed.0 as usize];
            behind |= feed.members()[seat.member as usize].position != feed.head();
        }
        if behind {
            conn.flush_queued = true;
            self.flush.push(Job::Connection(slot));
        } else if let Some(seat) = conn.seats.sole() {
            let slow = conn.is_gathered();
            self.feeds[seat.feed.0 as usize].member_mut(seat.member).set(slow, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A room of 1,300 got a fifth of its pass for each message of a thousand small rooms, and its p99 was three times
    /// what it is when the pass goes on; a room without end may not keep the others waiting.
    #[test]
    fn a_pass_goes_on_until_its_visit_is_over() {
        let slice = FLUSH_SLICE as u32;
        let mut pass = FlushState { next: slice, ..FlushState::default() };
        assert!(pass.stays(slice));
        pass.next = 0;
        assert!(!pass.stays(10), "it is through");
        assert_eq!(pass.visit, 0);
        pass.next = 1;
        let slices = (1..).take_while(|_| pass.stays(slice)).count() as u32 + 1;
        assert_eq!(slices * slice, FLUSH_VISIT);
        assert_eq!(pass.visit, 0, "its next visit is as long");
    }
}
