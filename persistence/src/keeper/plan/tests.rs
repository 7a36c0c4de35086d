//! Plans on a model disk, which checks each rule as an operation begins or ends.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SEGMENT: u64 = 256;
const RING: u64 = 192;
const LIMITS: Limits = Limits { segment_bytes: SEGMENT, max_bytes: 0, batch_bytes: 512 };

/// One segment file: which bytes of the log it holds, by offset.
#[derive(Clone, Debug, Default)]
struct File {
    base: Option<u64>,
    /// Up to where it was written, by writes that completed and by any.
    written: u64,
    touched: u64,
    synced: u64,
}

/// The shard's end, in positions alone: where its records end.
#[derive(Debug)]
struct Log {
    shared: Arc<Shared>,
    ends: Vec<u64>,
    released: u64,
}

impl Staged for Log {
    fn whole(&self, from: Position, to: Position, bytes_max: u64) -> Position {
        assert!(self.released <= from.0 && to <= self.shared.staged(), "bytes that are not staged");
        assert!(from.0 == self.start() || self.ends.contains(&from.0), "{from:?} is not the end of a record");
        let ends = self.ends.iter().filter(|end| **end > from.0 && **end <= to.0 && **end - from.0 <= bytes_max);
        Position(ends.max().copied().unwrap_or(from.0))
    }

    fn sync(&mut self, to: Position) {
        assert!(self.ends.contains(&to.0), "half a record becomes synced");
        self.released = to.0;
        self.shared.sync(to);
    }
}

impl Log {
    fn start(&self) -> u64 {
        64
    }
}

/// A plan, what it works on, and what is under way.
struct World {
    plan: Plan,
    log: Log,
    files: BTreeMap<u64, File>,
    under_way: Vec<(Op, u64)>,
    rests: Vec<Kind>,
    begun: Option<u64>,
    /// What the checkpoint on disk says.
    cut: u64,
    sequence: u64,
    /// For each trim, what was staged when it was said.
    trims: Vec<(u64, u64)>,
    retained: bool,
    fenced: bool,
    removed: usize,
    reused: usize,
}

impl World {
    fn new(limits: Limits) -> World {
        let shared = Arc::new(Shared::new(Position(64), Position(0)));
        // Three segments of earlier starts: an odd one that was cut short, and two dead ones, of which one is odd, too.
        let old = Closed { number: 3, base: Position(0), end: Position(64), bytes: 9000 };
        let dead = vec![Dead { number: 1, bytes: limits.file_bytes() }, Dead { number: 2, bytes: 77 }];
        let start = Files { next: 4, segments: vec![old], dead, cut: Position(0), checkpoint: 6 };
        let plan = Plan::new(shared.clone(), limits, start);
        let mut files = BTreeMap::from([(1, File::default()), (2, File::default())]);
        files.insert(3, File { base: Some(0), written: 64, touched: 64, synced: 64 });
        World {
            plan,
            log: Log { shared, ends: Vec::new(), released: 64 },
            files,
            under_way: Vec::new(),
            rests: Vec::new(),
            begun: None,
            cut: 0,
            sequence: 6,
            trims: Vec::new(),
            retained: false,
            fenced: false,
            removed: 0,
            reused: 0,
        }
    }

    fn staged(&self) -> u64 {
        self.log.shared.staged().0
    }

    /// Appends a record if the ring has room. It may not be shown at once.
    fn append(&mut self, granules: u64) -> bool {
        let end = self.staged() + granules * 32;
        let room = end - self.log.released <= RING;
        if room {
            self.log.ends.push(end);
            self.log.shared.stage(Position(end));
        }
        room
    }

    fn trim(&mut self, back: usize) {
        let Some(&cut) = self.log.ends.iter().rev().nth(back) else { return };
        if cut >= self.log.shared.trimmed().0 {
            self.trims.push((cut, self.staged()));
            self.log.shared.trim(Position(cut));
        }
    }

    fn step(&mut self) {
        let mut ops = Vec::new();
        self.plan.step(&self.log, &mut ops);
        assert!(ops.is_empty() || !self.fenced, "an operation after a fence: {ops:?}");
        for op in ops {
            self.start(op);
        }
        self.fenced |= self.log.shared.fenced().is_some();
        self.check();
    }

    /// Rules that hold as an operation begins.
    fn start(&mut self, op: Op) {
        let twice = self.under_way.iter().any(|(other, _)| other.kind() == op.kind());
        let mut covers = 0;
        match op {
            Op::Rest { of, time } => {
                assert!(time >= REST_MIN && time <= REST_MAX);
                return self.rests.push(of);
            }
            Op::Prepare { number, reuse } => {
                assert!(self.files.keys().all(|other| *other < number), "the number of another file");
                if let Some(reuse) = reuse {
                    self.assert_dead(reuse);
                }
            }
            Op::Write { number, base, from, to, sync } => {
                assert!(!sync || self.stable_end() == from.0, "a write that syncs behind one that is not synced");
                assert!(from < to && to.0 <= base.0 + SEGMENT && to.0 <= self.staged());
                assert!(self.log.ends.contains(&to.0), "a record straddles");
                if from == base {
                    assert_eq!(self.files[&number].base, None, "a segment is begun twice");
                    assert_eq!(self.stable_end(), base.0, "a segment is begun before the one before it is synced");
                    assert!(self.begun.is_none_or(|begun| begun < number));
                    self.begun = Some(number);
                }
                let file = self.files.get_mut(&number).expect("it is prepared");
                file.base.get_or_insert(base.0);
                assert_eq!(self.begun, Some(number), "an older segment is written");
                assert!(from == base || file.written == from.0, "a gap, or a write before the one before it ended");
                file.touched = to.0;
            }
            Op::Sync { number } => {
                assert_eq!(self.begun, Some(number));
                covers = self.files[&number].written;
                assert!(covers > self.files[&number].synced, "a sync of nothing");
            }
            Op::Checkpoint { sequence, cut } => {
                assert_eq!(sequence, self.sequence + 1, "the newer checkpoint is written over");
                assert!(cut.0 > self.cut);
                let (_, relies_on) = self.trims.iter().find(|(trim, _)| *trim == cut.0).expect("a cut of the shard's");
                assert!(*relies_on <= self.stable_end(), "a checkpoint before what it relies on is synced");
            }
            Op::Remove { number } => self.assert_dead(number),
        }
        assert!(!twice, "two operations of a kind: {op:?}");
        self.under_way.push((op, covers));
    }

    fn assert_dead(&self, number: u64) {
        let file = &self.files[&number];
        let needed = file.base.is_some() && (file.touched > self.cut || self.begun == Some(number));
        assert!(!needed, "segment {number} is needed: {file:?}, the cut is {}", self.cut);
    }

    /// Ends the operation at this place of those under way.
    fn end(&mut self, index: usize, outcome: Outcome) {
        let (op, covers) = self.under_way.remove(index);
        if outcome == Outcome::Done {
            match op {
                Op::Prepare { number, reuse } => {
                    if let Some(reuse) = reuse {
                        self.files.remove(&reuse);
                        self.reused += 1;
                    }
                    self.files.insert(number, File::default());
                }
                Op::Write { number, to, sync, .. } => {
                    let file = self.files.get_mut(&number).expect("it is there");
                    file.written = to.0;
                    file.synced = if sync { to.0 } else { file.synced };
                }
                Op::Sync { number } => self.files.get_mut(&number).expect("it is there").synced = covers,
                Op::Checkpoint { sequence, cut } => (self.sequence, self.cut) = (sequence, cut.0),
                Op::Remove { number } => {
                    self.files.remove(&number);
                    self.removed += 1;
                }
                Op::Rest { .. } => unreachable!("it is no operation of the disk"),
            }
        }
        self.plan.complete(op.kind(), outcome, &mut self.log);
        self.fenced |= self.log.shared.fenced().is_some();
        self.step();
    }

    /// The operation of this kind that is under way.
    fn one(&self, of: Kind) -> Option<(Op, u64)> {
        self.under_way.iter().copied().find(|(op, _)| op.kind() == of)
    }

    fn end_one(&mut self, of: Kind) {
        let index = self.under_way.iter().position(|(op, _)| op.kind() == of).expect("it is under way");
        self.end(index, Outcome::Done);
    }

    /// What a loss of power would leave: the end of the log that reads on from the checkpoint without a gap.
    fn stable_end(&self) -> u64 {
        let mut spans: Vec<_> = self.files.values().filter_map(|file| Some((file.base?, file.synced))).collect();
        spans.sort_unstable();
        // The log begins at the cut, in whatever segment that lies.
        let reads_on = |end: u64, (base, synced): (u64, u64)| if base <= end { end.max(synced) } else { end };
        spans.into_iter().fold(self.cut, reads_on)
    }

    /// What is called synced is on disk, whatever else is.
    fn check(&self) {
        let synced = self.log.shared.synced().0;
        assert!(self.stable_end() >= synced, "{synced} is not on disk: {:?}", self.files);
        let oldest = self.log.shared.oldest().0;
        assert!(oldest <= synced);
    }

    /// Ends everything well until nothing is under way.
    fn run(&mut self) {
        self.step();
        while !self.under_way.is_empty() || !self.rests.is_empty() {
            for of in std::mem::take(&mut self.rests) {
                self.plan.rested(of);
            }
            match self.under_way.is_empty() {
                true => self.step(),
                false => self.end(0, Outcome::Done),
            }
        }
    }
}

/// Why an operation fails: mostly for want of room.
fn errno() -> impl Strategy<Value = i32> {
    prop_oneof![16 => Just(libc::ENOSPC), 1 => Just(libc::EIO), 1 => Just(libc::ENOENT)]
}

#[derive(Clone, Debug)]
enum Act {
    Append(u64),
    Trim(usize),
    End(usize),
    Fail(usize, i32),
    Rested,
    Retain(bool),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (1u64..=4).prop_map(Act::Append),
        2 => (0usize..12).prop_map(Act::Trim),
        12 => (0usize..4).prop_map(Act::End),
        1 => Just(Act::Rested),
        1 => any::<bool>().prop_map(Act::Retain),
        1 => (0usize..4, errno()).prop_map(|(at, errno)| Act::Fail(at, errno)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever the order of events, and whatever fails: no rule is broken, what was called synced is on disk, and a
    /// journal that is not fenced comes to its end.
    #[test]
    fn the_rules_hold(
acts in prop::collection::vec(act(), 1..400),
max_bytes in prop_oneof![Just(0), Just(5 * LIMITS.file_bytes())],
batch_bytes in prop_oneof![Just(96u64), Just(512)],
) {
        let mut world = World::new(Limits { max_bytes, batch_bytes, ..LIMITS });
        for act in acts {
            match act {
                Act::Append(granules) => { world.append(granules); }
                Act::Trim(back) => world.trim(back),
                Act::Rested => world.rests.drain(..).collect::<Vec<_>>().into_iter().for_each(|of| world.plan.rested(of)),
                Act::Retain(retained) => world.retained = retained,
                Act::End(_) | Act::Fail(..) if world.under_way.is_empty() => {}
                Act::End(index) => {
                    let index = index % world.under_way.len();
                    let takes_away = {
                        let op = &world.under_way[index].0;
                        matches!(op, Op::Remove { .. } | Op::Prepare { reuse: Some(_), .. })
                    };
                    let retained = world.retained && takes_away;
                    world.end(index, if retained { Outcome::Retained } else { Outcome::Done });
                }
                Act::Fail(index, errno) => {
                    let index = index % world.under_way.len();
                    let op = world.under_way[index].0;
                    let kind = op.kind();
                    world.end(index, Outcome::Failed(errno));
                    let mild = kind == Kind::Remove
                        || errno == libc::ENOSPC && matches!(kind, Kind::Prepare | Kind::Checkpoint)
                        || errno == libc::ENOENT && matches!(op, Op::Prepare { reuse: Some(_), .. });
                    prop_assert!(mild || world.log.shared.fenced().is_some(), "{kind:?} failed and nobody cares");
                }
            }
            world.step();
        }
        // Everything is well again, and what holds room is not needed any more.
        world.run();
        world.trim(0);
        world.run();
        world.plan.stop();
        world.run();
        prop_assert!(world.plan.is_done());
        if !world.fenced {
            prop_assert_eq!(world.log.shared.synced(), world.log.shared.staged());
        }
    }
}

/// A journal that nobody writes to makes no file, and its bell is listened to.
#[test]
fn nothing_is_made_before_the_first_record() {
    let mut world = World::new(LIMITS);
    world.plan.step(&world.log, &mut Vec::new());
    // The file of another size is of no use.
    let mut ops = Vec::new();
    world.plan.complete(Kind::Remove, Outcome::Done, &mut world.log);
    world.plan.step(&world.log, &mut ops);
    assert_eq!((ops, world.plan.listens()), (vec![], true));
    world.plan.stop();
    assert!(world.plan.is_done());
}

/// While a sync is under way the next batch gathers, and what is written behind it waits for the next sync.
#[test]
fn a_write_behind_a_sync_waits_for_the_next_one() {
    let mut world = World::new(Limits { batch_bytes: 128, ..LIMITS });
    world.append(1);
    world.run();
    assert_eq!(world.log.shared.synced(), Position(96));
    world.append(3);
    world.step();
    assert!(!world.plan.listens());
    world.end_one(Kind::Write);
    assert_eq!(world.one(Kind::Sync), Some((Op::Sync { number: 4 }, 192)));
    // Too little to be written at once, then enough.
    world.append(1);
    world.step();
    assert_eq!(world.one(Kind::Write), None);
    world.append(1);
    world.step();
    let write = Op::Write { number: 4, base: Position(64), from: Position(192), to: Position(256), sync: false };
    assert_eq!(world.one(Kind::Write), Some((write, 0)));
    world.end_one(Kind::Write);
    assert!(!world.plan.listens());
    world.end_one(Kind::Sync);
    assert_eq!(world.log.shared.synced(), Position(192));
    world.run();
    assert_eq!(world.log.shared.synced(), Position(256));
}

/// A small batch that is all there is is written and synced by one operation.
#[test]
fn a_small_batch_is_written_and_synced_at_once() {
    let mut world = World::new(LIMITS);
    world.append(1);
    world.run();
    world.append(2);
    world.step();
    let write = Op::Write { number: 4, base: Position(64), from: Position(96), to: Position(160), sync: true };
    assert_eq!(world.one(Kind::Write), Some((write, 0)));
    // What comes meanwhile waits, and is the next batch.
    world.append(1);
    world.step();
    assert_eq!(world.one(Kind::Sync), None);
    world.end_one(Kind::Write);
    assert_eq!(world.log.shared.synced(), Position(160));
    world.run();
    assert_eq!(world.log.shared.synced(), Position(192));
}

/// What a trim relies on is what was staged when it was said, and no more: a ring that fills meanwhile does not hold
/// it up.
#[test]
fn a_trim_does_not_wait_for_what_comes_later() {
    let mut world = World::new(Limits { max_bytes: 9000 + LIMITS.file_bytes(), ..LIMITS });
    world.plan.dead.clear();
    while world.log.shared.synced().0 < 64 + SEGMENT {
        world.append(4);
        world.run();
    }
    world.trim(0);
    while world.append(1) {}
    world.run();
    assert_eq!(world.log.shared.synced(), world.log.shared.staged());
    assert_eq!(world.sequence, 7);
}

/// A full disk is waited for, longer each time, and the journal goes on when it has room again.
#[test]
fn a_full_disk_passes() {
    let mut world = World::new(LIMITS);
    world.plan.dead.clear();
    world.append(1);
    world.step();
    let mut times = Vec::new();
    for _ in 0..9 {
        let at = world.under_way.iter().position(|(op, _)| op.kind() == Kind::Prepare).expect("it is tried again");
        world.under_way.remove(at);
        world.plan.complete(Kind::Prepare, Outcome::Failed(libc::ENOSPC), &mut world.log);
        let mut ops = Vec::new();
        world.plan.step(&world.log, &mut ops);
        let [Op::Rest { of: Kind::Prepare, time }] = ops[..] else { panic!("{ops:?}") };
        times.push(time.as_millis());
        world.plan.rested(Kind::Prepare);
        world.step();
    }
    assert_eq!(times, [50, 100, 200, 400, 800, 1600, 2000, 2000, 2000]);
    assert_eq!(world.log.shared.fenced(), None);
    world.run();
    assert_eq!(world.log.shared.synced(), Position(96));
}

/// At its limit a journal makes no new segment, until a trim frees one.
#[test]
fn the_limit_refuses_until_a_trim() {
    let mut world = World::new(Limits { max_bytes: 9000 + 2 * LIMITS.file_bytes(), ..LIMITS });
    while world.append(4) {
        world.run();
    }
    assert_eq!(world.log.shared.synced().0, 64 + 2 * SEGMENT);
    world.trim(0);
    world.run();
    assert_eq!((world.log.shared.synced(), world.log.shared.fenced()), (world.log.shared.staged(), None));
}

/// Dead segments become new ones; only those that are too many are removed.
#[test]
fn dead_segments_are_used_again() {
    let mut world = World::new(LIMITS);
    for _ in 0..20 {
        for _ in 0..2 {
            world.append(4);
            world.run();
        }
        world.trim(1);
        world.run();
    }
    assert!(world.reused >= 15, "{}", world.reused);
    // The two odd ones of the start.
    assert_eq!(world.removed, 2);
    assert!(world.files.len() <= 5);
}

/// What the files come to is shown.
#[test]
fn the_files_are_shown() {
    let mut world = World::new(LIMITS);
    let shown = |world: &World| (world.log.shared.oldest().0, world.log.shared.disk_bytes());
    assert_eq!(shown(&world), (0, 9000 + LIMITS.file_bytes() + 77));
    world.append(4);
    world.run();
    world.append(4);
    world.run();
    world.trim(0);
    world.run();
    // The current one, and the next, which its half asked for.
    assert_eq!(shown(&world), (64, 2 * LIMITS.file_bytes()));
}

/// What cannot be read as records is not waited for: the page that it lay on is gone.
#[test]
fn a_record_larger_than_a_segment_is_damage() {
    let mut world = World::new(LIMITS);
    let end = 64 + SEGMENT + 32;
    world.log.ends.push(end);
    world.log.shared.stage(Position(end));
    world.run();
    assert_eq!(world.log.shared.fenced().map(|fence| fence.trouble), Some(Trouble::Page));
}
