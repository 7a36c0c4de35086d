//! A shard's end of the log: records of fixed size, within a rate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::thread::Thread;
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use shard::Instant;

use super::Level;

/// Records that wait for the logger, of one shard.
pub(super) const QUEUE_RECORDS: usize = 512;
/// Bytes of a client id that a line keeps; the rest is cut and marked.
const CLIENT_BYTES: usize = 64;
/// Bytes of text that a line keeps.
const TEXT_BYTES: usize = 128;

/// Who a line is about.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// The client id; empty before CONNECT.
    pub client_id: &'a str,
    /// The socket's other end.
    pub address: SocketAddr,
}

/// Text with its bytes in place, cut at a character where it is too long.
#[derive(Clone, Copy)]
pub(super) struct Inline<const N: usize> {
    bytes: [u8; N],
    len: u8,
    cut: bool,
}

impl<const N: usize> Inline<N> {
    const FITS_U8: () = assert!(N <= u8::MAX as usize);

    fn new(text: &str) -> Inline<N> {
        let () = Inline::<N>::FITS_U8;
        let fits = text.len().min(N);
        let len = (0..=fits).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let mut bytes = [0; N];
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        Inline { bytes, len: len as u8, cut: len < text.len() }
    }

    /// The text, and whether it was cut.
    pub(super) fn text(&self) -> (&str, bool) {
        let kept = &self.bytes[..usize::from(self.len)];
        (std::str::from_utf8(kept).unwrap_or_default(), self.cut)
    }
}

/// One line to be.
pub(super) struct Record {
    pub(super) at: Instant,
    pub(super) level: Level,
    pub(super) what: What,
}

/// What a line says.
pub(super) enum What {
    Connected { client: Inline<CLIENT_BYTES>, address: SocketAddr, version: u8, keepalive: u16, resumed: bool },
    Disconnected { client: Inline<CLIENT_BYTES>, address: SocketAddr, reason: &'static str },
    Refused { client: Inline<CLIENT_BYTES>, address: SocketAddr, reason: &'static str },
    Text(Inline<TEXT_BYTES>),
}

const _: () = assert!(size_of::<Record>() <= 192, "records stay within three cache lines");

/// What a shard and the logger share.
pub(super) struct Channel {
    pub(super) records: ArrayQueue<Record>,
    /// Lines that were not printed, ever; one writer, the shard.
    pub(super) suppressed: AtomicU64,
}

/// The logger's alarm clock.
pub(super) struct Sleeper {
    pub(super) asleep: AtomicBool,
    pub(super) thread: std::sync::OnceLock<Thread>,
}

impl Sleeper {
    /// Wakes the logger if it sleeps; costs a fence and a load if not.
    pub(super) fn wake(&self) {
        // Pairs with the fence in `Writer::sleep`: either it sees the record, or this sees that it sleeps.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed)
            && self.asleep.swap(false, Ordering::Relaxed)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

/// Where a shard's lines go. Each shard has its own; it never blocks and allocates nothing.
pub struct LogSink {
    channel: Arc<Channel>,
    sleeper: Arc<Sleeper>,
    /// The least important level that is printed, if any is.
    level: Option<Level>,
    budget: Budget,
}

impl LogSink {
    pub(super) fn new(channel: Arc<Channel>, sleeper: Arc<Sleeper>, level: Level, per_second: u32) -> LogSink {
        LogSink { channel, sleeper, level: Some(level), budget: Budget::new(per_second) }
    }

    /// A sink that keeps nothing, for a switch without a logger.
    pub fn none() -> LogSink {
        let channel = Channel { records: ArrayQueue::new(1), suppressed: AtomicU64::new(0) };
        let sleeper = Sleeper { asleep: AtomicBool::new(false), thread: std::sync::OnceLock::new() };
        LogSink { channel: Arc::new(channel), sleeper: Arc::new(sleeper), level: None, budget: Budget::new(0) }
    }

    /// Whether lines of this level are printed; ask before building a text.
    pub fn enabled(&self, level: Level) -> bool {
        self.level.is_some_and(|least| level <= least)
    }

    /// A client was accepted. `version` is the protocol level of its CONNECT (4 or 5), `keepalive` in seconds,
    /// `resumed` whether it found its session.
    pub fn connected(&mut self, now: Instant, peer: Peer<'_>, version: u8, keepalive: u16, resumed: bool) {
        self.put(now, Level::Info, || What::Connected {
            client: Inline::new(peer.client_id),
            address: peer.address,
            version,
            keepalive,
            resumed,
        });
    }

    /// A client that had been accepted is gone; `reason` completes "disconnected: ".
    pub fn disconnected(&mut self, now: Instant, peer: Peer<'_>, reason: &'static str) {
        self.put(now, Level::Info, || What::Disconnected {
            client: Inline::new(peer.client_id),
            address: peer.address,
            reason,
        });
    }

    /// A connection was closed before it was accepted; `reason` completes "refused: ". The client id is empty where its
    /// CONNECT was not read.
    pub fn refused(&mut self, now: Instant, peer: Peer<'_>, reason: &'static str) {
        self.put(now, Level::Info, || What::Refused {
            client: Inline::new(peer.client_id),
            address: peer.address,
            reason,
        });
    }

    /// Anything else.
    pub fn event(&mut self, now: Instant, level: Level, text: &str) {
        self.put(now, level, || What::Text(Inline::new(text)));
    }

    fn put(&mut self, now: Instant, level: Level, what: impl FnOnce() -> What) {
        if !self.enabled(level) {
            return;
        }
        // Errors and warnings are few and always matter; only the queue bounds them.
        let within_rate = level <= Level::Warn || self.budget.take(now);
        if !within_rate || self.channel.records.push(Record { at: now, level, what: what() }).is_err() {
            let suppressed = self.channel.suppressed.load(Ordering::Relaxed);
            self.channel.suppressed.store(suppressed + 1, Ordering::Relaxed);
        }
        self.sleeper.wake();
    }
}

/// So many lines in each second, counted from the first line of that second.
struct Budget {
    per_second: u32,
    left: u32,
    renewed: Instant,
}

impl Budget {
    fn new(per_second: u32) -> Budget {
        Budget { per_second, left: per_second, renewed: Instant::ZERO }
    }

    fn take(&mut self, now: Instant) -> bool {
        if now.since(self.renewed) >= Duration::from_secs(1) {
            self.renewed = now;
            self.left = self.per_second;
        }
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text is cut at a character, never inside one.
    #[test]
    fn inline_text_is_cut_at_a_character() {
        assert_eq!(Inline::<4>::new("abcd").text(), ("abcd", false));
        assert_eq!(Inline::<4>::new("abcé").text(), ("abc", true));
        assert_eq!(Inline::<4>::new("").text(), ("", false));
    }

    /// A second has so many lines, and the next one has as many again.
    #[test]
    fn budget_renews_each_second() {
        let mut budget = Budget::new(2);
        let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
        assert_eq!([5_000, 5_001, 5_002].map(|millis| budget.take(at(millis))), [true, true, false]);
        assert_eq!([5_999, 6_000, 6_001, 6_002].map(|millis| budget.take(at(millis))), [false, true, true, false]);
    }
}
