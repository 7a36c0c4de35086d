//! A journal's files, written by the real writers and then damaged: what recovery makes of them, and whether those who
//! check, show and repair a directory make the same of it.
//!
//! The model knows what was appended, and it has the files as they were before they were damaged. It asks of the damaged
//! ones:
//!
//! - What is found was appended, comes in order, and is a front of what the whole files hold. Where a file is a stale copy
//!   of itself nobody can tell, so there only what was appended counts.
//! - A record that is as it was, and follows on what was found, is found, too.
//! - A start refuses nothing without cause, and nothing is left out of which the files say that it was synced.
//! - Checking, showing and starting agree; a repaired directory opens, with the front; a start finds what the one before
//!   it found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use persistence::checkpoint::Checkpoint;
use persistence::files::Files;
use persistence::files::sim::{SECTOR_BYTES, SimFiles};
use persistence::inspect;
use persistence::layout::{GRANULE, HEADER_BYTES};
use persistence::recover::staged::Staged;
use persistence::recover::{Damage, Fault};
use persistence::segment::{SegmentHeader, parse_segment_file_name};
use persistence::{Entry, Owner, Position, RecordHeader, Store, StoreError, StoreOptions};

use crate::node::{DATA, MEMORY, SEGMENT_BYTES, number_of, options};
use crate::script::Script;
use crate::world::{Step, World};

/// Steps before the damage, and damages, at most.
const STEPS_MAX: usize = 60;
const DAMAGES_MAX: usize = 4;
/// Bits that are flipped, at most: the checksum finds all that many in a record of any length.
const FLIPS_MAX: usize = 3;
/// The only shard's directory.
const SHARD: &str = "/data/generation-0/shard-0";

/// What a node does, then what becomes of its files.
pub fn damage(input: &[u8]) {
    let mut script = Script(input);
    let segments_max = [0, 4][script.below(2)];
    let batch_bytes = [1024, 16 << 10][script.below(2)];
    let mut world = World::new(script.below(256) as u64, (segments_max * (HEADER_BYTES + SEGMENT_BYTES), batch_bytes));
    let mut before = Vec::new();
    for _ in 0..STEPS_MAX {
        match script.below(16) {
            0..=4 => world.take(Step::Append(script.below(256) * 4)),
            5..=7 => world.take(Step::End(script.below(4))),
            8 => world.take(Step::Run),
            9 => world.take(Step::Trim(script.below(256) as u8)),
            10 => {
                let errno = [libc::ENOSPC, libc::EIO][script.below(2)];
                world.take(Step::Fail(script.below(4), script.below(3) as u64, errno));
            }
            11 => world.take(Step::Kill(script.below(12) as u64)),
            12 => world.take(Step::PowerFails(script.below(12) as u64)),
            13 => world.take(Step::KillStart(script.below(24) as u64)),
            14 => before.push(Image::of(&world.files)),
            _ => break,
        }
    }
    world.stop_after(script.below(12) as u64, script.below(2) == 1);
    let whole = Image::of(&world.files);
    let mut damaged = whole.clone();
    let stale = damaged.suffer(&mut script, &before);
    let case = Case { whole, damaged, stale, ever: world.ever.iter().copied().collect() };
    case.check();
}

/// All files, by their paths.
#[derive(Clone)]
struct Image(BTreeMap<PathBuf, Vec<u8>>);

impl Image {
    fn of(files: &SimFiles) -> Image {
        let mut found = BTreeMap::new();
        let mut directories = vec![PathBuf::from(DATA), PathBuf::from(MEMORY)];
        while let Some(directory) = directories.pop() {
            for entry in files.list(&directory).expect("it is there") {
                let path = directory.join(&entry.name);
                if entry.directory {
                    directories.push(path);
                } else if !["LOCK", "RETAIN"].contains(&&*entry.name) {
                    let bytes = files.bytes(&path).expect("it is read");
                    found.insert(path, bytes);
                }
            }
        }
        Image(found)
    }

    /// Files with these bytes.
    fn files(&self) -> SimFiles {
        let files = SimFiles::new(MEMORY);
        for directory in [Path::new(DATA), Path::new("/data/generation-0"), Path::new(SHARD)] {
            files.make_dir(directory).expect("it is made");
        }
        for (path, bytes) in &self.0 {
            if path.starts_with(MEMORY) {
                let above = path.parent().expect("it has one");
                if files.access(above).is_err() {
                    files.make_dir(above).expect("it is made");
                }
                if !bytes.is_empty() {
                    drop(files.stage(path, bytes.len()).expect("it is made"));
                    files.write_at(path, 0, bytes).expect("it is written");
                }
            } else {
                let mut file = files.create(path).expect("it is made");
                file.write_at(0, bytes).and_then(|()| file.sync()).expect("it is written");
            }
        }
        for directory in ["/", DATA, "/data/generation-0", SHARD] {
            files.sync_dir(Path::new(directory)).expect("it is synced");
        }
        files
    }

    /// Damages it. Whether something is as it was before.
    fn suffer(&mut self, script: &mut Script<'_>, before: &[Image]) -> bool {
        let (mut stale, mut flips) = (false, 0);
        for _ in 0..script.below(DAMAGES_MAX + 1) {
            let paths: Vec<PathBuf> = self.0.keys().cloned().collect();
            let Some(path) = paths.get(script.below(paths.len().max(1))) else { return stale };
            let what = script.below(6);
            let bytes = self.0.get_mut(path).expect("it is there");
            let place = script.place(bytes.len());
            let sector = place / SECTOR_BYTES * SECTOR_BYTES..(place / SECTOR_BYTES + 1) * SECTOR_BYTES;
            let sector = sector.start.min(bytes.len())..sector.end.min(bytes.len());
            let old = before.get(script.below(before.len().max(1))).and_then(|image| image.0.get(path));
            match (what, old) {
                (0, _) if flips < FLIPS_MAX && !bytes.is_empty() => {
                    bytes[place] ^= 1 << script.below(8);
                    flips += 1;
                }
                (1, _) => bytes[sector].fill(0),
                (2, _) => bytes.truncate(place),
                (3, _) => drop(self.0.remove(path)),
                (4, Some(old)) => {
                    bytes.clone_from(old);
                    stale = true;
                }
                (5, Some(old)) if old.len() >= sector.end => {
                    bytes[sector.clone()].copy_from_slice(&old[sector]);
                    stale = true;
                }
                _ => {}
            }
        }
        stale
    }

    /// Whether no journal was ever written.
    fn is_empty(&self) -> bool {
        !self.0.keys().any(|path| path.starts_with(SHARD))
    }

    /// Segments that are begun, by their numbers.
    fn segments(&self) -> impl Iterator<Item = (SegmentHeader, &[u8])> {
        self.0.iter().filter_map(|(path, bytes)| {
            let number = parse_segment_file_name(path.file_name()?.to_str()?)?;
            let header = SegmentHeader::read(bytes).ok().filter(|header| header.number == number)?;
            Some((header, &bytes[..]))
        })
    }

    fn cut(&self) -> Position {
        let bytes = self.0.get(&Path::new(SHARD).join("checkpoint"));
        let newest = bytes.and_then(|bytes| Checkpoint::newest(bytes, self.owner()?).ok()?);
        newest.map_or(Position(0), |newest| newest.cut)
    }

    /// Whose the segments are.
    fn owner(&self) -> Option<Owner> {
        self.segments().next().map(|(header, _)| header.owner)
    }

    /// The record at a position, where it lies in the segment that counts there: the segment, and the record's bytes.
    fn record(&self, position: Position) -> Option<(SegmentHeader, &[u8])> {
        let (header, bytes) = self.segments().filter(|(header, _)| header.base <= position).last()?;
        let record = records(&header, bytes).find(|record| record.position == position)?;
        let at = (HEADER_BYTES + position.0 - header.base.0) as usize;
        Some((header, &bytes[at..at + (record.end().0 - position.0) as usize]))
    }

    /// Up to where the files say that the log, which ends at `end`, is synced.
    fn proven(&self, end: Position) -> Position {
        let mut proven = self.cut();
        for (header, bytes) in self.segments() {
            proven = proven.max(header.base);
            if header.sealed {
                proven = proven.max(Position(header.base.0 + header.capacity));
            }
            let behind = records(&header, bytes).filter(|record| record.position >= end);
            proven = behind.map(|record| record.synced).fold(proven, Position::max);
        }
        // A file behind the last segment may be one whose header is damaged: it would begin where the log ends. Whose it is
        // makes no difference to what its records say.
        let last = self.segments().last().map_or(0, |(header, _)| header.number);
        let owner = self.owner().unwrap_or(Owner { node: 0, generation: 0, shard: 0 });
        for (path, bytes) in &self.0 {
            let name = path.file_name().and_then(|name| name.to_str());
            if name.and_then(parse_segment_file_name).is_some_and(|number| number > last) {
                let header =
                    SegmentHeader { epoch: u32::MAX, owner, number: last, base: end, capacity: 0, sealed: true };
                proven = records(&header, bytes).map(|record| record.synced).fold(proven, Position::max);
            }
        }
        let staging = self.0.iter().filter(|(path, _)| path.starts_with(MEMORY));
        let known = staging.filter_map(|(_, bytes)| {
            let staged = Staged::read(bytes, self.owner()?).ok().flatten()?;
            Some(staged.synced())
        });
        known.fold(proven, Position::max)
    }
}

/// The whole records of a segment, wherever they lie.
fn records<'a>(header: &SegmentHeader, bytes: &'a [u8]) -> impl Iterator<Item = RecordHeader> + 'a {
    let header = *header;
    let log = bytes.get(HEADER_BYTES as usize..).unwrap_or_default();
    (0..log.len()).step_by(GRANULE as usize).filter_map(move |at| {
        let (record, _) = RecordHeader::check(&log[at..], Position(header.base.0 + at as u64))?;
        let counts = record.epoch == header.epoch || header.sealed && record.epoch < header.epoch;
        let fits = record.end().0 - header.base.0 <= log.len() as u64;
        (counts && fits).then_some(record)
    })
}

/// A record that was found: where it begins and ends, and its number.
type Seen = (Position, Position, u32);

fn see(entry: &Entry<'_>) -> Seen {
    (entry.position, entry.end, number_of(entry.kind, entry.body))
}

/// What a start finds, and where its log ends.
fn start(files: &SimFiles) -> (Vec<Seen>, Result<Position, StoreError>) {
    let mut found = Vec::new();
    // Threads that read ahead make no difference here but time.
    let options = StoreOptions { threads: 0, ..options() };
    let started = Store::open_in(Arc::new(files.clone()), options).and_then(|store| {
        let (journal, _) = store.seats().remove(0).recover(|entry, _| found.push(see(&entry)))?;
        Ok(journal.tail())
    });
    (found, started)
}

fn dump(files: &SimFiles) -> (Vec<Seen>, Result<(), StoreError>) {
    let mut found = Vec::new();
    let dumped = inspect::dump_in(files, Path::new(DATA), |_, entry| found.push(see(&entry)));
    (found, dumped)
}

/// A journal before and after it was damaged.
struct Case {
    whole: Image,
    damaged: Image,
    stale: bool,
    /// Ends and numbers of all records that were ever appended.
    ever: std::collections::HashSet<(Position, u32)>,
}

impl Case {
    fn check(&self) {
        let (shown, dumped) = dump(&self.damaged.files());
        let files = self.damaged.files();
        let (found, started) = start(&files);
        self.check_found(&found);
        if let Ok(end) = started {
            let (again, started) = start(&files);
            assert_eq!((&again, started.expect("it was whole")), (&found, end), "the next start");
        }
        match inspect::verify_in(&self.damaged.files(), Path::new(DATA)) {
            Err(error) => {
                assert!(!matches!(error, StoreError::Damaged { .. }), "{error}");
                // Without a manifest, and with nothing in it, it is a new one.
                let new = matches!(error, StoreError::NoManifest(_)) && self.damaged.is_empty();
                assert!(dumped.is_err() && (new || started.is_err()), "{error}, and a start: {started:?}");
                let repaired = inspect::repair_in(&self.damaged.files(), Path::new(DATA), Path::new(MEMORY));
                assert!(repaired.is_err(), "{error}, and it was repaired: {repaired:?}");
            }
            Ok(inspection) => {
                let shard = &inspection.shards[0];
                match shard.damage {
                    Some(damage) => {
                        let is = |error: &StoreError| match error {
                            StoreError::Damaged { damage: found, .. } => *found == damage,
                            _ => false,
                        };
                        assert!(dumped.as_ref().is_err_and(is), "{damage}, and a dump: {dumped:?}");
                        // A staging ring of a later time ends a start before it has read anything.
                        match &started {
                            Err(StoreError::Ahead { .. }) => assert_eq!(found, []),
                            started => {
                                assert!(started.as_ref().is_err_and(is), "{damage}, and a start: {started:?}");
                                assert_eq!(found, shown);
                            }
                        }
                        self.check_damage(&damage);
                    }
                    None => {
                        dumped.expect("nothing is damaged");
                        // A manifest or a staging ring of another time ends a start before it has read anything.
                        let refused = started.is_err() && found.is_empty();
                        assert!(refused || found.starts_with(&shown), "{found:?}, and shown: {shown:?}");
                        let own = |error: &StoreError| !matches!(error, StoreError::Damaged { .. });
                        assert!(started.as_ref().err().is_none_or(own), "{started:?}");
                    }
                }
                if let Ok(end) = started {
                    self.check_end(end);
                }
                self.check_repair(shard.damage, &shown, started.is_ok());
            }
        }
    }

    /// What was found is a front of what was there.
    fn check_found(&self, found: &[Seen]) {
        for (_, end, number) in found {
            assert!(self.ever.contains(&(*end, *number)), "{number} up to {end:?} was not appended");
        }
        for two in found.windows(2) {
            assert!(two[0].1 <= two[1].0 && two[0].2 < two[1].2, "{two:?}");
        }
        if !self.stale {
            let (whole, started) = start(&self.whole.files());
            started.expect("it is whole");
            let cut = self.whole.cut();
            let known: Vec<&Seen> = found.iter().filter(|(begin, ..)| *begin >= cut).collect();
            assert!(known.iter().copied().eq(whole.iter().take(known.len())), "{found:?} of {whole:?}");
        }
    }

    /// Nothing that was synced is left out, and nothing that follows on the end.
    fn check_end(&self, end: Position) {
        let proven = self.damaged.proven(end);
        assert!(proven <= end, "it ends at {end:?}, and was synced up to {proven:?}");
        self.check_nothing_follows(end);
    }

    /// A damage is where something is damaged, and not there for nothing.
    fn check_damage(&self, damage: &Damage) {
        match damage.fault {
            Fault::Synced(to) | Fault::Inside(to) | Fault::Missing(to) => {
                let proven = self.damaged.proven(damage.position);
                assert!(damage.position < to && to <= proven, "{damage}, and synced up to {proven:?}");
            }
            // Of stale copies of segments one may lie before the other.
            Fault::Order => assert!(self.stale, "{damage}"),
            Fault::Unreadable => panic!("{damage}"),
        }
        self.check_nothing_follows(damage.position);
    }

    /// The record here, if there was one, is not what it was.
    fn check_nothing_follows(&self, end: Position) {
        let (was, is) = (self.whole.record(end), self.damaged.record(end));
        assert!(self.stale || was.is_none() || was != is, "a whole record at {end:?} was left out: {was:?}");
    }

    /// A repaired directory opens, with what was found before the damage.
    fn check_repair(&self, damage: Option<Damage>, shown: &[Seen], started: bool) {
        let files = self.damaged.files();
        let losses = inspect::repair_in(&files, Path::new(DATA), Path::new(MEMORY)).expect("it is repaired");
        assert!(losses.is_empty() || !started, "{losses:?}");
        assert_eq!(losses.first().map(|loss| loss.damage).filter(|_| damage.is_some()), damage);
        let (found, opened) = start(&files);
        match opened {
            Ok(_) => {}
            // What is staged is not looked into without need.
            Err(StoreError::Refused { path, .. } | StoreError::Ahead { path, .. }) if path.starts_with(MEMORY) => {
                return;
            }
            Err(error) => panic!("{error}, and it was repaired: {losses:?}"),
        }
        if !losses.iter().any(|loss| loss.damage.segment.is_none()) {
            assert!(found.starts_with(shown), "{found:?}, and shown: {shown:?}");
        }
        for (_, end, number) in &found {
            assert!(self.ever.contains(&(*end, *number)), "{number} up to {end:?} was not appended");
        }
    }
}
