//! Starting shards: one pinned thread each, which stand and fall together.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crossbeam::channel::{self, Receiver};

use crate::affinity;
use crate::config::CorePlan;
use crate::error::AffinityError;

/// Why a shard did not start, or ended.
#[derive(Debug)]
pub enum ShardError<E> {
    /// Its thread cannot be pinned.
    Affinity(AffinityError),
    /// The system has no room for its thread.
    Spawn(io::Error),
    /// What it ran said so.
    Failed(E),
}

impl<E: std::fmt::Display> std::fmt::Display for ShardError<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ShardError::Affinity(error) => error.fmt(f),
            ShardError::Spawn(error) => {
                write!(f, "no thread for a shard: {error}; raise the limit on tasks (`ulimit -u`)")
            }
            ShardError::Failed(error) => error.fmt(f),
        }
    }
}

impl<E: std::fmt::Debug + std::fmt::Display> std::error::Error for ShardError<E> {}

/// The running shards of a process.
#[derive(Debug)]
pub struct Shards<E> {
    threads: Vec<JoinHandle<()>>,
    ended: Receiver<Result<(), ShardError<E>>>,
}

/// Starts one thread for each entry of the plan, named `ringmain-N`, pinned, and running `work[N]`.
///
/// A panic in any of them ends the process: half a switch is worse than none.
pub fn launch<W, E>(plan: &CorePlan, work: Vec<W>) -> Result<Shards<E>, ShardError<E>>
where
    W: FnOnce() -> Result<(), E> + Send + 'static,
    E: Send + 'static,
{
    assert_eq!(plan.shards.len(), work.len(), "one piece of work for each shard");
    let allowed = affinity::allowed_cores();
    for core in plan.shards.iter().flatten() {
        affinity::check_core(*core, &allowed).map_err(ShardError::Affinity)?;
    }
    let (report, ended) = channel::bounded(work.len());
    let mut threads = Vec::with_capacity(work.len());
    for (shard, (work, core)) in work.into_iter().zip(plan.shards.iter().copied()).enumerate() {
        let report = report.clone();
        let body = move || {
            let _panicking = AbortOnPanic { shard };
            let result = core.map_or(Ok(()), affinity::pin).map_err(ShardError::Affinity);
            let result = result.and_then(|()| work().map_err(ShardError::Failed));
            // The receiver is gone if another shard failed first; nobody wants to know then.
            let _ = report.send(result);
        };
        let thread = thread::Builder::new().name(format!("ringmain-{shard}")).spawn(body);
        threads.push(thread.map_err(ShardError::Spawn)?);
    }
    Ok(Shards { threads, ended })
}

impl<E> Shards<E> {
    /// Waits until all shards have ended, or until the first one fails: the others are left running then, for the
    /// process to end.
    pub fn join(self) -> Result<(), ShardError<E>> {
        for _ in 0..self.threads.len() {
            // Each thread reports or aborts the process.
            self.ended.recv().expect("every shard reports")?;
        }
        for thread in self.threads {
            let _ = thread.join();
        }
        Ok(())
    }
}

struct AbortOnPanic {
    shard: usize,
}

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("ringmain: shard {} panicked; the process ends", self.shard);
            std::process::abort();
        }
    }
}

/// One shard's place in a meeting, where all shards exchange something before any of them goes on: the descriptors of
/// their rings, which exist only once each thread has made its own.
#[derive(Debug)]
pub struct Meeting<T> {
    room: Arc<Room<T>>,
    seat: usize,
    met: bool,
}

#[derive(Debug)]
struct Room<T> {
    state: Mutex<Arrivals<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Arrivals<T> {
    values: Vec<Option<T>>,
    left: bool,
}

/// A shard left before it came to the meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned;

impl std::fmt::Display for Abandoned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "another shard could not start")
    }
}

impl std::error::Error for Abandoned {}

impl<T: Clone> Meeting<T> {
    /// A meeting of `shards` shards: the place of each, in order.
    pub fn of(shards: usize) -> Vec<Meeting<T>> {
        let state = Mutex::new(Arrivals { values: (0..shards).map(|_| None).collect(), left: false });
        let room = Arc::new(Room { state, changed: Condvar::new() });
        (0..shards).map(|seat| Meeting { room: room.clone(), seat, met: false }).collect()
    }

    /// Brings `value`, waits for all others, and returns what each has brought, in order. A place that is dropped
    /// instead ends the meeting for all.
    pub fn meet(mut self, value: T) -> Result<Vec<T>, Abandoned> {
        self.met = true;
        let mut state = self.room.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.values[self.seat] = Some(value);
        self.room.changed.notify_all();
        loop {
            if let Some(values) = state.values.iter().cloned().collect() {
                return Ok(values);
            }
            if state.left {
                return Err(Abandoned);
            }
            state = self.room.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Drop for Meeting<T> {
    fn drop(&mut self) {
        if !self.met {
            self.room.state.lock().unwrap_or_else(PoisonError::into_inner).left = true;
            self.room.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CoreId;

    /// Shards run on threads with their names, and what they bring to a meeting reaches all, in order.
    #[test]
    fn shards_start_named_and_meet() {
        let work = Meeting::of(3).into_iter().enumerate().map(|(shard, meeting)| {
            move || {
                assert_eq!(thread::current().name(), Some(format!("ringmain-{shard}").as_str()));
                assert_eq!(meeting.meet(shard * 10), Ok(vec![0, 10, 20]));
                Ok::<(), String>(())
            }
        });
        let plan = CorePlan::spread(3, &affinity::allowed_cores());
        launch(&plan, work.collect()).expect("allowed cores").join().expect("no failure");
    }

    /// One shard that fails to start is reported, and those that wait for it do not wait for ever.
    #[test]
    fn a_failure_ends_the_meeting() {
        let work = Meeting::of(2).into_iter().enumerate().map(|(shard, meeting)| {
            move || {
                if shard == 1 {
                    return Err("no ring".to_owned());
                }
                meeting.meet(shard).map(drop).map_err(|abandoned| abandoned.to_string())
            }
        });
        let failure = launch(&CorePlan::spread(2, &[]), work.collect()).expect("threads").join();
        assert!(matches!(failure, Err(ShardError::Failed(_))), "{failure:?}");
    }

    /// A core that is not there is an error before any thread starts.
    #[test]
    fn a_missing_core_is_refused() {
        let plan = CorePlan { shards: vec![Some(CoreId(4000))], service_cores: Vec::new() };
        let refused = launch(&plan, vec![|| Ok::<(), String>(())]);
        assert!(matches!(refused, Err(ShardError::Affinity(AffinityError::Offline { .. }))));
    }
}
