//! How far a start has come, for who waits for it: lines on standard error, and the service manager's status.
//!
//! What takes less than a second is said once, when it begins. Beyond that a terminal shows one line that changes each
//! second; where the lines are kept (a service's log) there is one each ten seconds.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::utils::CachePadded;

use super::supervisor;
use crate::config::value::about_bytes;

/// How often a terminal shows something new.
const SHOWN: Duration = Duration::from_secs(1);
/// How often a line is written where lines are kept.
pub const KEPT: Duration = Duration::from_secs(10);

/// Work whose parts are done at the same time, each by a thread that says how much of it is done.
pub struct Progress {
    /// Bytes that each part has done.
    done: Box<[CachePadded<AtomicU64>]>,
    /// Bytes that all have to do, at most.
    total: u64,
}

impl Progress {
    /// Work of so many parts, in which there are so many bytes at most.
    pub fn new(parts: u16, total: u64) -> Progress {
        Progress { done: (0..parts).map(|_| CachePadded::default()).collect(), total }
    }

    /// A part has done so many bytes more.
    #[inline]
    pub fn add(&self, part: u16, bytes: u64) {
        // Each word has one writer.
        let done = &self.done[usize::from(part)];
        done.store(done.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
    }

    /// How far it is after this time.
    fn line(&self, after: Duration) -> String {
        let done: u64 = self.done.iter().map(|done| done.load(Ordering::Relaxed)).sum();
        let percent = (u128::from(done) * 100).checked_div(self.total.into()).unwrap_or(100).min(100);
        let rate = (done as f64 / after.as_secs_f64()) as u64;
        let mut line = format!("{percent} % of {}, {}/s", about_bytes(self.total), about_bytes(rate));
        if let Some(left) = self.total.saturating_sub(done).checked_div(rate) {
            line += &format!(", {left} s left");
        }
        line
    }
}

/// Does what takes long, and says so: `what` when it begins, and how far it is from then on.
pub fn during<T>(what: &str, progress: &Progress, work: impl FnOnce() -> T) -> T {
    let terminal = io::stderr().is_terminal();
    let every = if terminal { SHOWN } else { KEPT };
    telling(what, every, |after| progress.line(after), terminal, &mut io::stderr(), work)
}

/// The same, for what says of itself how far it is; told to `out`, each time that `every` has passed.
fn telling<T>(
    what: &str,
    every: Duration,
    mut line: impl FnMut(Duration) -> String + Send,
    terminal: bool,
    out: &mut (impl Write + Send),
    work: impl FnOnce() -> T,
) -> T {
    // Who does not read what is said waits all the same.
    let _ = writeln!(out, "{what}");
    supervisor::status(what);
    let (end, ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let begun = Instant::now();
            let mut told = false;
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                told = true;
                let line = line(begun.elapsed());
                supervisor::status(&format!("{what}: {line}"));
                // To the beginning of the line, and nothing of what stood there.
                let _ = if terminal { write!(out, "\r\x1b[K{line}") } else { writeln!(out, "{line}") };
                let _ = out.flush();
            }
            if terminal && told {
                let _ = writeln!(out);
            }
        });
        // Also where it panics: else the teller would go on for ever.
        let end = end;
        let done = work();
        drop(end);
        done
    })
}

/// What is read at a start.
pub fn reading(shards: u16, directory: &Path, bytes: u64) -> String {
    let journals = if shards == 1 { "journal of 1 shard".to_owned() } else { format!("journals of {shards} shards") };
    format!("reading the {journals} in {}: {}", directory.display(), about_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line says how much, of what, how fast, and how long it will still take.
    #[test]
    fn a_line_says_how_far_it_is() {
        let progress = Progress::new(2, 3 << 30);
        assert_eq!(progress.line(Duration::from_secs(1)), "0 % of 3.0 GiB, 0 B/s");
        progress.add(0, 1 << 30);
        progress.add(1, 512 << 20);
        assert_eq!(progress.line(Duration::from_secs(3)), "50 % of 3.0 GiB, 512 MiB/s, 3 s left");
        progress.add(1, 9 << 30);
        assert_eq!(progress.line(Duration::from_secs(3)), "100 % of 3.0 GiB, 3.5 GiB/s, 0 s left");
        assert_eq!(Progress::new(1, 0).line(Duration::from_secs(1)), "100 % of 0 B, 0 B/s");
    }

    /// It is told until the work is done, in lines, or in one line that changes.
    #[test]
    fn it_is_told_until_it_is_done() {
        for (terminal, begin, between) in [(false, "", "\n"), (true, "\r\x1b[K", "")] {
            let (said, heard) = mpsc::sync_channel(0);
            let line = |_| match said.send(()) {
                Ok(()) => "said".to_owned(),
                Err(_) => "late".to_owned(),
            };
            let mut out = Vec::new();
            telling("what", Duration::from_millis(1), line, terminal, &mut out, || {
                (0..3).for_each(|_| heard.recv().expect("it tells"));
                drop(heard);
            });
            let out = String::from_utf8(out).expect("text");
            let said = format!("{begin}said{between}").repeat(3);
            assert!(out.starts_with(&format!("what\n{said}")) && out.ends_with('\n'), "{out:?}");
        }
    }
}
