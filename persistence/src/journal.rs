//! One shard's end of its journal: it appends, asks how far the log is durable, and says what is not needed any more.
//!
//! Appending is a store of header and body into mapped memory and a checksum over them: nothing blocks, nothing is
//! allocated, and the kernel is not asked. What was appended is shown to the keeper once a turn.

use std::sync::Arc;

use crate::header::Owner;
use crate::layout::{GRANULE, HEADER_BYTES, KIND_FILLER, Position, RecordHeader};
use crate::map::Region;
use crate::shared::{Bell, Fence, Shared, Trouble};
use crate::staging::{self, Reader, Staging, StagingHeader};

/// When a position counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When its segment is synced: it survives a power loss.
    Fsync,
    /// When it is staged: it survives the end of the process.
    Written,
    /// At once, and staging is ordinary memory: what is not synced yet does not survive the process.
    Memory,
}

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The ring is full: the disk is slower than what comes. Later there may be room.
    Full,
    /// The journal takes nothing more until a restart: [`Journal::fenced`] says why.
    Fenced,
    /// It is larger than any record may be.
    TooLarge,
}

/// One shard's end of its journal.
#[derive(Debug)]
pub struct Journal {
    staging: Staging,
    shared: Arc<Shared>,
    bell: Option<Arc<Bell>>,
    durability: Durability,
    body_bytes_max: usize,
    /// The tail when it was shown last.
    shown: Position,
}

impl Journal {
    /// A journal in ordinary memory and without files, for tests and the simulator: the shard's end, the keeper's, and
    /// the words that they share. `capacity` is a multiple of [`GRANULE`].
    pub fn detached(capacity: u64, durability: Durability) -> (Journal, Reader, Arc<Shared>) {
        let region = Region::anonymous((HEADER_BYTES + capacity) as usize).expect("memory for a ring");
        let owner = Owner { node: 0, generation: 0, shard: 0 };
        let header = StagingHeader { epoch: 1, owner, capacity, base: Position(0) };
        let shared = Arc::new(Shared::new(Position(0), Position(0)));
        let (journal, reader) = Journal::new(region, header, shared.clone(), durability, u64::MAX);
        (journal, reader, shared)
    }

    /// A journal whose log goes on at `header.base`, in this region.
    pub(crate) fn new(
        region: Region,
        header: StagingHeader,
        shared: Arc<Shared>,
        durability: Durability,
        segment_capacity: u64,
    ) -> (Journal, Reader) {
        let (staging, reader) = staging::ring(region, header, shared.clone());
        let body_bytes_max = body_bytes_max(header.capacity, segment_capacity);
        let shown = staging.tail();
        (Journal { staging, shared, bell: None, durability, body_bytes_max, shown }, reader)
    }

    /// From now on the keeper is woken when something was shown.
    pub fn set_bell(&mut self, bell: Arc<Bell>) {
        self.bell = Some(bell);
    }

    /// Appends a record with a body of `length` bytes, all of which `fill` writes. Where it ends is its ticket: it
    /// holds once [`Journal::durable`] is not before that. `kind` is not 0.
    #[inline]
    pub fn append(&mut self, kind: u16, length: usize, fill: impl FnOnce(&mut [u8])) -> Result<Position, Refused> {
        assert!(kind != KIND_FILLER, "the kind of fillers");
        if length > self.body_bytes_max {
            return Err(Refused::TooLarge);
        }
        if self.shared.fenced().is_some() {
            return Err(Refused::Fenced);
        }
        if !self.staging.place(kind, length, self.shared.synced(), fill) {
            return Err(Refused::Full);
        }
        // After the stores: only now is it known that they went somewhere.
        if self.staging.damaged() {
            self.fence_page();
            return Err(Refused::Fenced);
        }
        Ok(self.staging.tail())
    }

    /// Whether records with bodies of these sizes would all be taken now, one behind the other.
    pub fn room(&self, bodies: &[usize]) -> bool {
        self.shared.fenced().is_none()
            && bodies.iter().all(|&length| length <= self.body_bytes_max)
            && self.staging.room(bodies.iter().map(|&length| RecordHeader::record_bytes(length)))
    }

    /// Bytes of the ring that nothing lies in.
    pub fn free(&self) -> u64 {
        self.staging.free()
    }

    /// Bytes of the ring.
    pub fn capacity(&self) -> u64 {
        self.staging.capacity()
    }

    /// The largest body that a record can have.
    pub fn body_bytes_max(&self) -> usize {
        self.body_bytes_max
    }

    /// Up to where what was promised holds.
    #[inline]
    pub fn durable(&self) -> Position {
        match self.durability {
            Durability::Fsync => self.shared.synced(),
            Durability::Written | Durability::Memory => self.staging.tail(),
        }
    }

    /// When a position of this journal counts as durable.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// The end of the last record.
    #[inline]
    pub fn tail(&self) -> Position {
        self.staging.tail()
    }

    /// Up to where the log is on disk.
    #[inline]
    pub fn synced(&self) -> Position {
        self.shared.synced()
    }

    /// Shows the keeper what was appended: at the end of a turn. It costs a comparison if nothing was.
    #[inline]
    pub fn show(&mut self) {
        if self.shown != self.staging.tail() {
            self.show_tail();
        }
    }

    fn show_tail(&mut self) {
        if self.staging.damaged() {
            self.fence_page();
            return;
        }
        self.shown = self.staging.tail();
        self.staging.give();
        self.shared.stage(self.shown);
        self.ring();
    }

    /// Nothing before `cut`, which lies between what was trimmed and the tail, is needed any more.
    pub fn trim(&mut self, cut: Position) {
        assert!(self.shared.trimmed() <= cut && cut <= self.staging.tail(), "a cut outside of the log");
        // The keeper may not hear of a cut before it hears of what the cut relies on.
        self.show();
        self.shared.trim(cut);
        self.ring();
    }

    /// Why the journal takes nothing more, if so.
    #[inline]
    pub fn fenced(&self) -> Option<&Fence> {
        self.shared.fenced()
    }

    /// Bytes of its files on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.shared.disk_bytes()
    }

    /// The words that it shares with the keeper.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn ring(&self) {
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }

    #[cold]
    fn fence_page(&self) {
        self.shared.fence(Fence { trouble: Trouble::Page, segment: None, errno: 0 });
    }
}

/// The largest body for a ring and segments of these sizes: a record takes a quarter of the ring at most, so that a
/// record and the filler before it always fit, and some more while the keeper works.
fn body_bytes_max(capacity: u64, segment_capacity: u64) -> usize {
    let record_bytes = (capacity / 4).min(segment_capacity).min(u64::from(u32::MAX)) / GRANULE * GRANULE;
    (record_bytes - RecordHeader::BYTES as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use proptest::prelude::*;

    use super::*;

    /// A position is durable when the configuration says so, and the keeper hears of it at the end of the turn.
    #[test]
    fn a_ticket_holds_when_its_durability_says_so() {
        let (mut journal, mut reader, shared) = Journal::detached(1024, Durability::Fsync);
        let ticket = journal.append(1, 5, |body| body.copy_from_slice(b"hello")).expect("it fits");
        assert_eq!((ticket, journal.tail(), journal.durable()), (Position(64), Position(64), Position(0)));
        assert_eq!((reader.staged(), shared.staged()), (Position(0), Position(0)));
        journal.show();
        assert_eq!((reader.staged(), shared.staged()), (Position(64), Position(64)));
        reader.sync(Position(64));
        assert_eq!((journal.durable(), journal.free()), (Position(64), 1024));

        let (mut journal, _reader, _) = Journal::detached(1024, Durability::Written);
        let ticket = journal.append(1, 0, |_| ()).expect("it fits");
        assert_eq!((ticket, journal.durable()), (Position(32), Position(32)));
    }

    /// What cannot be taken is refused with its reason, and leaves no trace.
    #[test]
    fn what_cannot_be_taken_is_refused() {
        let (mut journal, mut reader, shared) = Journal::detached(1024, Durability::Fsync);
        assert_eq!(journal.body_bytes_max(), 256 - 32);
        assert_eq!(journal.append(1, 225, |_| panic!("no place")), Err(Refused::TooLarge));
        assert!(!journal.room(&[225]) && journal.room(&[224; 4]) && !journal.room(&[224, 224, 224, 224, 0]));
        for _ in 0..4 {
            journal.append(1, 224, |body| body.fill(1)).expect("it fits");
        }
        assert_eq!(journal.append(1, 0, |_| panic!("no place")), Err(Refused::Full));
        journal.show();
        reader.sync(Position(256));
        assert!(journal.room(&[224]));
        shared.fence(Fence { trouble: Trouble::Sync, segment: None, errno: 5 });
        assert_eq!(journal.append(1, 0, |_| panic!("no place")), Err(Refused::Fenced));
        assert!(!journal.room(&[0]));
        assert_eq!(journal.tail(), Position(1024));
    }

    /// The bell rings when something was shown, and only then.
    #[test]
    fn the_bell_rings_for_what_is_shown() {
        let (mut journal, _reader, _) = Journal::detached(1024, Durability::Fsync);
        let rung = Arc::new(AtomicU32::new(0));
        let count = rung.clone();
        let bell = Arc::new(Bell::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        journal.set_bell(bell.clone());
        bell.sleep();
        journal.show();
        assert_eq!(rung.load(Ordering::Relaxed), 0);
        journal.append(1, 0, |_| ()).expect("it fits");
        journal.show();
        assert_eq!(rung.load(Ordering::Relaxed), 1);
        bell.sleep();
        journal.trim(Position(32));
        assert_eq!(rung.load(Ordering::Relaxed), 2);
    }

    /// A ring whose file is cut while it is used fences its journal, for the shard and for the keeper.
    #[test]
    fn a_ring_that_loses_a_page_is_fenced() {
        let file = tempfile::tempfile_in("/dev/shm").expect("a file in tmpfs");
        let region = Region::allocated(&file, 3 * 4096).expect("it is mapped");
        let owner = Owner { node: 1, generation: 0, shard: 0 };
        let header = StagingHeader { epoch: 1, owner, capacity: 8192, base: Position(0) };
        let shared = Arc::new(Shared::new(Position(0), Position(0)));
        let (mut journal, reader) = Journal::new(region, header, shared, Durability::Written, 1 << 20);
        journal.append(1, 100, |body| body.fill(1)).expect("it fits");
        journal.show();
        file.set_len(0).expect("it is cut");
        let mut bytes = Vec::new();
        let fence = reader.copy(Position(0), Position(160), &mut bytes).expect_err("its page is gone");
        assert_eq!((fence.trouble, bytes.len()), (Trouble::Page, 0));
        assert_eq!(journal.append(1, 100, |_| ()), Err(Refused::Fenced));

        let file = tempfile::tempfile_in("/dev/shm").expect("a file in tmpfs");
        let region = Region::allocated(&file, 3 * 4096).expect("it is mapped");
        let shared = Arc::new(Shared::new(Position(0), Position(0)));
        let (mut journal, reader) = Journal::new(region, header, shared, Durability::Written, 1 << 20);
        file.set_len(0).expect("it is cut");
        assert_eq!(journal.append(1, 100, |body| body.fill(1)), Err(Refused::Fenced));
        journal.show();
        assert_eq!(reader.staged(), Position(0));
    }

    proptest! {
        /// Whatever is appended comes out at the keeper's end, in order, at its place; and `room` never says yes for
        /// nothing.
        #[test]
        fn everything_comes_out(lengths in prop::collection::vec((0_usize..=224, any::<bool>()), 1..200)) {
            let (mut journal, mut reader, _) = Journal::detached(1024, Durability::Fsync);
            let mut expected = Vec::new();
            let mut log = Vec::new();
            let mut drain = |reader: &mut Reader| {
                reader.copy(reader.synced(), reader.staged(), &mut log).expect("no page is gone");
                reader.sync(reader.staged());
            };
            for (index, &(length, turn)) in lengths.iter().enumerate() {
                let room = journal.room(&[length]);
                let mut outcome = journal.append(7, length, |body| body.fill(index as u8));
                prop_assert_eq!(room, outcome.is_ok());
                if outcome.is_err() {
                    journal.show();
                    drain(&mut reader);
                    outcome = journal.append(7, length, |body| body.fill(index as u8));
                }
                expected.push((vec![index as u8; length], outcome.expect("the ring is empty")));
                if turn {
                    journal.show();
                    drain(&mut reader);
                }
            }
            journal.show();
            drain(&mut reader);
            let mut found = Vec::new();
            let mut at = Position(0);
            while at < journal.tail() {
                let (header, body) = RecordHeader::check(&log[at.0 as usize..], at).expect("whole records");
                at = header.end();
                if header.kind != KIND_FILLER {
                    found.push((body.to_vec(), at));
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}
