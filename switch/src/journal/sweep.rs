//! Compaction: all that is live is written once more, in slices; then nothing before is needed.
//!
//! What changes meanwhile is written as ever. Sessions and messages that are newer than the beginning of a sweep stand
//! behind it already and are left out; but that an older session is owed a newer message is said again, as its first
//! saying may stand before the session. An entry that is written again tells how things are then; what becomes of it
//! after follows it.

use persistence::{Journal as Log, Position, Refused};
use shard::{Effects, Instant};
use wire::entry::{Entry, Stage, Uids};

use super::wait::Own;
use super::{Journal, entries};
use crate::frames;
use crate::limits::{
    JOURNAL_SWEEP_BYTES_PER_TURN, JOURNAL_SWEEP_LOOKS_PER_TURN, JOURNAL_SWEEP_PACE, JOURNAL_SWEEP_PASSES,
    RETAINED_SLICE,
};
use crate::planted::{Fault, planted};
use crate::session::{Incoming, Session, SessionId};
use crate::switch::{Switch, TimerKind, timer_word};

/// When a log is compacted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compaction {
    /// When it is so many times as large as what is live in it.
    pub ratio: u32,
    /// A log of fewer bytes is not.
    pub least_bytes: u64,
    /// A log of more bytes always is, if that can free half of it; 0: no such bound.
    pub most_bytes: u64,
}

/// When to compact, and how far that has come.
#[derive(Default)]
pub struct Sweeper {
    at: Option<Sweep>,
    /// When to begin.
    pub when: Compaction,
    /// What was live, in bytes of the log, when that was last known.
    pub live_bytes: u64,
    /// How often the log was compacted.
    pub count: u64,
    /// Turns that went by without a slice, since they had messages to send.
    passed: u32,
    pace: Pace,
}

/// When the next slice is due.
#[derive(Default)]
struct Pace {
    due: Instant,
    /// The end of the log when the last slice was written.
    tail: u64,
}

impl Pace {
    /// Whether it is: time has passed, or what came behind the last slice is as much as that was, so that a log that grows
    /// fast is compacted as fast.
    fn is_due(&self, now: Instant, tail: u64) -> bool {
        self.due <= now || tail - self.tail >= JOURNAL_SWEEP_BYTES_PER_TURN
    }

    /// A slice was written. One that was late is made up for, but no more than that one.
    fn next(&self, now: Instant, tail: u64) -> Pace {
        Pace { due: self.due.after(JOURNAL_SWEEP_PACE).clamp(now, now.after(JOURNAL_SWEEP_PACE)), tail }
    }
}

/// A sweep under way.
struct Sweep {
    /// Where it began: nothing before is needed when it is complete.
    cut: Position,
    /// Sessions and messages from these numbers on stand behind the cut.
    first_uid: u64,
    first_message: u64,
    part: Part,
    bytes: u64,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Part {
    Bodies(u32),
    /// A row, and what comes next of the session there.
    Sessions(u32, Next),
    Own(usize),
    Marks(u64),
    Retained(u32),
    End,
}

/// What comes next of a session.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// What there is one of.
    Head,
    /// The counts of packet identifiers, from this one on.
    Counts(u32),
    /// So many of the identifiers that are taken, the last of them first: what is taken away meanwhile moves others to
    /// the front alone, and what comes meanwhile is in the log.
    Inbound(usize),
    /// So many of its subscriptions, likewise.
    Subscriptions(usize),
    /// What it is owed behind this message.
    Owed(u64),
}

/// Counts that are written in one go.
const COUNTS_SLICE: usize = 256;

impl Sweeper {
    /// Whether a sweep is under way.
    pub fn is_active(&self) -> bool {
        self.at.is_some()
    }

    /// Whether a log of so many bytes is longer than it may become.
    fn is_late(&self, span: u64) -> bool {
        self.when.most_bytes > 0 && span > self.when.most_bytes
    }

    /// Whether a log of so many bytes is to be compacted.
    fn is_due(&self, span: u64) -> bool {
        let Compaction { ratio, least_bytes, .. } = self.when;
        span > least_bytes.max(u64::from(ratio) * self.live_bytes) || self.is_late(span) && span > 2 * self.live_bytes
    }
}

impl Switch {
    /// Goes on with compaction, or begins it if the log has grown enough.
    pub(crate) fn sweep(&mut self, fx: &mut Effects) {
        let Some(log) = self.journal.log() else { return };
        if !self.journal.sweeper.is_active() {
            // What it leaves behind may be given up, and messages may lie there still.
            if !has_room(log) || !self.store.is_settled() || !self.journal.sweeper.is_due(span(log)) {
                return;
            }
            let tail = log.tail();
            let (first_uid, first_message) = self.journal.next_numbers();
            // What was written for clients that are not accepted yet is not in memory.
            let cut = self.journal.admitting.iter().map(|(begun, _)| *begun).fold(tail, Position::min);
            let sweep = Sweep { cut, first_uid, first_message, part: Part::Bodies(0), bytes: 0 };
            if self.journal.commit_again(&Entry::Sweep { end: false }).is_err() {
                return;
            }
            self.journal.sweeper.at = Some(sweep);
        }
        if !self.sweep_waits() {
            return;
        }
        // Who is sent a message in this turn does not wait for a slice first.
        let sweeper = &mut self.journal.sweeper;
        if !self.flush.is_empty() && sweeper.passed < JOURNAL_SWEEP_PASSES {
            sweeper.passed += 1;
            return;
        }
        sweeper.passed = 0;
        self.sweep_on();
        if self.journal.sweeper.is_active() {
            let pace = self.journal.sweeper.pace.next(self.now, self.journal.tail().0);
            fx.timers.set(pace.due, timer_word(TimerKind::Sweep, 0, 0));
            self.journal.sweeper.pace = pace;
        }
    }

    /// Whether compaction could go on at once.
    pub(crate) fn sweep_waits(&self) -> bool {
        let sweeper = &self.journal.sweeper;
        let due = |log: &Log| sweeper.is_late(span(log)) || sweeper.pace.is_due(self.now, log.tail().0);
        sweeper.is_active() && self.journal.log().is_some_and(|log| has_room(log) && due(log))
    }

    fn sweep_on(&mut self) {
        let Some(mut sweep) = self.journal.sweeper.at.take() else { return };
        let begun = self.journal.tail().0;
        for _ in 0..JOURNAL_SWEEP_LOOKS_PER_TURN {
            if self.journal.tail().0 - begun >= JOURNAL_SWEEP_BYTES_PER_TURN {
                break;
            }
            let written = match sweep.part {
                Part::Bodies(index) => self.sweep_body(&mut sweep, index),
                Part::Sessions(row, next) => self.sweep_session(&mut sweep, row, next),
                Part::Own(key) => self.sweep_own(&mut sweep, key),
                Part::Marks(number) => self.sweep_mark(&mut sweep, number),
                Part::Retained(index) => self.sweep_retained(&mut sweep, index),
                Part::End => {
                    if self.journal.commit_again(&Entry::Sweep { end: true }).is_ok() {
                        return self.end_sweep(&sweep, begun);
                    }
                    break;
                }
            };
            match written {
                Ok(()) => {}
                Err(Refused::TooLarge) => {
                    // The ring is smaller than when this was written: the log grows for longer.
                    self.journal.sweeper.live_bytes = begun - sweep.cut.0;
                    return;
                }
                // It goes on when the disk has caught up. A fence ends all this.
                Err(_) => break,
            }
        }
        sweep.bytes += self.journal.tail().0 - begun;
        self.journal.sweeper.at = Some(sweep);
    }

    fn end_sweep(&mut self, sweep: &Sweep, begun: u64) {
        let tail = self.journal.tail().0;
        let sweeper = &mut self.journal.sweeper;
        sweeper.live_bytes = sweep.bytes + tail - begun;
        sweeper.count += 1;
        let cut = if planted(Fault::TrimmedTooFar) { Position(begun) } else { sweep.cut };
        if let Some(log) = self.journal.log_mut() {
            log.trim(cut);
        }
    }

    fn sweep_body(&mut self, sweep: &mut Sweep, index: u32) -> Result<(), Refused> {
        sweep.part = Part::Bodies(index + 1);
        match self.store.numbered(index) {
            None => sweep.part = Part::Sessions(0, Next::Head),
            Some((message, Some(frame))) if message < sweep.first_message => {
                let frame = self.journal.wall.kept(&frame);
                let written = self.journal.commit_again(&Entry::Body { message, frame });
                written.inspect_err(|_| sweep.part = Part::Bodies(index))?;
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn sweep_session(&mut self, sweep: &mut Sweep, row: u32, next: Next) -> Result<(), Refused> {
        sweep.part = Part::Sessions(row + 1, Next::Head);
        if row >= self.sessions.rows() {
            sweep.part = Part::Own(0);
            return Ok(());
        }
        let Some(id) = self.sessions.in_row(row) else { return Ok(()) };
        let Some(kept) = &self.sessions.at(id).kept else { return Ok(()) };
        let uid = kept.uid;
        if uid >= sweep.first_uid {
            return Ok(());
        }
        let (next, written) = match next {
            Next::Owed(after) => match self.sweep_owed(id, uid, after) {
                Ok(None) => return Ok(()),
                Ok(Some(message)) => (Next::Owed(message), Ok(())),
                Err((message, refused)) => (Next::Owed(message), Err(refused)),
            },
            of_its_own => self.sweep_own_entries(id, uid, of_its_own),
        };
        sweep.part = Part::Sessions(row, next);
        written
    }

    /// A slice of a session's own entries, which may be more than the ring takes. They only say again what is. Where to
    /// go on.
    fn sweep_own_entries(&mut self, id: SessionId, uid: u64, next: Next) -> (Next, Result<(), Refused>) {
        let Switch { sessions, journal, filters, .. } = self;
        let session = sessions.at(id);
        let incoming = session.incoming.as_deref();
        match next {
            Next::Head => match sweep_head(journal, session, uid) {
                Ok(()) => (Next::Counts(0), Ok(())),
                refused => (Next::Head, refused),
            },
            Next::Counts(from) => {
                let counts = &session.kept.as_ref().expect("it is kept").counts;
                let mut ids: Vec<u16> = counts.keys().copied().filter(|id| u32::from(*id) >= from).collect();
                let rest = ids.len() > COUNTS_SLICE;
                if rest {
                    ids.select_nth_unstable(COUNTS_SLICE);
                    ids.truncate(COUNTS_SLICE);
                }
                ids.sort_unstable();
                for packet_id in &ids {
                    let entry = Entry::Released { uid, packet_id: *packet_id, count: counts[packet_id] };
                    if let Err(refused) = journal.commit_again(&entry) {
                        return (Next::Counts((*packet_id).into()), Err(refused));
                    }
                }
                match ids.last().filter(|_| rest) {
                    Some(last) => (Next::Counts(u32::from(*last) + 1), Ok(())),
                    None => (Next::Inbound(incoming.map_or(0, Incoming::taken)), Ok(())),
                }
            }
            Next::Inbound(left) => match incoming.and_then(|incoming| incoming.last_of(left)) {
                None => (Next::Subscriptions(session.subscriptions.len()), Ok(())),
                Some((left, packet_id)) => {
                    // Of one that is not written its outcome will tell.
                    let Some(id) = packet_id else { return (Next::Inbound(left), Ok(())) };
                    let written = journal.commit_again(&Entry::Inbound { uid, packet_id: id.get() });
                    (Next::Inbound(left + usize::from(written.is_err())), written.map(drop))
                }
            },
            Next::Subscriptions(left) => match session.subscriptions.iter().take(left).enumerate().next_back() {
                None => (Next::Owed(0), Ok(())),
                Some((at, subscription)) => {
                    let written = journal.commit_again(&entries::subscription(filters, uid, subscription));
                    (Next::Subscriptions(at + usize::from(written.is_err())), written.map(drop))
                }
            },
            Next::Owed(_) => (next, Ok(())),
        }
    }

    /// What a session is owed behind a message, a slice of it. Where to go on, if anywhere.
    ///
    /// Messages that came since the beginning of the sweep, too: a start that begins there has not met the session yet
    /// when it reads that it is owed them. Their bodies it keeps until the sweep ends.
    fn sweep_owed(&mut self, id: SessionId, uid: u64, after: u64) -> Result<Option<u64>, (u64, Refused)> {
        let Switch { sessions, journal, store, .. } = self;
        let Some(outgoing) = &sessions.at(id).outgoing else { return Ok(None) };
        let begun = journal.tail().0;
        let mut last = after;
        let mut identifiers = std::mem::take(&mut journal.identifiers);
        let flights = outgoing.in_flight();
        let from = flights.partition_point(|flight| flight.message <= after);
        let flying = flights
            .range(from..)
            .map(|flight| (flight.message, flight.owed.as_ref(), entries::stage_of(flight), flight.packet_id.get()));
        let waiting = outgoing.waiting();
        let from = waiting.partition_point(|owed| store.number(owed.message) <= after);
        let waiting = waiting.range(from..).map(|owed| (store.number(owed.message), Some(owed), Stage::Waiting, 0));
        let mut outcome = Ok(None);
        for (message, owed, stage, packet_id) in flying.chain(waiting) {
            if message == 0 {
                continue;
            }
            if message != last && journal.tail().0 - begun >= JOURNAL_SWEEP_BYTES_PER_TURN {
                outcome = Ok(Some(last));
                break;
            }
            let owner = match owed {
                Some(owed) => entries::owner(uid, owed, &mut identifiers),
                None => entries::released_owner(uid),
            };
            if let Err(refused) = journal.commit_again(&Entry::Owing { message, owner, stage, packet_id }) {
                outcome = Err((last, refused));
                break;
            }
            last = message;
        }
        journal.identifiers = identifiers;
        outcome
    }

    fn sweep_own(&mut self, sweep: &mut Sweep, key: usize) -> Result<(), Refused> {
        let next = self.journal.own.iter().map(|(key, _)| key).find(|at| *at >= key);
        let Some(at) = next else {
            sweep.part = Part::Marks(0);
            return Ok(());
        };
        sweep.part = Part::Own(at);
        let own = self.journal.own.remove(at);
        let written = match &own {
            Own::Will { uid, number, will, client_hash } => {
                self.journal.commit_again(&will.entry(*uid, *number, *client_hash)).map(drop)
            }
            Own::Handing { message, group, frame } => {
                let frame = self.journal.wall.kept(&frames::read(frame));
                let body = self.journal.commit_again(&Entry::Body { message: *message, frame });
                body.and_then(|_| self.journal.commit_again(&Entry::Handing { message: *message, group: *group }))
                    .map(drop)
            }
        };
        let again = self.journal.own.insert(own);
        assert_eq!(again, at, "a slab gives the place that was freed last");
        written?;
        sweep.part = Part::Own(at + 1);
        Ok(())
    }

    fn sweep_mark(&mut self, sweep: &mut Sweep, number: u64) -> Result<(), Refused> {
        match self.journal.marks.next(number) {
            None => {
                // There are a few of them after a start with other shards, and soon none.
                let Journal { marks, log, .. } = &mut self.journal;
                let mut bytes = Vec::new();
                for (mark, uids) in marks.partly() {
                    bytes.clear();
                    uids.iter().for_each(|uid| Uids::push(&mut bytes, *uid));
                    Journal::commit_to(log, true, &Entry::Taken { mark: *mark, uids: Uids::new(&bytes) })?;
                }
                sweep.part = Part::Retained(0);
            }
            Some((number, mark)) => {
                if self.journal.marks.contains(&mark) {
                    self.journal.commit_again(&Entry::Marked(mark))?;
                }
                sweep.part = Part::Marks(number + 1);
            }
        }
        Ok(())
    }

    fn sweep_retained(&mut self, sweep: &mut Sweep, index: u32) -> Result<(), Refused> {
        let Switch { retained, journal, .. } = self;
        for at in index..index + RETAINED_SLICE as u32 {
            sweep.part = Part::Retained(at);
            if at >= retained.end() {
                sweep.part = Part::End;
                return Ok(());
            }
            if let Some(kept) = retained.at(at) {
                let frame = frames::read(kept.frame());
                if !frames::own(&frame) {
                    let frame = journal.wall.kept(&frame);
                    match journal.commit_again(&Entry::Retained { frame }) {
                        // It is in memory alone, of QoS 0 and counted as such: what was before it is not to come back.
                        Err(Refused::TooLarge) => {
                            journal.commit_again(&Entry::RetainedCleared { topic: frame.topic })?;
                        }
                        written => drop(written?),
                    }
                }
            }
            sweep.part = Part::Retained(at + 1);
        }
        Ok(())
    }
}

/// Bytes of a log, from what is needed on.
fn span(log: &Log) -> u64 {
    log.tail().0 - log.shared().trimmed().0
}

/// Whether a log takes slices of compaction: half of its ring is left to what happens meanwhile.
fn has_room(log: &Log) -> bool {
    log.free() >= log.capacity() / 2 && log.fenced().is_none()
}

/// What there is one of in each session.
fn sweep_head(journal: &mut Journal, session: &Session, uid: u64) -> Result<(), Refused> {
    // Of one whose client is about to be accepted the journal knows more than memory.
    if journal.admitting.iter().any(|(_, admitting)| *admitting == uid) {
        return Ok(());
    }
    journal.commit_again(&entries::session(session).expect("it is kept"))?;
    if let Some(access) = &session.access {
        journal.commit_again(&Entry::Owner { uid, identity: access.identity.stored() })?;
    }
    if let (Some(will), Some(kept)) = (&session.will, &session.kept) {
        journal.commit_again(&will.entry(uid, kept.connections, session.client_hash))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slice each 500 µs, however late turns come; one that was missed is made up for, a long time is not.
    #[test]
    fn slices_keep_their_pace() {
        let mut pace = Pace::default();
        let at = |half_ms: u32| Instant::ZERO.after(JOURNAL_SWEEP_PACE * half_ms);
        let mut slices = Vec::new();
        for half_ms in [10, 10, 10, 11, 12, 14, 14, 15] {
            slices.push(pace.is_due(at(half_ms), 0));
            if pace.is_due(at(half_ms), 0) {
                pace = pace.next(at(half_ms), 0);
            }
        }
        assert_eq!(slices, [true, true, false, true, true, true, true, true]);
    }

    /// A log that grows is compacted as fast as it grows, and that takes nothing from the time after.
    #[test]
    fn slices_keep_up_with_the_log() {
        let mut pace = Pace::default().next(Instant::ZERO, 0);
        for tail in 1..100 {
            let tail = tail * JOURNAL_SWEEP_BYTES_PER_TURN;
            assert!(!pace.is_due(Instant::ZERO, tail - 1) && pace.is_due(Instant::ZERO, tail));
            pace = pace.next(Instant::ZERO, tail);
        }
        assert!(pace.is_due(Instant::ZERO.after(JOURNAL_SWEEP_PACE), pace.tail));
    }
}
