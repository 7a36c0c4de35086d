//! One shard's loop. A *turn* is one pass of it: take what the kernel has, handle each event, drain the rings from
//! other shards, fire timers, send in slices, publish.
//!
//! A turn never blocks. What to do when nothing waits is a decision that it returns, which [`Reactor::run`] carries out
//! and a simulator replaces by moving its clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::driver::{Completion, Driver, Errno, SendResult, Wait};
use crate::handler::{Effects, Event, Handler, ReceiveEnd, Span};
use crate::idle::IdlePolicy;
use crate::mesh::{Inbound, MeshEnd};
use crate::profile::{Profile, Stage};
use crate::stall::{StallWatch, Stalls};
use crate::time::Instant;
use crate::timer::Wheel;

/// Sends of one turn: a slice that reaches this is the last of its turn, so that a flush of any size holds up nothing
/// else for longer than this many sends take, some 4 ms.
pub const SENDS_PER_TURN: usize = 1024;
/// Timers that may be due in one turn before the list of them grows.
const DUE_EXPECTED: usize = 256;

/// Received bytes of one turn: what came is passed on and sent before more is looked at, so that a burst of many
/// publishers does not pile up in front of the sockets that it is for.
pub const RECEIVED_BYTES_PER_TURN: usize = 256 << 10;
/// How long one turn goes on handling completions, for the same reason: two thousand clients that leave at once, or come,
/// bring few bytes and much work. Looked at after each [`COMPLETIONS_PER_LOOK`].
pub const COMPLETIONS_TIME_PER_TURN: Duration = Duration::from_micros(500);
/// Completions between two looks at the clock.
pub const COMPLETIONS_PER_LOOK: usize = 64;

/// A shard: its kernel, its handler, and its ends of the mesh.
pub struct Reactor<D: Driver, H: Handler> {
    driver: D,
    handler: H,
    rx: Inbound,
    fx: Effects,
    idle: IdlePolicy,
    stall: StallWatch,
    profile: Profile,
    /// What was reaped and not yet handled.
    completions: Vec<Completion>,
    /// The words of timers that are due.
    due: Vec<u64>,
    /// The current slice, and what became of it.
    plan: Vec<Span>,
    results: Vec<SendResult>,
    /// Completions, results of sends and timers that the handler was given.
    handled: u64,
}

/// What is to be done after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another turn at once: work is left.
    Again,
    /// Nothing, until the kernel or another shard brings something, or until a timer is due ([`Instant::NEVER`]: none).
    Idle {
        /// When the next timer may be due.
        until: Instant,
    },
    /// Nothing any more: the handler has come to its end.
    Finished,
}

/// How many completions one turn handles: those that bring [`RECEIVED_BYTES_PER_TURN`], and at least one.
fn within_budget(completions: &[Completion]) -> usize {
    let mut bytes = 0;
    let over = completions.iter().position(|completion| {
        let begun = bytes;
        if let Completion::Received { result: Ok(Some(buffer)), .. } = completion {
            bytes += buffer.len as usize;
        }
        begun >= RECEIVED_BYTES_PER_TURN
    });
    over.unwrap_or(completions.len())
}

impl<D: Driver, H: Handler> Reactor<D, H> {
    /// A shard that has not turned yet. The handler's first chance to ask for anything is [`Handler::work`].
    pub fn new(mut driver: D, mut handler: H, mesh: MeshEnd, idle: IdlePolicy) -> Reactor<D, H> {
        let timers = Wheel::new(driver.now());
        let stall = StallWatch::new(StallWatch::THRESHOLD);
        handler.watch(stall.stalls());
        Reactor {
            driver,
            handler,
            rx: mesh.rx,
            fx: Effects { ops: Vec::new(), tx: mesh.tx, timers },
            idle,
            stall,
            profile: Profile::of_this_thread(),
            completions: Vec::new(),
            due: Vec::with_capacity(DUE_EXPECTED),
            plan: Vec::new(),
            results: Vec::new(),
            handled: 0,
        }
    }

    /// Turns until the handler has finished.
    pub fn run(&mut self) {
        loop {
            match self.turn() {
                Next::Again => {}
                Next::Idle { until } => self.wait(until),
                Next::Finished => return,
            }
        }
    }

    /// One turn. Reads the clock once, and never waits.
    pub fn turn(&mut self) -> Next {
        self.profile.turn();
        self.profile.at(Stage::Receive);
        self.driver.reap(Wait::Poll, &mut self.completions);
        let now = self.driver.now();
        self.stall.turn(now);
        self.handle_completions(now);
        self.profile.at(Stage::Ring);
        self.rx.snapshot();
        let working = self.handler.work(now, &mut self.rx, &mut self.fx);
        self.push_ops();
        self.fire_timers(now);
        let flushing = self.flush(now);
        self.publish();
        if self.handler.finished() {
            Next::Finished
        } else if working || flushing || !self.completions.is_empty() || self.something_waits() {
            Next::Again
        } else {
            Next::Idle { until: self.fx.timers.next_deadline().unwrap_or(Instant::NEVER) }
        }
    }

    /// The kernel.
    pub fn driver(&mut self) -> &mut D {
        &mut self.driver
    }

    /// What runs here.
    pub fn handler(&mut self) -> &mut H {
        &mut self.handler
    }

    /// What the handler was given so far: completions, results of sends, timers and parcels.
    pub fn handled(&self) -> u64 {
        self.handled + self.rx.released()
    }

    /// The turns that ran long; stays current while the reactor runs.
    pub fn stalls(&self) -> Arc<Stalls> {
        self.stall.stalls()
    }

    fn handle_completions(&mut self, now: Instant) {
        // The list is lent out, as handling needs the rest of the shard, and returned with its capacity.
        let mut completions = std::mem::take(&mut self.completions);
        let count = within_budget(&completions);
        if count > COMPLETIONS_PER_LOOK {
            return self.handle_many(now, completions.into(), count);
        }
        self.handled += count as u64;
        for completion in completions.drain(..count) {
            self.handle_completion(now, completion);
            self.push_ops();
        }
        self.completions = completions;
    }

    /// The same for so many that time may run out. A deque, so that what is left over moves to the front once.
    #[inline(never)]
    fn handle_many(&mut self, now: Instant, mut completions: VecDeque<Completion>, mut count: usize) {
        while count > 0 {
            let next = count.min(COMPLETIONS_PER_LOOK);
            self.handled += next as u64;
            for completion in completions.drain(..next) {
                self.handle_completion(now, completion);
                self.push_ops();
            }
            count -= next;
            if self.driver.now().since(now) >= COMPLETIONS_TIME_PER_TURN {
                break;
            }
        }
        self.completions = completions.into();
    }

    /// Inlined in both places: a call is 17 instructions of each message.
    #[inline(always)]
    fn handle_completion(&mut self, now: Instant, completion: Completion) {
        let event = match completion {
            Completion::Received { slot, generation, result: Ok(Some(buffer)), armed } => {
                self.profile.at(Stage::Receive);
                let bytes = self.driver.bytes(&buffer);
                self.handler.handle(now, Event::Received { slot, generation, bytes, armed }, &mut self.fx);
                return self.driver.recycle(buffer);
            }
            Completion::Received { slot, generation, result: Ok(None), .. } => {
                Event::ReceiveEnded { slot, generation, end: ReceiveEnd::Eof }
            }
            Completion::Received { slot, generation, result: Err(errno), .. } => {
                let end = match errno {
                    Errno(libc::ECANCELED) => ReceiveEnd::Cancelled,
                    Errno(libc::ENOBUFS) => ReceiveEnd::NoBuffers,
                    errno => ReceiveEnd::Error(errno),
                };
                Event::ReceiveEnded { slot, generation, end }
            }
            Completion::Accepted { listener, slot, generation, result: Ok(peer) } => {
                Event::Accepted { listener, slot, generation, peer }
            }
            Completion::Accepted { listener, slot, generation, result: Err(errno) } => {
                Event::AcceptFailed { listener, slot, generation, errno }
            }
            Completion::Writable { slot, generation, result } => Event::Writable { slot, generation, result },
            Completion::Closed { slot, generation } => Event::Closed { slot, generation },
            Completion::FdSent { slot, generation, result } => Event::FdSent { slot, generation, result },
        };
        self.profile.at(Stage::Other);
        self.handler.handle(now, event, &mut self.fx);
    }

    fn fire_timers(&mut self, now: Instant) {
        self.profile.at(Stage::Other);
        self.fx.timers.expire(now, &mut self.due);
        self.handled += self.due.len() as u64;
        for word in self.due.drain(..) {
            self.handler.handle(now, Event::Timer(word), &mut self.fx);
        }
        self.push_ops();
    }

    /// Sends slice after slice until nothing is left, something else wants to be served, or the turn's budget is used
    /// up. Returns whether something may be left.
    fn flush(&mut self, now: Instant) -> bool {
        let mut sends = 0;
        loop {
            self.profile.at(Stage::Flush);
            self.plan.clear();
            self.handler.plan(now, &mut self.plan, &mut self.fx);
            self.push_ops();
            if self.plan.is_empty() {
                return false;
            }
            let handler = &self.handler;
            let spans = self.plan.iter().map(|span| (span.slot, handler.bytes(span)));
            self.driver.send_batch(spans, &mut self.results);
            self.handler.sent(now, &self.plan, &self.results, &mut self.fx);
            self.push_ops();
            sends += self.plan.len();
            self.handled += self.plan.len() as u64;
            if sends >= SENDS_PER_TURN || self.something_waits() {
                return true;
            }
        }
    }

    /// Shows the other shards what this turn has written for them, and what it has taken.
    fn publish(&mut self) {
        self.profile.at(Stage::Ring);
        self.rx.publish();
        self.fx.tx.publish();
        self.profile.at(Stage::Other);
    }

    fn push_ops(&mut self) {
        for op in self.fx.ops.drain(..) {
            self.driver.push(op);
        }
    }

    /// Whether the kernel or another shard has brought something since the last turn. A shard that a turn left
    /// [`Next::Idle`] needs another one then, or when its timer is due.
    pub fn something_waits(&mut self) -> bool {
        self.driver.ready() || self.rx.pending()
    }

    /// Waits until something comes or `until`: first awake, then asleep.
    fn wait(&mut self, until: Instant) {
        self.profile.at(Stage::Receive);
        let now = self.driver.now();
        self.stall.idle(now);
        let spin_until = self.idle.spin_until(now, until);
        if spin_until > now && self.spin(spin_until) {
            return;
        }
        // Whoever publishes to this shard from here on sees the flag and rings; what was published before is seen here.
        self.rx.sleeping(true);
        if !self.rx.pending() {
            self.driver.reap(Wait::Until(until), &mut self.completions);
        }
        self.rx.sleeping(false);
    }

    /// Looks for work until `until`, and says whether there is some.
    fn spin(&mut self, until: Instant) -> bool {
        // What the turn has asked for must be with the kernel, or the answer that we spin for will not come.
        self.driver.reap(Wait::Poll, &mut self.completions);
        if !self.completions.is_empty() {
            return true;
        }
        self.profile.at(Stage::Spin);
        while !self.something_waits() {
            if self.driver.now() >= until {
                return false;
            }
            std::hint::spin_loop();
        }
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
