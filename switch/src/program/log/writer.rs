//! The service thread that prints what shards recorded.

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crossbeam::queue::ArrayQueue;
use shard::config::CorePlan;

use super::super::plan::move_to_service_cores;
use super::sink::{Channel, LogSink, QUEUE_RECORDS, Sleeper};
use super::{Level, format};
use crate::config::settings;

/// How long the logger gathers lines once something came: wake-ups cost a shard, and lines leave together.
const GATHER: Duration = Duration::from_millis(20);
/// Time between two lines about suppressed lines.
const SUPPRESSED_EVERY: Duration = Duration::from_secs(1);

/// The program's own end of the log: prints at once, from any thread that may wait.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    level: Level,
}

impl Log {
    /// Prints one line of `level`, if that level is printed.
    pub fn print(&self, level: Level, text: &dyn fmt::Display) {
        if level <= self.level {
            let mut line = String::new();
            format::line(&mut line, SystemTime::now(), level, text);
            emit(&line);
        }
    }
}

/// The thread that prints what shards recorded.
pub struct Logger {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    log: Log,
}

struct Shared {
    channels: Vec<Arc<Channel>>,
    sleeper: Arc<Sleeper>,
    stopping: AtomicBool,
}

impl Logger {
    /// Starts the logger, on the service cores of `cores`, and gives each shard of it its sink, in order. `origin` is
    /// the wall clock's time at [`shard::Instant::ZERO`].
    pub fn start(
        settings: &settings::Log,
        cores: &CorePlan,
        origin: SystemTime,
    ) -> std::io::Result<(Logger, Vec<LogSink>)> {
        let settings::Log { level, max_rate } = *settings;
        let sleeper = Arc::new(Sleeper { asleep: AtomicBool::new(false), thread: std::sync::OnceLock::new() });
        let channel = |_| Arc::new(Channel { records: ArrayQueue::new(QUEUE_RECORDS), suppressed: AtomicU64::new(0) });
        let channels: Vec<Arc<Channel>> = cores.shards.iter().map(channel).collect();
        let sinks =
            channels.iter().map(|channel| LogSink::new(channel.clone(), sleeper.clone(), level, max_rate)).collect();

        let shared = Arc::new(Shared { channels, sleeper, stopping: AtomicBool::new(false) });
        let writer =
            Writer { reported: vec![0; cores.shards.len()], shared: shared.clone(), origin, lines: String::new() };
        let service_cores = cores.clone();
        let thread = std::thread::Builder::new().name("ringmain-log".into()).spawn(move || {
            move_to_service_cores(&service_cores);
            writer.run();
        })?;
        Ok((Logger { shared, thread: Some(thread), log: Log { level } }, sinks))
    }

    /// The program's own end of the log.
    pub fn log(&self) -> Log {
        self.log
    }
}

impl Drop for Logger {
    /// Prints what is left.
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.sleeper.wake();
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// The logger's own state.
struct Writer {
    shared: Arc<Shared>,
    origin: SystemTime,
    lines: String,
    /// Suppressed lines that were reported already, of each shard.
    reported: Vec<u64>,
}

impl Writer {
    fn run(mut self) {
        let _ = self.shared.sleeper.thread.set(std::thread::current());
        let mut counted = std::time::Instant::now();
        loop {
            let stopping = self.shared.stopping.load(Ordering::Acquire);
            let idle = !self.drain();
            if stopping || counted.elapsed() >= SUPPRESSED_EVERY {
                self.count_suppressed();
                counted = std::time::Instant::now();
            }
            emit(&self.lines);
            self.lines.clear();
            if stopping {
                return;
            }
            if idle && !self.uncounted() { self.sleep() } else { std::thread::park_timeout(GATHER) }
        }
    }

    /// Formats what waits, shard by shard; says whether there was something.
    fn drain(&mut self) -> bool {
        let before = self.lines.len();
        for (shard, channel) in self.shared.channels.iter().enumerate() {
            // Bounded: a shard that writes as fast as this reads must not starve the others.
            for _ in 0..QUEUE_RECORDS {
                let Some(record) = channel.records.pop() else { break };
                format::record(&mut self.lines, self.origin, shard, &record);
            }
        }
        self.lines.len() > before
    }

    fn uncounted(&self) -> bool {
        let channels = self.shared.channels.iter().zip(&self.reported);
        channels.into_iter().any(|(channel, reported)| channel.suppressed.load(Ordering::Relaxed) != *reported)
    }

    fn count_suppressed(&mut self) {
        for (shard, (channel, reported)) in self.shared.channels.iter().zip(&mut self.reported).enumerate() {
            let suppressed = channel.suppressed.load(Ordering::Relaxed);
            if suppressed != *reported {
                let text = format!("[{shard}] {} lines suppressed (log.max_rate)", suppressed - *reported);
                format::line(&mut self.lines, SystemTime::now(), Level::Warn, &text);
                *reported = suppressed;
            }
        }
    }

    /// Parks until a shard has something to say.
    fn sleep(&self) {
        let sleeper = &self.shared.sleeper;
        sleeper.asleep.store(true, Ordering::Relaxed);
        // Pairs with the fence in `Sleeper::wake`.
        fence(Ordering::SeqCst);
        let empty = self.shared.channels.iter().all(|channel| channel.records.is_empty());
        if empty && !self.uncounted() && !self.shared.stopping.load(Ordering::Relaxed) {
            std::thread::park();
        }
        sleeper.asleep.store(false, Ordering::Relaxed);
    }
}

/// Writes lines to standard error in one call. A log that cannot be written is no reason to stop.
fn emit(lines: &str) {
    if !lines.is_empty() {
        let _ = std::io::stderr().lock().write_all(lines.as_bytes());
    }
}
