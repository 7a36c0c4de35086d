//! The keeper's thread: plans driven on a glommio executor.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use glommio::timer::Timer;
use glommio::{Latency, LocalExecutor, LocalExecutorBuilder, Placement, Shares, Task, TaskQueueHandle};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::disk::{Disk, Retain, Write};
use super::plan::{Kind, Op, Outcome, Plan, Staged};
use super::wake::{self, Alarm, Waker};
use super::{Begin, KeeperError, KeeperOptions, MEMLOCK_BYTES};
use crate::layout::Position;
use crate::shared::{Bell, Fence, Shared, Trouble};
use crate::staging::Reader;

/// Shares of the executor's time: of what acknowledgements wait for, and of the rest.
const SYNC_SHARES: usize = 1000;
const BACKGROUND_SHARES: usize = 50;
/// Entries of the executor's rings: a few for each journal, and some of its own.
const RING_DEPTH: usize = 128;

/// Tells a shard that its journal's words have moved.
pub type Doorbell = Box<dyn Fn() + Send>;

/// The same, on the keeper's thread.
type LocalDoorbell = Rc<dyn Fn() + Send>;

/// The storage executor.
#[derive(Debug)]
pub struct Keeper;

impl Keeper {
    /// Starts the keeper's thread for these journals, with the doorbell of the shard of each.
    pub fn start(journals: Vec<(Begin, Doorbell)>, options: KeeperOptions) -> Result<KeeperHandle, KeeperError> {
        allow_locked_memory()?;
        // The executor's own answer to a kernel that gives no ring is a panic.
        io_uring::IoUring::new(2).map_err(KeeperError::Ring)?;
        let (waker, alarm) = wake::pair().map_err(KeeperError::Thread)?;
        let bells: Vec<_> = journals
            .iter()
            .map(|_| {
                let waker = waker.clone();
                Arc::new(Bell::new(move || waker.wake()))
            })
            .collect();
        let stopping = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = bounded(1);
        let (ended, end) = bounded(1);
        let thread = Thread { options, alarm, waker: waker.clone(), bells: bells.clone(), stopping: stopping.clone() };
        let handle = thread::Builder::new()
            .name("ringmain-keeper".into())
            .spawn(move || thread.run(journals, ready, ended))
            .map_err(KeeperError::Thread)?;
        match is_ready.recv() {
            Ok(Ok(())) => Ok(KeeperHandle { bells, waker, stopping, end, thread: Some(handle) }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(KeeperError::Executor("its thread ended".into())),
        }
    }
}

/// The running keeper. When this is dropped it stops, and nobody waits for it.
#[derive(Debug)]
pub struct KeeperHandle {
    bells: Vec<Arc<Bell>>,
    waker: Waker,
    stopping: Arc<AtomicBool>,
    end: Receiver<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl KeeperHandle {
    /// The bell that the shard of this journal rings, in the order in which they were given.
    pub fn bell(&self, journal: usize) -> Arc<Bell> {
        self.bells[journal].clone()
    }

    /// Brings to disk what is staged, and ends. Shards have staged their last. `false`: it was not through in time, and
    /// goes on alone; what is staged in a file is recovered at the next start.
    pub fn stop(mut self, deadline: Duration) -> bool {
        self.begin_stop();
        // Disconnected: the thread has ended, in whatever way.
        let late = matches!(self.end.recv_timeout(deadline), Err(error) if error.is_timeout());
        if late {
            return false;
        }
        // It has nothing left to do but to end.
        self.thread.take().is_some_and(|thread| thread.join().is_ok())
    }

    fn begin_stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl Drop for KeeperHandle {
    fn drop(&mut self) {
        self.begin_stop();
    }
}

/// Raises the soft limit as far as the hard one if it is too low.
fn allow_locked_memory() -> Result<(), KeeperError> {
    let Rlimit { current, maximum } = getrlimit(Resource::Memlock);
    let enough = |limit: Option<u64>| limit.is_none_or(|bytes| bytes >= MEMLOCK_BYTES);
    if enough(current) {
        return Ok(());
    }
    if enough(maximum) && setrlimit(Resource::Memlock, Rlimit { current: maximum, maximum }).is_ok() {
        return Ok(());
    }
    Err(KeeperError::MemoryLock(current.unwrap_or(u64::MAX)))
}

/// What the thread begins with.
struct Thread {
    options: KeeperOptions,
    alarm: Alarm,
    waker: Waker,
    bells: Vec<Arc<Bell>>,
    stopping: Arc<AtomicBool>,
}

impl Thread {
    fn run(self, journals: Vec<(Begin, Doorbell)>, ready: Sender<Result<(), KeeperError>>, ended: Sender<()>) {
        // Dropped last, whatever ends this thread.
        let _ended = ended;
        let (begins, doorbells): (Vec<_>, Vec<_>) = journals.into_iter().unzip();
        let shared = begins.iter().map(|begin| begin.staged.shared().clone());
        let last = LastWord(shared.zip(doorbells.into_iter().map(Rc::from)).collect());
        let made = Retain::new(self.options.retain.as_deref())
            .map_err(|error| KeeperError::Retain(self.options.retain.clone().unwrap_or_default(), error))
            .and_then(|retain| Ok((retain, executor(&self.options.cores)?)));
        let (retain, executor) = match made {
            Ok(made) => made,
            // Who starts it hears of it, and decides.
            Err(error) => return drop(ready.send(Err(error))),
        };
        executor.run(async {
            let (queues, syncs) = (Queues::new(), Rc::new(Syncs::default()));
            let keep = |((begin, bell), (_, doorbell)): ((Begin, _), &(_, LocalDoorbell))| {
                let disk = Disk::new(&begin, retain.clone(), self.options.sync_delay);
                Keep::new(begin, disk, Arc::clone(bell), Rc::clone(doorbell), queues, syncs.clone())
            };
            let keeps: Vec<_> = begins.into_iter().zip(&self.bells).zip(&last.0).map(keep).collect();
            let _ = ready.send(Ok(()));
            let sleeper = self.alarm.sleeper();
            loop {
                let stopping = self.stopping.load(Ordering::Acquire);
                for keep in &keeps {
                    keep.stop_if(stopping, &self.waker);
                    keep.drive();
                }
                if stopping && keeps.iter().all(|keep| keep.is_done()) {
                    break;
                }
                if sleeper.woken().await.is_err() {
                    break;
                }
            }
            for keep in keeps {
                keep.end().await;
            }
        });
    }
}

/// Fences every journal when the thread ends, however it does: nothing of them becomes durable any more.
struct LastWord(Vec<(Arc<Shared>, LocalDoorbell)>);

impl Drop for LastWord {
    fn drop(&mut self) {
        for (shared, doorbell) in &self.0 {
            shared.fence(Fence { trouble: Trouble::Keeper, segment: None, errno: 0 });
            doorbell();
        }
    }
}

fn executor(cores: &[usize]) -> Result<LocalExecutor, KeeperError> {
    if !cores.is_empty() {
        let mut set = CpuSet::new();
        // Beyond what a set can name there is no core.
        cores.iter().filter(|core| **core < CpuSet::MAX_CPU).for_each(|core| set.set(*core));
        // Its threads for calls that block begin on this one, and stay where it is.
        sched_setaffinity(None, &set).map_err(|error| KeeperError::Cores(cores.to_vec(), error.into()))?;
    }
    LocalExecutorBuilder::new(Placement::Unbound)
        .name("ringmain-keeper")
        .spin_before_park(Duration::ZERO)
        .ring_depth(RING_DEPTH)
        .io_memory(0)
        .make()
        .map_err(|error| KeeperError::Executor(error.to_string()))
}

/// The two kinds of work.
#[derive(Clone, Copy)]
struct Queues {
    sync: TaskQueueHandle,
    background: TaskQueueHandle,
}

impl Queues {
    fn new() -> Queues {
        // A queue whose latency matters has its requests in a second ring. The executor sleeps on the first one and
        // polls the second from there, and on Linux 6.18 (glommio 0.9) completions of the second were not noticed: with
        // five journals the keeper slept for ever beside syncs that had ended.
        let make =
            |shares, name| glommio::executor().create_task_queue(Shares::Static(shares), Latency::NotImportant, name);
        Queues { sync: make(SYNC_SHARES, "sync"), background: make(BACKGROUND_SHARES, "background") }
    }
}

/// Syncs of all journals of a keeper. A thread of the kernel does one while the executor goes on, which costs two changes
/// of thread: a third of the whole where the disk takes 0.17 ms. A journal that has the keeper for itself is spared them.
#[derive(Default)]
struct Syncs {
    under_way: Cell<u32>,
    /// Of whom the last one was: the journal's words.
    last: Cell<usize>,
}

impl Syncs {
    /// A sync is to begin.
    fn announce(&self) {
        self.under_way.set(self.under_way.get() + 1);
    }

    /// It begins. Whether no other journal wants the keeper now, or has since this one's last sync.
    fn begin(&self, of: &Arc<Shared>) -> bool {
        let of = Arc::as_ptr(of) as usize;
        self.last.replace(of) == of && self.under_way.get() == 1
    }

    fn end(&self) {
        self.under_way.set(self.under_way.get() - 1);
    }
}

/// One journal, and all that is done for it.
struct Keep {
    state: RefCell<State>,
    disk: Disk,
    shared: Arc<Shared>,
    bell: Arc<Bell>,
    doorbell: LocalDoorbell,
    queues: Queues,
    syncs: Rc<Syncs>,
    /// Rests under way: they are given up at the end.
    rests: RefCell<Vec<(Kind, Task<()>)>>,
}

struct State {
    plan: Plan,
    staged: Reader,
    ops: Vec<Op>,
    /// Rung when an operation ends, once the keeper is to stop.
    stopping: Option<Waker>,
}

impl Staged for Reader {
    fn whole(&self, from: Position, to: Position, bytes_max: u64) -> Position {
        Reader::whole(self, from, to, bytes_max)
    }

    fn sync(&mut self, to: Position) {
        Reader::sync(self, to);
    }
}

impl Keep {
    fn new(
        begin: Begin,
        disk: Disk,
        bell: Arc<Bell>,
        doorbell: LocalDoorbell,
        queues: Queues,
        syncs: Rc<Syncs>,
    ) -> Rc<Keep> {
        let shared = begin.staged.shared().clone();
        let plan = Plan::new(shared.clone(), begin.limits, begin.files);
        let state = State { plan, staged: begin.staged, ops: Vec::new(), stopping: None };
        let (state, rests) = (RefCell::new(state), RefCell::new(Vec::new()));
        Rc::new(Keep { state, disk, shared, bell, doorbell, queues, syncs, rests })
    }

    fn stop_if(&self, stopping: bool, waker: &Waker) {
        let mut state = self.state.borrow_mut();
        if stopping && state.stopping.is_none() {
            state.stopping = Some(waker.clone());
            state.plan.stop();
        }
    }

    fn is_done(&self) -> bool {
        self.state.borrow().plan.is_done()
    }

    /// Starts what there is to do. If there is nothing, and something may come, its bell is heard from now on.
    fn drive(self: &Rc<Keep>) {
        let mut state = self.state.borrow_mut();
        let State { plan, staged, ops, .. } = &mut *state;
        let (fenced, stuck) = (self.shared.fenced().is_some(), self.shared.stuck());
        plan.step(staged, ops);
        if plan.listens() {
            self.bell.sleep();
            // What came before the bell was heard.
            plan.step(staged, ops);
        }
        if !plan.listens() {
            self.bell.awake();
        }
        if !fenced && self.shared.fenced().is_some() || stuck != self.shared.stuck() {
            (self.doorbell)();
        }
        for op in ops.drain(..) {
            self.start(op, staged);
        }
    }

    fn start(self: &Rc<Keep>, op: Op, staged: &Reader) {
        let keep = self.clone();
        let stats = self.shared.clone();
        match op {
            Op::Write { number, base, from, to, sync } => {
                let mut bytes = Vec::with_capacity((crate::layout::HEADER_BYTES + to.0 - from.0) as usize);
                let at = self.disk.front(number, base, from, &mut bytes);
                let copied = staged.copy(from, to, &mut bytes);
                if sync {
                    self.syncs.announce();
                }
                self.spawn(self.queues.sync, async move {
                    let begun = Instant::now();
                    let how = match sync {
                        true if keep.syncs.begin(&keep.shared) => Write::Here,
                        true => Write::AtOnce,
                        false => Write::Later,
                    };
                    let outcome = match copied {
                        Ok(()) => keep.disk.write(number, at, bytes, how).await,
                        Err(_) => Outcome::Gone,
                    };
                    stats.stats().wrote(to.0 - from.0);
                    if sync {
                        keep.syncs.end();
                        stats.stats().synced(begun.elapsed());
                    }
                    keep.complete(Kind::Write, outcome);
                });
            }
            Op::Sync { number } => {
                self.syncs.announce();
                self.spawn(self.queues.sync, async move {
                    let begun = Instant::now();
                    keep.syncs.begin(&keep.shared);
                    let outcome = keep.disk.sync(number).await;
                    keep.syncs.end();
                    stats.stats().synced(begun.elapsed());
                    keep.complete(Kind::Sync, outcome);
                });
            }
            Op::Prepare { number, reuse } => self.spawn(self.queues.background, async move {
                let outcome = keep.disk.prepare(number, reuse).await;
                if outcome == Outcome::Done {
                    stats.stats().prepared(reuse.is_some());
                }
                keep.complete(Kind::Prepare, outcome);
            }),
            Op::Checkpoint { sequence, cut } => self.spawn(self.queues.background, async move {
                let outcome = keep.disk.checkpoint(sequence, cut).await;
                if outcome == Outcome::Done {
                    stats.stats().checkpointed();
                }
                keep.complete(Kind::Checkpoint, outcome);
            }),
            Op::Remove { number } => self.spawn(self.queues.background, async move {
                let outcome = keep.disk.remove(number).await;
                if outcome == Outcome::Done {
                    stats.stats().removed();
                }
                keep.complete(Kind::Remove, outcome);
            }),
            Op::Rest { of, time } => {
                let rest = glommio::spawn_local_into(
                    async move {
                        Timer::new(time).await;
                        keep.state.borrow_mut().plan.rested(of);
                        keep.drive();
                    },
                    self.queues.background,
                );
                let mut rests = self.rests.borrow_mut();
                // One of the same kind is over, or this one stands for it.
                rests.retain(|(other, _)| *other != of);
                rests.push((of, rest.expect("the queue is there as long as the executor")));
            }
        }
    }

    fn spawn(&self, queue: TaskQueueHandle, work: impl Future<Output = ()> + 'static) {
        glommio::spawn_local_into(work, queue).expect("the queue is there as long as the executor").detach();
    }

    fn complete(self: &Rc<Keep>, kind: Kind, outcome: Outcome) {
        if let Outcome::Failed(libc::ENOSPC | libc::EDQUOT) = outcome {
            self.shared.stats().met_full_disk();
        }
        let fenced = self.shared.fenced().is_some();
        let moved;
        {
            let State { plan, staged, stopping, .. } = &mut *self.state.borrow_mut();
            let synced = self.shared.synced();
            plan.complete(kind, outcome, staged);
            moved = synced != self.shared.synced();
            if let Some(waker) = stopping {
                waker.wake();
            }
        }
        if moved || fenced != self.shared.fenced().is_some() {
            (self.doorbell)();
        }
        self.drive();
    }

    /// Gives up its rests, closes its files, and removes what staged its bytes if all of them are on disk.
    async fn end(self: Rc<Keep>) {
        let rests = std::mem::take(&mut *self.rests.borrow_mut());
        for (_, rest) in rests {
            rest.cancel().await;
        }
        self.disk.close().await;
        if let Ok(keep) = Rc::try_unwrap(self).map_err(drop) {
            // A file too many is read by the next start, which finds all of it in the segments.
            let _ = keep.state.into_inner().staged.remove();
        }
    }
}

#[cfg(test)]
mod tests;
