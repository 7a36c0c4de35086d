//! What a shard makes durable, and what waits for that.
//!
//! ```text
//!   deliver, retain, connect, subscribe ──▶ commit ──▶ ticket ──▶ wait ──▶ the acknowledgement leaves
//!   PUBACK, PUBREC ... of a client      ──▶ note                           (what is fenced is refused)
//!   compaction                          ──▶ sweep: all that is live, once more, in slices
//!   a start                             ──▶ state: entries to what was live ──▶ restore
//! ```
//!
//! - A **commit** may be refused, and what depends on it is refused with it. It leaves a reserve in the ring.
//! - A **note** tells what became of something that was committed. It takes from the reserve; who causes notes is not
//!   read while there is none, and notes that no client causes wait in a list.
//!
//! Without a journal (`journal.enabled = false`) nothing is written, and every ticket holds at once.

pub mod ended;
pub mod entries;
pub mod kept;
pub mod marks;
pub mod rehome;
pub mod restore;
pub mod state;
pub mod sweep;
pub mod wait;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use persistence::{Position, Refused};
use shard::Instant;
use slab::Slab;
use wire::entry::Entry;
use wire::frame::{Frame, FrameHeader};

use crate::connection::ConnectionId;
use crate::limits::{JOURNAL_NOTE_BYTES, JOURNAL_RESERVE_SHARE};
use ended::{Ended, UNWRITTEN};
use marks::Marks;
use sweep::Sweeper;
use wait::{Own, Refusals, Waiter};

/// The journal of a shard, as the switch uses it.
pub struct Journal {
    log: Option<persistence::Journal>,
    /// What waits for its position to be durable, in order.
    waits: VecDeque<(Position, Waiter)>,
    /// Notes that found no room, in order. None of them has anything to wait for.
    later: VecDeque<(u16, Vec<u8>)>,
    /// Connections that are not read because there is no room for what they cause.
    pub(crate) blocked: Vec<ConnectionId>,
    /// QoS 2 messages that were taken, by what tells their repeats.
    pub(crate) marks: Marks,
    /// Publishes of the switch itself that its journal keeps until they are resolved.
    pub(crate) own: Slab<Own>,
    /// Those that were refused, by key.
    pub(crate) own_refused: BTreeMap<usize, Refusals>,
    /// Sessions that have ended, and would be back after a crash now.
    pub(crate) ended: Ended,
    /// Sessions that were written for clients that are not accepted yet, and where that begins: memory does not tell of
    /// it, so a sweep leaves it where it is.
    pub(crate) admitting: Vec<(Position, u64)>,
    pub(crate) sweeper: Sweeper,
    pub(crate) wall: WallClock,
    next_uid: u64,
    next_message: u64,
    /// What waits was told that the journal is fenced.
    pub(crate) fence_told: bool,
    /// It was told that there is no room on the disk.
    pub(crate) stuck_told: bool,
    /// Scratch space for the owners of a message, and for Subscription Identifiers.
    pub(crate) owners: Vec<u8>,
    pub(crate) identifiers: Vec<u8>,
}

/// The first number of a start on a shard: 24 bits of the epoch, eight of the shard, and room for four billion. So the
/// numbers of a session's messages are in the order of the messages, whichever shards it has lived on.
pub fn first_number(epoch: u32, shard: u16) -> u64 {
    u64::from(epoch) << 40 | u64::from(shard) << 32 | 1
}

/// The position that everything holds at.
pub const AT_ONCE: Position = Position(0);

impl Journal {
    /// The journal of a shard that writes to `log`, if to any. `wall` is that of the shard's clock.
    ///
    /// Sessions and messages have numbers from `first` on, which no start before has given on any shard.
    pub fn new(log: Option<persistence::Journal>, wall: WallClock, first: u64, marks_max: usize) -> Journal {
        Journal {
            log,
            waits: VecDeque::new(),
            later: VecDeque::new(),
            blocked: Vec::new(),
            marks: Marks::new(marks_max),
            own: Slab::new(),
            own_refused: BTreeMap::new(),
            ended: Ended::default(),
            admitting: Vec::new(),
            sweeper: Sweeper::default(),
            wall,
            next_uid: first,
            next_message: first,
            fence_told: false,
            stuck_told: false,
            owners: Vec::new(),
            identifiers: Vec::new(),
        }
    }

    /// Whether anything is written at all.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.log.is_some()
    }

    /// Whether it takes nothing more until a restart.
    pub fn is_fenced(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.fenced().is_some())
    }

    /// The journal itself.
    pub fn log(&self) -> Option<&persistence::Journal> {
        self.log.as_ref()
    }

    pub(crate) fn log_mut(&mut self) -> Option<&mut persistence::Journal> {
        self.log.as_mut()
    }

    /// A number for a session.
    pub fn next_uid(&mut self) -> u64 {
        self.next_uid += 1;
        self.next_uid - 1
    }

    /// A number for a message.
    pub fn next_message(&mut self) -> u64 {
        self.next_message += 1;
        self.next_message - 1
    }

    /// The numbers that the next session and the next message will have.
    pub fn next_numbers(&self) -> (u64, u64) {
        (self.next_uid, self.next_message)
    }

    /// The end of what was written.
    pub fn tail(&self) -> Position {
        self.log.as_ref().map_or(AT_ONCE, persistence::Journal::tail)
    }

    /// Whether what was promised with this ticket holds.
    #[inline]
    pub fn holds(&self, ticket: Position) -> bool {
        ticket == AT_ONCE || self.log.as_ref().is_none_or(|log| ticket <= log.durable())
    }

    /// Writes an entry that may be refused. Its ticket.
    pub fn commit(&mut self, entry: &Entry<'_>) -> Result<Position, Refused> {
        if self.is_stuck() {
            return Err(Refused::Full);
        }
        self.commit_again(entry)
    }

    /// Writes an entry that says again what is: also where nothing new is taken, as that is what makes room.
    pub(crate) fn commit_again(&mut self, entry: &Entry<'_>) -> Result<Position, Refused> {
        Journal::commit_to(&mut self.log, self.later.is_empty(), entry)
    }

    /// Whether what is staged cannot be written for now: the disk is full, or the journal's own bound is met.
    pub fn is_stuck(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.shared().stuck().is_some())
    }

    fn commit_to(
        log: &mut Option<persistence::Journal>,
        in_turn: bool,
        entry: &Entry<'_>,
    ) -> Result<Position, Refused> {
        let Some(log) = log else { return Ok(AT_ONCE) };
        let len = entry.body_len();
        let fits = in_turn && log.free() >= log.capacity() / JOURNAL_RESERVE_SHARE + len as u64;
        if !fits {
            return Err(if log.fenced().is_some() { Refused::Fenced } else { Refused::Full });
        }
        log.append(entry.kind(), len, |body| entry.write(body))
    }

    /// Whether entries whose bodies come to `bytes` could be committed now.
    pub fn takes(&self, bytes: usize) -> bool {
        self.log.as_ref().is_none_or(|log| {
            log.fenced().is_none()
                && log.shared().stuck().is_none()
                && self.later.is_empty()
                && log.free() >= log.capacity() / JOURNAL_RESERVE_SHARE + bytes as u64 + JOURNAL_NOTE_BYTES
        })
    }

    /// Whether the reserve has room for the notes of a packet.
    pub fn notes_fit(&self) -> bool {
        self.log
            .as_ref()
            .is_none_or(|log| log.fenced().is_some() || (self.later.is_empty() && log.free() >= JOURNAL_NOTE_BYTES))
    }

    /// Writes a note that something waits for. `None`: there is no room now, or never again.
    pub fn note_awaited(&mut self, entry: &Entry<'_>) -> Option<Position> {
        let Some(log) = &mut self.log else { return Some(AT_ONCE) };
        if !self.later.is_empty() {
            return None;
        }
        log.append(entry.kind(), entry.body_len(), |body| entry.write(body)).ok()
    }

    /// Writes a note that nothing waits for, now or when there is room.
    pub fn note(&mut self, entry: &Entry<'_>) {
        if self.log.is_none() || self.note_awaited(entry).is_some() || self.is_fenced() {
            return;
        }
        let mut body = vec![0; entry.body_len()];
        entry.write(&mut body);
        self.later.push_back((entry.kind(), body));
    }

    /// Writes that a session has ended. Its client is not told that there is none before that holds.
    pub fn note_end(&mut self, uid: u64, client_hash: u64) {
        self.note(&Entry::SessionEnded { uid });
        let ticket = if self.later.is_empty() { self.tail() } else { UNWRITTEN };
        if self.is_on() && !self.is_fenced() && !self.holds(ticket) {
            self.ended.push(client_hash, ticket);
        }
    }

    /// Whether a session of this client has ended, and a crash now would bring it back.
    pub fn may_bring_back(&self, client_hash: u64) -> bool {
        self.ended.contains(client_hash)
    }

    /// Forgets the ends of sessions that hold.
    pub(crate) fn settle_ended(&mut self) {
        let durable = self.log.as_ref().map_or(AT_ONCE, persistence::Journal::durable);
        self.ended.settle(|ticket| ticket <= durable);
    }

    /// Writes notes that found no room before.
    pub(crate) fn write_later(&mut self) {
        let Some(log) = &mut self.log else { return };
        if log.fenced().is_some() {
            self.ended = Ended::default();
            return self.later.clear();
        }
        while let Some((kind, body)) = self.later.front() {
            if log.append(*kind, body.len(), |out| out.copy_from_slice(body)).is_err() {
                return;
            }
            self.later.pop_front();
        }
        self.ended.written(log.tail());
    }

    /// Notes that wait for room.
    pub fn notes_waiting(&self) -> usize {
        self.later.len()
    }

    /// Lets something wait for a ticket. Tickets become durable in their order; one that is older than what waits already
    /// (a message was owed, and on its way out its packet identifier was written) waits behind that.
    pub fn wait(&mut self, ticket: Position, waiter: Waiter) {
        self.waits.push_back((ticket, waiter));
    }

    /// How many things wait for tickets.
    pub fn waiting(&self) -> usize {
        self.waits.len()
    }

    pub(crate) fn next_kept(&mut self) -> Option<Waiter> {
        let (ticket, _) = self.waits.front()?;
        if !self.holds(*ticket) {
            return None;
        }
        self.waits.pop_front().map(|(_, waiter)| waiter)
    }

    /// Takes away what waits and need not: publishes, which can be refused, and who comes back to a session.
    pub(crate) fn take_refusable(&mut self) -> Vec<Waiter> {
        let refusable = |waiter: &Waiter| match waiter {
            Waiter::Publish(_) | Waiter::Incoming(_) => true,
            Waiter::Admitted(admitted) => admitted.resumes(),
            _ => false,
        };
        let (refused, rest) = self.waits.drain(..).partition::<Vec<_>, _>(|(_, waiter)| refusable(waiter));
        self.waits.extend(rest);
        refused.into_iter().map(|(_, waiter)| waiter).collect()
    }

    pub(crate) fn next_lost(&mut self) -> Option<Waiter> {
        self.waits.pop_front().map(|(_, waiter)| waiter)
    }

    /// Shows the keeper what was written; once at the end of a turn.
    #[inline]
    pub fn show(&mut self) {
        if let Some(log) = &mut self.log {
            log.show();
        }
    }

    /// Whether everything that was written is on disk, or never will be.
    pub fn is_at_rest(&self) -> bool {
        self.log
            .as_ref()
            .is_none_or(|log| log.fenced().is_some() || (self.later.is_empty() && log.synced() >= log.tail()))
    }
}

/// The wall clock, as far as entries need it: it goes with the shard's clock from where it stood at the start, so that
/// a clock that is set while the program runs moves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallClock {
    /// Milliseconds since 1970 at [`Instant::ZERO`].
    pub origin_ms: u64,
}

impl WallClock {
    /// Milliseconds since 1970.
    pub fn ms(self, at: Instant) -> u64 {
        self.origin_ms + at.as_millis()
    }

    /// A frame as an entry keeps it: with times of the wall clock.
    pub fn kept<'a>(self, frame: &Frame<'a>) -> Frame<'a> {
        let of = |nanos: u64| match nanos {
            u64::MAX => u64::MAX,
            nanos => self.origin_ms + nanos.div_ceil(1_000_000),
        };
        let header =
            FrameHeader { arrived: of(frame.header.arrived), expires: of(frame.header.expires), ..frame.header };
        Frame { header, ..*frame }
    }

    /// The inverse of [`WallClock::kept`] on another start. A clock that was set back lets nothing live longer than it
    /// was meant to: what is left is at most the whole time.
    pub fn current<'a>(self, frame: &Frame<'a>, now: Instant) -> Frame<'a> {
        let FrameHeader { arrived, expires, .. } = frame.header;
        let expires = match expires {
            u64::MAX => u64::MAX,
            expires => {
                let left = expires.saturating_sub(self.ms(now)).min(expires.saturating_sub(arrived));
                now.after(Duration::from_millis(left)).as_nanos()
            }
        };
        Frame { header: FrameHeader { arrived: now.as_nanos(), expires, ..frame.header }, ..*frame }
    }

    /// How much is left of `whole` that began at `since_ms`.
    pub fn left(self, whole: Duration, since_ms: u64, now: Instant) -> Duration {
        let gone = Duration::from_millis(self.ms(now).saturating_sub(since_ms));
        whole.saturating_sub(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use persistence::Durability;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    /// Times go through the wall clock from one start to the next; one that was set back lengthens nothing.
    #[test]
    fn times_survive_a_start() {
        let before = WallClock { origin_ms: 1_000_000 };
        let header =
            FrameHeader { arrived: at(500).as_nanos(), expires: at(2_500).as_nanos(), ..FrameHeader::default() };
        let frame = Frame { header, topic: "t", properties: &[], payload: &[] };
        let kept = before.kept(&frame);
        assert_eq!((kept.header.arrived, kept.header.expires), (1_000_500, 1_002_500));
        let of = |origin_ms| WallClock { origin_ms }.current(&kept, at(10)).header.expires;
        assert_eq!(of(1_001_490), at(1_010).as_nanos());
        assert_eq!(of(1_005_000), at(10).as_nanos());
        assert_eq!(of(0), at(2_010).as_nanos());
        assert_eq!(before.left(Duration::from_secs(2), 1_000_500, at(1_000)), Duration::from_millis(1_500));
    }

    /// Commits leave the reserve to notes; notes that find no room wait, and nothing overtakes them.
    #[test]
    fn notes_have_a_reserve() {
        let (log, mut reader, _) = persistence::Journal::detached(64 << 10, Durability::Fsync);
        let mut journal = Journal::new(Some(log), WallClock::default(), 1, 16);
        let topic = "t".repeat(1000);
        let large = Entry::RetainedCleared { topic: &topic };
        while journal.commit(&large).is_ok() {}
        assert!(journal.notes_fit());
        let mut awaited = 0;
        while journal.notes_fit() {
            assert!(journal.note_awaited(&Entry::Done { uid: 1, packet_id: 1 }).is_some());
            awaited += 1;
        }
        assert!(awaited > 100, "{awaited}");
        while journal.notes_waiting() == 0 {
            journal.note(&Entry::SessionEnded { uid: 7 });
        }
        assert_eq!(journal.note_awaited(&Entry::Done { uid: 1, packet_id: 1 }), None);
        assert_eq!(journal.commit(&large), Err(Refused::Full));
        assert!(!journal.takes(0) && !journal.is_at_rest());
        journal.show();
        reader.sync(reader.staged());
        journal.write_later();
        assert_eq!(journal.notes_waiting(), 0);
        assert!(journal.commit(&large).is_ok());
        journal.show();
        reader.sync(reader.staged());
        assert!(journal.is_at_rest());
    }
}
