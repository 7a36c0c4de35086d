//! Where the journals of a node lie: for each shard a staging ring, and a keeper that takes what is staged to a disk.
//! Of a disk only what survives a crash is simulated: a log of bytes, of which a part is stable, and a part may be.
//!
//! ```text
//!   appended ──▶ staged ──▶ written ──▶ stable
//!      └── kill -9 keeps all of it ──────┘      (durability `memory`: as a power loss)
//!                    a power loss keeps a prefix of what was written, and what is stable
//! ```

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use persistence::{Durability, Fence, Journal, Position, RecordHeader, Trouble};
use shard::Instant;
use switch::journal::rehome;
use switch::journal::state::State;
use wire::entry::Entry;

/// How the disk of a node is.
#[derive(Clone, Copy, Debug)]
pub struct DiskPlan {
    /// Bytes of each staging ring.
    pub ring: u64,
    /// When something counts as durable.
    pub durability: Durability,
    /// A log of fewer bytes is not compacted.
    pub least_bytes: u64,
    /// A log of more bytes is; 0: no such bound.
    pub most_bytes: u64,
    /// A sync takes so many microseconds at most, mostly.
    pub sync_micros: u32,
    /// How often a sync takes hundreds of milliseconds: in 65,536 syncs.
    pub slow: u16,
    /// How often a sync fails: in 65,536 syncs.
    pub fails: u16,
    /// How often what was trimmed stays for a while: in 256 syncs.
    pub keeps: u8,
}

/// What ends a node without a goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process ends; memory that it shares with the kernel stays.
    Killed,
    /// Nothing stays but what is on the disk.
    PowerLoss,
}

/// The log of one epoch: records from a position on.
#[derive(Default)]
struct Log {
    from: u64,
    bytes: Vec<u8>,
}

/// What is written and not synced.
struct Batch {
    to: Position,
    /// What was not needed any more when it was taken.
    cut: Position,
    bytes: Vec<u8>,
}

enum Keeper {
    Sleeping,
    /// It takes what is staged at this time.
    Waking(Instant),
    /// It is told at this time that the batch is synced.
    Syncing(Instant, Batch),
    /// It was told that it is not.
    Failed(Batch),
}

/// The journal of one shard, at the end that is not the shard's.
pub struct Disk {
    plan: DiskPlan,
    reader: persistence::staging::Reader,
    shared: Arc<persistence::Shared>,
    keeper: Keeper,
    /// The logs of earlier epochs, and that of this one.
    logs: Vec<Log>,
}

impl Disk {
    /// A disk with what was there before this start, if there was one, and the shard's end.
    pub fn new(plan: DiskPlan, before: Option<Stand>) -> (Journal, Disk) {
        let (journal, reader, shared) = Journal::detached(plan.ring, plan.durability);
        let mut logs = before.map_or(Vec::new(), |stand| stand.0);
        logs.push(Log::default());
        (journal, Disk { plan, reader, shared, keeper: Keeper::Sleeping, logs })
    }

    /// It is not unkind any more.
    pub fn be_kind(&mut self) {
        (self.plan.slow, self.plan.fails) = (0, 0);
    }

    /// Whether its journal takes nothing more.
    pub fn is_fenced(&self) -> bool {
        self.shared.fenced().is_some()
    }

    /// When something happens here; `None`: not before the shard writes something.
    pub fn due(&self) -> Option<Instant> {
        match self.keeper {
            Keeper::Sleeping if self.has_work() => Some(Instant::ZERO),
            Keeper::Waking(at) | Keeper::Syncing(at, _) => Some(at),
            Keeper::Sleeping | Keeper::Failed(_) => None,
        }
    }

    fn has_work(&self) -> bool {
        self.reader.staged() > self.reader.synced()
    }

    /// The keeper does what is due. Whether the shard is to be woken.
    pub fn turn(&mut self, now: Instant, rng: &mut Rng) -> bool {
        match std::mem::replace(&mut self.keeper, Keeper::Sleeping) {
            Keeper::Sleeping if self.has_work() => {
                let micros = rng.u32(..=self.plan.sync_micros / 4);
                self.keeper = Keeper::Waking(now.after(Duration::from_micros(micros.into())));
            }
            Keeper::Waking(at) if at <= now => {
                let cut = self.shared.trimmed();
                let to = self.reader.staged();
                let mut bytes = Vec::new();
                self.reader.copy(self.reader.synced(), to, &mut bytes).expect("no page is gone");
                let mut micros = rng.u32(..=self.plan.sync_micros);
                if rng.u16(..) < self.plan.slow {
                    micros += rng.u32(100_000..600_000);
                }
                let at = now.after(Duration::from_micros(micros.into()));
                self.keeper = Keeper::Syncing(at, Batch { to, cut, bytes });
            }
            Keeper::Syncing(at, batch) if at <= now => {
                if self.plan.fails > 0 && rng.u16(..) < self.plan.fails {
                    self.shared.fence(Fence { trouble: Trouble::Sync, segment: None, errno: libc::EIO });
                    self.keeper = Keeper::Failed(batch);
                } else {
                    self.synced(batch, rng);
                }
                return true;
            }
            other => self.keeper = other,
        }
        false
    }

    fn synced(&mut self, batch: Batch, rng: &mut Rng) {
        let log = self.logs.last_mut().expect("that of this epoch");
        log.bytes.extend_from_slice(&batch.bytes);
        self.reader.sync(batch.to);
        if batch.cut.0 > log.from && rng.u8(..) >= self.plan.keeps {
            log.bytes.drain(..(batch.cut.0 - log.from) as usize);
            log.from = batch.cut.0;
            let epochs = self.logs.len() - 1;
            self.logs.drain(..epochs);
        }
    }

    /// What is left of it after a crash.
    pub fn survives(mut self, crash: Crash, rng: &mut Rng) -> Stand {
        let log = self.logs.last_mut().expect("that of this epoch");
        if crash == Crash::Killed && self.plan.durability != Durability::Memory {
            self.reader.copy(self.reader.synced(), self.reader.staged(), &mut log.bytes).expect("no page is gone");
        } else if let Keeper::Syncing(_, batch) | Keeper::Failed(batch) = &self.keeper {
            // All of it, nothing, or something in between, torn where it may be.
            let count = match rng.u8(..4) {
                0 => batch.bytes.len(),
                1 => 0,
                _ => rng.usize(..=batch.bytes.len()),
            };
            log.bytes.extend_from_slice(&batch.bytes[..count]);
        }
        let whole = log.whole();
        log.bytes.truncate(whole);
        Stand(self.logs)
    }
}

/// What recovery finds of one journal.
pub struct Stand(Vec<Log>);

impl Stand {
    /// What was live when the last record was written.
    pub fn state(&self) -> State {
        let mut state = State::default();
        self.entries().for_each(|entry| state.apply(&entry));
        state.complete();
        state
    }

    /// All entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let records = self.0.iter().flat_map(Log::records);
        let records = records.filter(|(kind, _)| *kind != persistence::layout::KIND_FILLER);
        records.map(|(kind, body)| Entry::read(kind, body).expect("an entry that was written can be read"))
    }

    /// A log that comes to this state: what re-homing leaves.
    pub fn rehomed(state: &State) -> Stand {
        let mut log = Log::default();
        let Ok(()) = rehome::write(state, |entry| {
            log.append(entry);
            Ok::<(), Infallible>(())
        });
        Stand(vec![log])
    }
}

impl Log {
    fn append(&mut self, entry: &Entry<'_>) {
        let (at, length) = (self.bytes.len(), entry.body_len());
        self.bytes.resize(at + RecordHeader::record_bytes(length) as usize, 0);
        let (front, body) = self.bytes[at..].split_first_chunk_mut().expect("a record has a header");
        entry.write(&mut body[..length]);
        let (position, synced) = (Position(at as u64), Position(at as u64));
        let header = RecordHeader { length: length as u32, position, synced, epoch: 1, kind: entry.kind() };
        header.write(&body[..length], front);
    }

    fn records(&self) -> impl Iterator<Item = (u16, &[u8])> {
        let mut at = self.from;
        std::iter::from_fn(move || {
            let rest = self.bytes.get((at - self.from) as usize..)?;
            let (header, body) = RecordHeader::check(rest, Position(at))?;
            // The rest of the ring is in the log, too.
            at = header.end().0;
            Some((header.kind, body))
        })
    }

    /// Bytes of whole records.
    fn whole(&self) -> usize {
        let mut at = self.from;
        while let Some((header, _)) =
            self.bytes.get((at - self.from) as usize..).and_then(|rest| RecordHeader::check_all(rest, Position(at)))
        {
            at = header.end().0;
        }
        (at - self.from) as usize
    }
}
