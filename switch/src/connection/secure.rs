//! TLS on a shard: received records through a connection's channel, and its outbox sealed on the way to the socket.
//!
//! ```text
//!   receive ─▶ [handshake queue, by the turn's budget] ─▶ channel ─▶ the next layer of the stack
//!   a run of a feed, or the outbox ─▶ sealed into the arena of the slice ─▶ one send ─┬─ all sent: both move on
//!                                                                                    └─ in part: the rest is the channel's
//! ```
//!
//! What is sealed has used its number, so it must leave as it is: what a socket does not take is copied out of the arena
//! and goes first the next time. The outbox keeps the plaintext until then, so the ledger knows what was not sent; where it
//! came from a feed, it is put there then.

use std::collections::VecDeque;

use shard::{Effects, Instant, Slot, Span};

use super::close::Cause;
use super::stacks::Stacks;
use super::{ConnectionId, Phase};
use crate::counters::Counter;
use crate::delivery::feed::{Feed, Run};
use crate::delivery::flush::Job;
use crate::limits::{HANDSHAKE_UNITS_PER_TURN, SEALED_BYTES_MAX, SEALED_BYTES_OF_SLICE};
use crate::switch::Switch;
use crate::tls::Secrets;
use crate::tls::channel::{ARRIVED_BYTES_MAX, Channel};
use crate::tls::failure::Failure;
use crate::tls::record::Sealed;
use crate::tls::traffic::Sealer;

/// The TLS of a connection that goes to another shard.
pub type Moving = (ConnectionId, Box<Channel>, Option<Sealer>);

/// What a shard needs for the channels of its connections.
#[derive(Default)]
pub struct Secure {
    /// The present secrets of each listener, by its number.
    pub secrets: Vec<Option<std::sync::Arc<Secrets>>>,
    /// Connections whose next flight waits for its turn; each is in it once at most.
    waiting: VecDeque<ConnectionId>,
    /// What handshakes may still cost before the next turn.
    units: u32,
    /// Records that are being opened, and what was in them.
    input: Vec<u8>,
    pub(super) opened: Vec<u8>,
    /// What the sends of a slice are, one behind the other.
    arena: Sealed,
    /// Channels that came from other shards before their parcels.
    came: Vec<Moving>,
}

impl Secure {
    /// Whether the slice has sealed as much as it may.
    pub(crate) fn is_full(&self) -> bool {
        self.arena.len() >= SEALED_BYTES_OF_SLICE
    }

    /// Plans what a feed has for one of its members, sealed. `known` is the last run that was found, with its position.
    /// `None`: it must go with what the connection has to say besides.
    #[inline(never)]
    pub(crate) fn plan_run(
        &mut self,
        stacks: &mut Stacks,
        feed: &Feed,
        known: &mut Option<(u32, Run)>,
        index: u32,
        now: Instant,
    ) -> Option<(Run, Span)> {
        let member = feed.members()[index as usize];
        if !member.sealed_only() {
            return None;
        }
        let run = match *known {
            Some((position, run)) if position == member.position => run,
            _ => feed.run(member.position, now)?,
        };
        *known = Some((member.position, run));
        let bytes = feed.run_bytes(run.chunk, run.start, run.len);
        let (start, len) = self.seal_run(stacks, member.slot(), bytes)?;
        Some((run, Span { slot: member.slot(), source: 0, start, len, tag: [index, run.chunk] }))
    }

    /// Seals a run of a feed for a connection for which nothing else waits. Returns where it lies in the arena; `None`: it
    /// must go with what the connection has to say besides.
    fn seal_run(&mut self, stacks: &mut Stacks, slot: Slot, run: &[u8]) -> Option<(u32, u32)> {
        let sealer = stacks.sealer(slot).filter(|sealer| run.len() <= SEALED_BYTES_MAX && sealer.takes(run.len()))?;
        let start = self.arena.len();
        sealer.seal(run, &mut self.arena);
        Some((start as u32, (self.arena.len() - start) as u32))
    }
}

impl Switch {
    /// A channel for a connection that came in by this listener, if it speaks TLS.
    pub(crate) fn new_channel(&mut self, listener: u16) -> Option<Box<Channel>> {
        let index = usize::from(listener);
        let tls = self.listeners[index].tls.as_ref()?;
        if self.secure.secrets.len() <= index {
            self.secure.secrets.resize_with(self.listeners.len(), || None);
        }
        let present = &mut self.secure.secrets[index];
        if let Some(newer) = tls.letter(self.id) {
            *present = Some(newer);
        }
        Some(Box::new(Channel::new(present.as_ref().expect("each shard is told before it starts"))))
    }

    /// Whether the bytes must wait as the handshakes of this turn have had their share; they are kept then.
    pub(super) fn waits_for_its_turn(&mut self, slot: Slot, bytes: &[u8]) -> bool {
        let stack = self.stacks.get_mut(slot).expect("it is wrapped");
        let Some(channel) = &stack.channel else { return false };
        let units = channel.units();
        if units == 0 {
            return false;
        }
        if self.secure.waiting.is_empty() && self.secure.units > 0 {
            self.secure.units = self.secure.units.saturating_sub(units);
            return false;
        }
        let mut held = stack.held.take().unwrap_or_else(|| self.buffers.pop().unwrap_or_default());
        held.extend_from_slice(bytes);
        self.stacks.get_mut(slot).expect("it is wrapped").held = Some(held);
        self.secure.waiting.push_back(self.connections.id(slot));
        true
    }

    /// A turn begins: handshakes that wait go on, as far as the turn's budget reaches. Returns whether some wait still.
    pub(crate) fn shake_hands(&mut self, fx: &mut Effects) -> bool {
        self.secure.units = HANDSHAKE_UNITS_PER_TURN;
        while self.secure.units > 0
            && let Some(id) = self.secure.waiting.pop_front()
        {
            let Some(conn) = self.connections.find(id) else { continue };
            if conn.phase != Phase::Handshake || !conn.wrapped {
                continue;
            }
            let heard_ms = self.now.as_millis() as u32;
            let Some(stack) = self.stacks.get_mut(id.slot) else { continue };
            let (Some(held), Some(channel)) = (stack.held.take(), &stack.channel) else { continue };
            self.secure.units = self.secure.units.saturating_sub(channel.units());
            self.received_through(id.slot, &held, heard_ms, fx);
            self.give_buffer(held);
        }
        !self.secure.waiting.is_empty()
    }

    /// Opens records into `self.secure.opened`. Returns why nothing follows them, if so.
    pub(super) fn open_records(&mut self, slot: Slot, channel: &mut Channel, bytes: &[u8]) -> Option<Cause> {
        let mut joined = std::mem::take(&mut self.secure.input);
        let mut plain = std::mem::take(&mut self.secure.opened);
        plain.clear();
        let mut answers = channel.unsent.take().unwrap_or_else(|| self.take_buffer());
        let arrived = channel.arrived.take();
        // What is whole is opened from where it was received.
        let whole = arrived.is_none() && !channel.is_handshaking();
        if !whole {
            joined.clear();
            if let Some(arrived) = arrived {
                joined.extend_from_slice(&arrived);
                self.give_buffer(arrived);
            }
            joined.extend_from_slice(bytes);
        }
        let mut sealer = self.stacks.take_sealer(slot);
        let opened = match whole {
            true => channel.open(bytes, &mut sealer, &mut plain, &mut answers),
            false => channel.shake_hands(&mut joined, &mut sealer, &mut plain, &mut answers),
        };
        self.stacks.put_sealer(slot, sealer);
        if answers.is_empty() {
            self.give_buffer(answers);
        } else {
            channel.unsent = Some(answers);
        }
        if channel.owes() {
            self.flush_soon(slot);
        }
        if opened.completed {
            self.counters.add(Counter::TlsCompleted, 1);
            self.counters.add(Counter::TlsResumed, u64::from(channel.is_resumed()));
        }
        let rest = if whole { &bytes[opened.consumed..] } else { &joined[opened.consumed..] };
        let mut failed = opened.failed;
        if rest.len() > ARRIVED_BYTES_MAX {
            failed = failed.or(Some(Failure::Violated));
        } else if !rest.is_empty() {
            let mut arrived = self.take_buffer();
            arrived.extend_from_slice(rest);
            channel.arrived = Some(arrived);
        }
        (self.secure.input, self.secure.opened) = (joined, plain);
        match failed {
            Some(failure) => Some(Cause::Tls(failure)),
            None => opened.ended.then_some(Cause::TlsClosed),
        }
    }

    /// A send of this connection is to be planned, though its outbox may be empty. What its feeds have goes with it.
    pub(crate) fn flush_soon(&mut self, slot: Slot) {
        let conn = self.connections.at_mut(slot);
        if let Some(seat) = conn.seats.sole() {
            self.feeds[seat.feed.0 as usize].member_mut(seat.member).set(true, conn.blocked);
        }
        if !conn.flush_queued && !conn.blocked {
            conn.flush_queued = true;
            self.flush.push(Job::Connection(slot));
        }
    }

    /// Whether something waits for the socket, sealed or not.
    pub(crate) fn unsent(&self, slot: Slot) -> bool {
        let conn = self.connections.at(slot);
        let owes = || self.stacks.get(slot).and_then(|stack| stack.channel.as_ref()).is_some_and(|c| c.owes());
        conn.outbox_waits() || conn.encrypted && owes()
    }

    /// A connection ends: its channel says so behind what waits, if the client can hear it. A handshake that is not
    /// complete has failed.
    pub(super) fn end_channel(&mut self, slot: Slot, cause: Cause) {
        let Some(channel) = self.stacks.get_mut(slot).and_then(|stack| stack.channel.as_mut()) else { return };
        let failure = match cause {
            Cause::Tls(failure) => failure,
            Cause::ConnectTimeout => Failure::Timeout,
            _ => Failure::Closed,
        };
        if channel.is_handshaking() {
            self.counters.add(Counter::TlsFailed, 1);
            self.counters.add(failure.counter(), 1);
        } else if !matches!(cause, Cause::Eof | Cause::Broken(_) | Cause::Moved | Cause::Tls(_)) {
            channel.end();
            self.flush_soon(slot);
        }
    }

    /// A slice begins: what the one before has sealed is gone.
    pub(crate) fn begin_sealing(&mut self) {
        self.secure.arena.clear();
    }

    /// Seals what a connection is to be sent into the arena, where an earlier send has left nothing over.
    pub(crate) fn plan_sealed(&mut self, slot: Slot, source: u32, plan: &mut Vec<Span>) -> Planned {
        let arena = &mut self.secure.arena;
        let start = arena.len();
        let (channel, sealer) = self.stacks.channel(slot);
        // What is left over goes alone. With more sealed behind it each time, not all would ever have left of a client that
        // reads slowly, and the outbox would not move on.
        let unsent = channel.unsent.take();
        unsent.iter().for_each(|unsent| arena.append(unsent));
        let room = if unsent.is_some() { 0 } else { SEALED_BYTES_MAX };
        let outbox = self.connections.at(slot).outbox.as_ref();
        let waits = outbox.map_or(&[][..], |outbox| &outbox.bytes()[channel.covers..]);
        let fresh = waits.len().min(room);
        let sealed = channel.seal(&waits[..fresh], sealer, arena);
        if sealed {
            channel.covers += fresh;
            channel.say_rest(fresh == waits.len(), sealer, arena);
        }
        let len = (arena.len() - start) as u32;
        if let Some(unsent) = unsent {
            self.give_buffer(unsent);
        }
        if len > 0 {
            plan.push(Span { slot, source, start: start as u32, len, tag: [0; 2] });
            Planned::Span
        } else if sealed {
            Planned::Nothing
        } else {
            Planned::Broken
        }
    }

    /// The bytes of a span that was sealed.
    pub(crate) fn sealed_bytes(&self, span: &Span) -> &[u8] {
        self.secure.arena.bytes(span.start as usize, span.len as usize)
    }

    /// So many bytes of a span of [`Switch::plan_sealed`] have left. Returns how many bytes of the outbox they were, which
    /// is 0 until all have.
    pub(crate) fn sealed_sent(&mut self, span: &Span, sent: u32) -> usize {
        if sent < span.len {
            self.keep_unsent(span, sent);
            return 0;
        }
        std::mem::take(&mut self.stacks.channel(span.slot).0.covers)
    }

    /// Of a span that was sealed no more than this has left.
    fn keep_unsent(&mut self, span: &Span, sent: u32) {
        let mut rest = self.take_buffer();
        rest.extend_from_slice(&self.sealed_bytes(span)[sent as usize..]);
        self.stacks.channel(span.slot).0.unsent = Some(rest);
    }

    /// The same of a span that was a run of a feed. The connection's outbox, which was empty, stands for it now.
    pub(crate) fn keep_unsent_run(&mut self, span: &Span, sent: u32) {
        self.keep_unsent(span, sent);
        let outbox = self.connections.at(span.slot).outbox.as_ref().expect("the run was put there");
        self.stacks.channel(span.slot).0.covers = outbox.len();
    }

    /// The channel of a connection that has come from another shard.
    pub(crate) fn take_channel(&mut self, connection: ConnectionId) -> (Box<Channel>, Option<Sealer>) {
        while let Some(came) = self.node.channels[usize::from(self.id.0)].pop() {
            self.secure.came.push(came);
        }
        let index = self.secure.came.iter().position(|(id, ..)| *id == connection);
        let (_, channel, sealer) = self.secure.came.swap_remove(index.expect("a channel goes ahead of its parcel"));
        (channel, sealer)
    }
}

/// What a connection has to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planned {
    /// A span was planned.
    Span,
    /// Nothing waits.
    Nothing,
    /// Nothing can be sealed any more.
    Broken,
}
