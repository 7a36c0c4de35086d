//! Where the time of a shard goes: a stage clock, off unless a shard's thread calls [`start`].
//!
//! ```text
//!      at        at      at      at      at       at        at      enter         dropped
//! other │ receive │ parse │ frame │ match │ encode │ receive │ flush │ kernel_send │ flush │ ...
//! ```
//!
//! Time is exclusive: a boundary ends one stage and begins another, so the stages add up to the time since the start.
//! [`Profile::at`] moves on, along the way of a message; [`Profile::enter`] is for what comes back to the stage that it
//! was called in. What no stage claims is [`Stage::Other`].
//!
//! The clock belongs to the thread, as all of a shard does, and nothing that a shard does depends on it. Where it does
//! not run, a boundary is one branch.

use std::cell::RefCell;
use std::marker::PhantomData;

use self::ticks::{clock_nanos, cpu_nanos, ticks};
use crate::counters::Counter;

mod ticks;

crate::counters! {
    /// What a shard spends its time with, in the order of a message.
    pub enum Stage {
        /// Completions are taken and handed out.
        Receive => "receive",
        /// A packet is found in what was received, checked, and held against its connection.
        Parse => "parse",
        /// What is no PUBLISH is handled: acknowledgements, subscriptions, pings.
        Session => "session",
        /// A message becomes a frame, and goes into the ring toward its topic's owner where that is another shard.
        Frame => "frame",
        /// Parcels of other shards are taken, and written toward those that want a message; rings are published.
        Ring => "ring",
        /// Who wants a message is looked up, and what is to be retained is kept.
        Match => "match",
        /// Packets are encoded: into feeds once for all their readers, and into outboxes.
        Encode => "encode",
        /// Slices of sends are planned, queued, and their results taken.
        Flush => "flush",
        /// The kernel, while it sends.
        KernelSend => "kernel_send",
        /// The kernel, entered for anything else and without waiting.
        KernelPoll => "kernel_poll",
        /// The kernel, entered to wait: what it computes then, receiving included.
        KernelWait => "kernel_wait",
        /// Asleep in the kernel, or kept from running there.
        Asleep => "asleep",
        /// Awake and looking for work.
        Spin => "spin",
        /// Everything else: timers, connections that come and go, jobs.
        Other => "other",
    }
}

/// How many stages there are.
const STAGES: usize = <Stage as Counter>::COUNT;
/// Stages within each other that are told apart; deeper ones count as the last of these.
const DEPTH_MAX: usize = 32;

/// What the clock of one shard has seen since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Turns of the shard's loop.
    pub turns: u64,
    nanos: [u64; STAGES],
    counts: [u64; STAGES],
}

impl Reading {
    /// Nanoseconds spent in a stage, without those in stages within it.
    pub fn nanos(&self, stage: Stage) -> u64 {
        self.nanos[stage.index()]
    }

    /// How many times the stage followed another one that did not come back to it.
    pub fn count(&self, stage: Stage) -> u64 {
        self.counts[stage.index()]
    }

    /// Nanoseconds since the start: the sum over all stages.
    pub fn total(&self) -> u64 {
        self.nanos.iter().sum()
    }
}

thread_local! {
    static CLOCK: RefCell<Clock> = const { RefCell::new(Clock::STOPPED) };
}

/// Starts the clock of the calling thread, in [`Stage::Other`]. To be called before what it is to measure is made.
pub fn start() {
    CLOCK.with_borrow_mut(|clock| clock.start(Moment::now()));
}

/// What the clock of the calling thread has seen; `None` where it was not started.
pub fn read() -> Option<Reading> {
    CLOCK.with_borrow_mut(|clock| clock.read(Moment::now()))
}

/// Whether the clock of the thread runs that this was made on. Who has boundaries keeps one, so that each costs a look
/// at its own memory.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    on: bool,
}

impl Profile {
    /// Of the calling thread.
    pub fn of_this_thread() -> Profile {
        Profile { on: CLOCK.with_borrow(|clock| clock.began.is_some()) }
    }

    /// A turn begins.
    #[inline]
    pub fn turn(self) {
        if self.on {
            count_turn();
        }
    }

    /// From here on the time is this stage's.
    #[inline]
    pub fn at(self, stage: Stage) {
        if self.on {
            go_to_now(stage);
        }
    }

    /// Enters a stage, and comes back to the one before when what is returned is dropped.
    #[inline]
    pub fn enter(self, stage: Stage) -> Entered {
        if self.on {
            enter_now(stage);
        }
        Entered { on: self.on, thread: PhantomData }
    }

    /// Enters the kernel to wait there, likewise. The thread's CPU time tells [`Stage::KernelWait`] from
    /// [`Stage::Asleep`].
    #[inline]
    pub fn enter_wait(self) -> Waiting {
        if self.on {
            enter_wait_now();
        }
        Waiting { on: self.on, thread: PhantomData }
    }
}

/// A stage, which dropping this leaves.
#[must_use = "the stage is left when this is dropped"]
pub struct Entered {
    on: bool,
    thread: PhantomData<*const ()>,
}

/// A wait, which dropping this ends.
#[must_use = "the wait ends when this is dropped"]
pub struct Waiting {
    on: bool,
    thread: PhantomData<*const ()>,
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        if self.on {
            leave_now();
        }
    }
}

impl Drop for Waiting {
    #[inline]
    fn drop(&mut self) {
        if self.on {
            leave_wait_now();
        }
    }
}

#[cold]
#[inline(never)]
fn count_turn() {
    CLOCK.with_borrow_mut(|clock| clock.turns += 1);
}

#[cold]
#[inline(never)]
fn enter_now(stage: Stage) {
    CLOCK.with_borrow_mut(|clock| clock.enter(stage, ticks()));
}

#[cold]
#[inline(never)]
fn go_to_now(stage: Stage) {
    CLOCK.with_borrow_mut(|clock| clock.at(stage, ticks()));
}

#[cold]
#[inline(never)]
fn leave_now() {
    CLOCK.with_borrow_mut(|clock| clock.leave(ticks()));
}

#[cold]
#[inline(never)]
fn enter_wait_now() {
    CLOCK.with_borrow_mut(|clock| {
        clock.enter(Stage::Asleep, ticks());
        clock.wait_began = cpu_nanos();
    });
}

#[cold]
#[inline(never)]
fn leave_wait_now() {
    CLOCK.with_borrow_mut(|clock| {
        clock.wait_nanos += cpu_nanos().saturating_sub(clock.wait_began);
        clock.leave(ticks());
    });
}

/// The stage clock. Time is an argument: what reads a clock is around it.
struct Clock {
    began: Option<Moment>,
    /// Nanoseconds per so many ticks, from the first reading on: what was read never shrinks.
    rate: Option<Moment>,
    stage: Stage,
    /// When `stage` was entered or gone back to.
    since: u64,
    /// The stages around `stage`, outermost first.
    outer: [Stage; DEPTH_MAX],
    depth: usize,
    ticks: [u64; STAGES],
    counts: [u64; STAGES],
    turns: u64,
    /// The thread's CPU time when the present wait began, and what all waits took of it.
    wait_began: u64,
    wait_nanos: u64,
}

/// One moment on two clocks, or the time between two moments.
#[derive(Clone, Copy)]
struct Moment {
    /// Of the time stamp counter, which is read in a few nanoseconds.
    ticks: u64,
    /// Of the monotonic clock.
    nanos: u64,
}

impl Clock {
    const STOPPED: Clock = Clock {
        began: None,
        rate: None,
        stage: Stage::Other,
        since: 0,
        outer: [Stage::Other; DEPTH_MAX],
        depth: 0,
        ticks: [0; STAGES],
        counts: [0; STAGES],
        turns: 0,
        wait_began: 0,
        wait_nanos: 0,
    };

    fn start(&mut self, now: Moment) {
        *self = Clock { began: Some(now), since: now.ticks, ..Clock::STOPPED };
    }

    fn enter(&mut self, stage: Stage, now: u64) {
        self.depth += 1;
        if let Some(outer) = self.outer.get_mut(self.depth - 1) {
            *outer = self.stage;
            self.at(stage, now);
        }
    }

    fn at(&mut self, stage: Stage, now: u64) {
        if self.depth <= DEPTH_MAX {
            self.counts[stage.index()] += u64::from(self.stage != stage);
            self.go_to(stage, now);
        }
    }

    fn leave(&mut self, now: u64) {
        // A stage that was entered before the start is none.
        let Some(depth) = self.depth.checked_sub(1) else { return };
        self.depth = depth;
        if let Some(outer) = self.outer.get(depth) {
            self.go_to(*outer, now);
        }
    }

    fn go_to(&mut self, stage: Stage, now: u64) {
        // A counter that differs between cores may step back for a thread that is not pinned.
        self.ticks[self.stage.index()] += now.saturating_sub(self.since);
        self.since = self.since.max(now);
        self.stage = stage;
    }

    fn read(&mut self, now: Moment) -> Option<Reading> {
        let began = self.began?;
        self.go_to(self.stage, now.ticks);
        let (ticks, nanos) = (now.ticks.saturating_sub(began.ticks).max(1), now.nanos - began.nanos);
        let rate = *self.rate.get_or_insert(Moment { ticks, nanos });
        let in_nanos = |ticks: u64| (u128::from(ticks) * u128::from(rate.nanos) / u128::from(rate.ticks)) as u64;
        let mut reading = Reading { turns: self.turns, nanos: self.ticks.map(in_nanos), counts: self.counts };
        // Waits are entered as one stage. The two clocks are not one, so their difference could fall below nothing.
        let (asleep, kernel) = (Stage::Asleep.index(), Stage::KernelWait.index());
        reading.nanos[kernel] = self.wait_nanos.min(reading.nanos[asleep]);
        reading.nanos[asleep] -= reading.nanos[kernel];
        reading.counts[kernel] = reading.counts[asleep];
        Some(reading)
    }
}

impl Moment {
    fn now() -> Moment {
        Moment { ticks: ticks(), nanos: clock_nanos(libc::CLOCK_MONOTONIC) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that was started at tick 1000; a tick is half a nanosecond.
    fn started() -> Clock {
        let mut clock = Clock::STOPPED;
        clock.start(Moment { ticks: 1000, nanos: 50 });
        clock
    }

    fn read_at(clock: &mut Clock, ticks: u64) -> Reading {
        clock.read(Moment { ticks, nanos: 50 + (ticks - 1000) / 2 }).expect("it runs")
    }

    /// Goal: the time within a stage is not the time of the stage around it, which goes on after.
    #[test]
    fn time_is_exclusive() {
        let mut clock = started();
        clock.enter(Stage::Receive, 1100);
        clock.enter(Stage::Parse, 1120);
        clock.enter(Stage::Match, 1220);
        clock.at(Stage::Encode, 1420);
        clock.at(Stage::Encode, 1520);
        clock.leave(1820);
        clock.leave(1840);
        clock.leave(1860);
        let reading = read_at(&mut clock, 2000);
        let nanos = |stage| reading.nanos(stage);
        assert_eq!([nanos(Stage::Receive), nanos(Stage::Parse)], [20, 60]);
        assert_eq!([nanos(Stage::Match), nanos(Stage::Encode), nanos(Stage::Other)], [100, 200, 120]);
        assert_eq!([Stage::Receive, Stage::Encode, Stage::Flush].map(|stage| reading.count(stage)), [1, 1, 0]);
        assert_eq!(reading.total(), 500);
    }

    /// Goal: the stages add up to the time since the start at any moment, within a stage too.
    #[test]
    fn stages_add_up() {
        let mut clock = started();
        for turn in 0..100 {
            let at = 1000 + turn * 100;
            clock.enter(Stage::Asleep, at);
            clock.wait_nanos += 4;
            clock.leave(at + 40);
            clock.enter(Stage::Flush, at + 60);
            assert_eq!(read_at(&mut clock, at + 70).total(), (at + 70 - 1000) / 2);
            clock.leave(at + 80);
        }
        let reading = read_at(&mut clock, 11_000);
        assert_eq!((reading.nanos(Stage::KernelWait), reading.nanos(Stage::Asleep)), (400, 1600));
        assert_eq!((reading.nanos(Stage::Flush), reading.total()), (1000, 5000));
    }

    /// Goal: however deep stages lie within each other, leaving them all ends where it began.
    #[test]
    fn depth_is_bounded() {
        let mut clock = started();
        let mut at = 1000;
        for deep in 0..3 * DEPTH_MAX {
            clock.enter(if deep < DEPTH_MAX { Stage::Parse } else { Stage::Ring }, at);
            at += 2;
        }
        (0..3 * DEPTH_MAX).for_each(|_| clock.leave(at));
        clock.leave(at);
        let reading = read_at(&mut clock, at + 10);
        assert_eq!((reading.nanos(Stage::Ring), reading.nanos(Stage::Other)), (0, 5));
        assert_eq!(reading.total(), (at + 10 - 1000) / 2);
    }

    /// Goal: a reading never shows less than the one before, though the second clock tells the rate anew.
    #[test]
    fn readings_only_grow() {
        let mut clock = started();
        let first = clock.read(Moment { ticks: 1_001_000, nanos: 500_050 }).expect("it runs");
        let second = clock.read(Moment { ticks: 1_001_002, nanos: 400_050 }).expect("it runs");
        assert!(second.total() >= first.total());
    }

    /// Goal: the clock of a thread runs only where it was started, and measures real time.
    #[test]
    fn each_thread_has_its_own() {
        std::thread::spawn(|| {
            start();
            let profile = Profile::of_this_thread();
            profile.turn();
            drop(profile.enter(Stage::Flush));
            drop(profile.enter_wait());
            let reading = read().expect("it was started");
            assert_eq!((reading.turns, reading.count(Stage::Flush), reading.count(Stage::Asleep)), (1, 1, 1));
            std::thread::spawn(|| assert_eq!(read(), None)).join().expect("no panic");
        })
        .join()
        .expect("no panic");
    }
}
