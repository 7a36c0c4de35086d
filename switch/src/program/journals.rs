//! The journals of a node at a start: read, dealt anew if there are other shards, and handed to shards and keeper.
//!
//! ```text
//!   data directory ─▶ lock ─┬─────────────────────────────▶ recover each journal, a thread for each ─▶ Recovered ─▶ shards
//!                           └─ other shards: replay, deal, write ─┘                                 └▶ keeper
//! ```

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use persistence::keeper::{Begin, Doorbell, Keeper, KeeperError, KeeperHandle, KeeperOptions, plan};
use persistence::store::{Handover, Report, Seat, Source, Store, StoreError, StoreOptions};
use persistence::{Bell, Position};
use shard::config::CoreId;
use wire::entry::{Entry, EntryError};

use super::progress::{self, Progress};
use super::storage::Storage;
use crate::config::settings::{Durability, Journal};
use crate::journal::{rehome, state::State, sweep::Compaction};
use crate::limits::JOURNAL_SWEEP_LEAST_BYTES;
use crate::node::Recovered;
use crate::routing::place::Placement;

/// Why the journals cannot be used.
#[derive(Debug)]
pub enum JournalError {
    /// The data directory cannot be used.
    Store(StoreError),
    /// A record is whole and says nothing that this version knows.
    Entry {
        /// The shard.
        shard: u16,
        /// Where the record begins.
        position: Position,
        /// What is wrong with it.
        error: EntryError,
    },
    /// There is no keeper.
    Keeper(KeeperError),
}

/// The journals of a node, read.
pub struct Journals {
    /// The seed of placement, which goes with the data.
    pub seed: [u8; 16],
    /// For each shard what it goes on with.
    pub shards: Vec<Recovered>,
    /// What the reading came to, a line for each thing worth telling.
    pub told: Vec<String>,
    handovers: Vec<Handover>,
    shard_bytes_max: u64,
    sync_delay: Duration,
    /// Holds the lock of the data directory.
    store: Store,
}

impl Journals {
    /// Takes the data directory and reads everything in it.
    pub fn open(storage: &Storage, journal: &Journal, rules: &[String], shards: u16) -> Result<Journals, JournalError> {
        let shape = persistence::manifest::Shape { shards, rules: rules.to_vec() };
        let options = StoreOptions {
            data_dir: storage.data_dir.clone(),
            staging_dir: storage.staging_dir.clone(),
            staging_bytes: journal.staging_size,
            segment_bytes: journal.segment_size,
            durability: durability(journal.durability),
            threads: checkers(shards.into()),
            shape,
        };
        let mut store = Store::open(options)?;
        let mut told = Vec::new();
        if store.is_reshaped() {
            told.push(rehome_all(&mut store, &storage.data_dir, rules, shards)?);
        }
        let read = read_all(&store, &storage.data_dir, |seat, mut reading| {
            let (log, recovered) = seat.recover(|record, source| reading.take(&record, source))?;
            Ok((log, recovered, reading.complete()?))
        })?;
        let shard_bytes_max = storage.shard_bytes_max.unwrap_or(0);
        let (mut recovered, mut handovers) = (Vec::new(), Vec::new());
        for (shard, (log, found, state)) in read.into_iter().enumerate() {
            let persistence::store::Recovered { report, handover, sources } = found;
            told.extend(tell(shard, &report, &state));
            let compaction = Compaction {
                ratio: journal.compact_ratio,
                least_bytes: JOURNAL_SWEEP_LEAST_BYTES.max(2 * journal.segment_size),
                // It needs room for what is live, and a segment is freed as a whole.
                most_bytes: shard_bytes_max / 3,
            };
            recovered.push(Recovered { log, state, sources, epoch: store.epoch(), compaction });
            handovers.push(handover);
        }
        let sync_delay = journal.sync_delay;
        Ok(Journals { seed: store.seed(), shards: recovered, told, handovers, shard_bytes_max, sync_delay, store })
    }

    /// What the keeper begins with, apart from what the shards go on with.
    pub fn into_parts(self) -> (Vec<Recovered>, Keeping) {
        let Journals { shards, handovers, shard_bytes_max, sync_delay, store, told, .. } = self;
        (shards, Keeping { handovers, shard_bytes_max, sync_delay, store, told })
    }
}

/// Journals whose keeper has not started.
pub struct Keeping {
    handovers: Vec<Handover>,
    shard_bytes_max: u64,
    sync_delay: Duration,
    store: Store,
    /// What the reading came to.
    pub told: Vec<String>,
}

/// The keeper at work, and the lock of what it keeps.
pub struct Kept {
    keeper: KeeperHandle,
    _store: Store,
}

impl Keeping {
    /// Starts the keeper. `doorbells` wake the shards, in order.
    pub fn start(self, doorbells: Vec<Doorbell>, cores: &[CoreId]) -> Result<Kept, KeeperError> {
        let max_bytes = self.shard_bytes_max;
        let begins = self.handovers.into_iter().map(|handover| begin(handover, max_bytes));
        let options = KeeperOptions {
            cores: cores.iter().map(|core| core.0).collect(),
            retain: Some(self.store.retain_path()),
            sync_delay: self.sync_delay,
        };
        let keeper = Keeper::start(begins.zip(doorbells).collect(), options)?;
        Ok(Kept { keeper, _store: self.store })
    }
}

impl Kept {
    /// What a shard rings when it has written something.
    pub fn bell(&self, shard: usize) -> Arc<Bell> {
        self.keeper.bell(shard)
    }

    /// Brings to disk what is left, and ends. Whether it was through in time.
    pub fn stop(self, deadline: Duration) -> bool {
        self.keeper.stop(deadline)
    }
}

/// Deals everything to the shards that there are now.
fn rehome_all(store: &mut Store, data_dir: &Path, rules: &[String], shards: u16) -> Result<String, JournalError> {
    let before = store.shape().shards;
    let states = read_all(store, data_dir, |seat, mut reading| {
        let (_, sources) = seat.replay(|record, source| reading.take(&record, source))?;
        Ok((reading.complete()?, sources))
    })?;
    let (states, sources): (Vec<_>, Vec<_>) = states.into_iter().unzip();
    let placement = Placement::new(shards, store.seed(), rules).expect("checked rules make a placement");
    let dealt = rehome::deal(states, &placement, shards);
    let mut writers = store.rehome()?;
    for (state, writer) in dealt.iter().zip(&mut writers) {
        rehome::write(state, |entry| {
            writer.append(entry.kind(), entry.body_len(), |body| entry.write(body)).map(drop)
        })?;
    }
    sources.iter().flatten().try_for_each(Source::check)?;
    store.rehomed(writers)?;
    Ok(format!("the journals of {before} shards were dealt to {shards}"))
}

/// What the records of one journal come to.
struct Reading<'a> {
    shard: u16,
    state: State,
    error: Option<JournalError>,
    progress: &'a Progress,
}

impl Reading<'_> {
    fn take(&mut self, record: &persistence::recover::Entry<'_>, source: &Bytes) {
        self.progress.add(self.shard, record.end.0 - record.position.0);
        match Entry::read(record.kind, record.body) {
            Ok(entry) => self.state.apply_read(&entry, record.body, Some(source)),
            Err(error) => {
                let (shard, position) = (self.shard, record.position);
                self.error.get_or_insert(JournalError::Entry { shard, position, error });
            }
        }
    }

    fn complete(mut self) -> Result<State, JournalError> {
        self.state.complete();
        self.error.map_or(Ok(self.state), Err)
    }
}

/// Threads that read and check the segments of each of `journals` journals ahead: one waits for the disk while another
/// checks, and who goes through them keeps no more than a few busy.
fn checkers(journals: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 { 0 } else { (cores / journals).clamp(2, 4) }
}

/// Reads all journals by `work`, and says how far that is.
fn read_all<T: Send>(
    store: &Store,
    data_dir: &Path,
    work: impl Fn(Seat, Reading<'_>) -> Result<T, JournalError> + Sync,
) -> Result<Vec<T>, JournalError> {
    let shards = store.shape().shards;
    let bytes = store.segment_bytes()?;
    let progress = Progress::new(shards, bytes);
    let read = || {
        in_parallel(store.seats(), |seat| {
            let reading = Reading { shard: seat.shard(), state: State::default(), error: None, progress: &progress };
            work(seat, reading)
        })
    };
    if store.is_new() {
        return read();
    }
    progress::during(&progress::reading(shards, data_dir, bytes), &progress, read)
}

/// Runs `work` for each journal, at the same time: a start takes as long as its longest journal. The first one has this
/// thread, whose heap grows by more than a page at a time.
fn in_parallel<T: Send>(
    seats: Vec<Seat>,
    work: impl Fn(Seat) -> Result<T, JournalError> + Sync,
) -> Result<Vec<T>, JournalError> {
    thread::scope(|scope| {
        let work = &work;
        let mut seats = seats.into_iter();
        let first = seats.next();
        let threads: Vec<_> = seats.map(|seat| scope.spawn(move || work(seat))).collect();
        let first = first.map(work);
        let others = threads.into_iter().map(|thread| thread.join().expect("reading does not panic"));
        first.into_iter().chain(others).collect()
    })
}

fn begin(handover: Handover, max_bytes: u64) -> Begin {
    let files = plan::Files::from(&handover);
    let Handover { directory, owner, epoch, segment_bytes, staged, .. } = handover;
    let limits = plan::Limits { segment_bytes, max_bytes, batch_bytes: KEEPER_BATCH_BYTES };
    Begin { directory, owner, epoch, limits, files, staged }
}

/// Bytes of one write of the keeper.
const KEEPER_BATCH_BYTES: u64 = 1 << 20;

fn durability(chosen: Durability) -> persistence::Durability {
    match chosen {
        Durability::Fsync => persistence::Durability::Fsync,
        Durability::Written => persistence::Durability::Written,
        Durability::Memory => persistence::Durability::Memory,
    }
}

/// What is worth telling of a journal that was read.
fn tell(shard: usize, report: &Report, state: &State) -> Vec<String> {
    let mut told = Vec::new();
    if report.records > 0 {
        told.push(format!(
            "shard {shard}: {} records, {} bytes: {} sessions, {} messages, {} retained",
            report.records,
            report.bytes,
            state.sessions.len(),
            state.messages.len(),
            state.retained.len()
        ));
    }
    if let Some(torn) = report.torn {
        told.push(format!(
            "shard {shard}: {} bytes at offset {} of segment {} were written and not synced when the power went: cut",
            torn.bytes, torn.offset, torn.segment
        ));
    }
    if let Some(adopted) = report.adopted {
        told.push(format!(
            "shard {shard}: {} bytes that the last process may not have synced are in segment {} now",
            adopted.bytes, adopted.segment
        ));
    }
    told
}

impl From<StoreError> for JournalError {
    fn from(error: StoreError) -> JournalError {
        JournalError::Store(error)
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JournalError::Store(error) => error.fmt(f),
            JournalError::Entry { shard, position, error } => write!(
                f,
                "the journal of shard {shard} has, at position {}, {error}: start the version that wrote it",
                position.0
            ),
            JournalError::Keeper(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for JournalError {}
