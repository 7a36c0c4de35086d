//! Signals, and how the program ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use shard::config::CorePlan;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::{Handle, Signals};

use super::log::{Level, Log};
use super::plan::move_to_service_cores;
use crate::limits::STOP_MAX;

/// Whether the program should come to its end; every shard looks once a turn.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Whether a stop was requested.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Requests a stop. Shards that sleep must be woken to see it.
    pub fn request(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The thread that listens to signals; dropping it ends the listening.
pub struct SignalThread {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl SignalThread {
    /// Starts to listen, on the service cores of `cores`. The first SIGTERM or SIGINT sets `stop` and calls `wake`,
    /// which rings every shard's doorbell; the second, or [`STOP_MAX`] without an end, ends the process at once. SIGHUP
    /// calls `reload`. The others are only logged.
    pub fn start(
        stop: StopFlag,
        log: Log,
        cores: &CorePlan,
        wake: impl Fn() + Send + 'static,
        reload: impl Fn() + Send + 'static,
    ) -> std::io::Result<SignalThread> {
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2])?;
        let (handle, cores) = (signals.handle(), cores.clone());
        let thread = std::thread::Builder::new().name("ringmain-signal".into()).spawn(move || {
            move_to_service_cores(&cores);
            for signal in signals.forever() {
                match signal {
                    SIGTERM | SIGINT if stop.requested() => {
                        log.print(Level::Warn, &format_args!("{} again: stopping at once", name(signal)));
                        std::process::exit(0);
                    }
                    SIGTERM | SIGINT => {
                        log.print(Level::Info, &format_args!("{}: stopping; again: at once", name(signal)));
                        stop.request();
                        wake();
                        exit_after_deadline(log);
                    }
                    SIGHUP => reload(),
                    other => log.print(Level::Info, &format_args!("{}: nothing to do in this version", name(other))),
                }
            }
        })?;
        Ok(SignalThread { handle, thread: Some(thread) })
    }
}

impl Drop for SignalThread {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sees to it that a stop ends, whatever waits.
fn exit_after_deadline(log: Log) {
    let started = std::thread::Builder::new().name("ringmain-stop".into()).spawn(move || {
        std::thread::sleep(STOP_MAX);
        log.print(Level::Warn, &format_args!("not everything was drained after {STOP_MAX:?}: stopping at once"));
        std::process::exit(0);
    });
    if started.is_err() {
        log.print(Level::Warn, &"no thread for the deadline of the stop: signal again if it takes too long");
    }
}

fn name(signal: i32) -> &'static str {
    signal_hook::low_level::signal_name(signal).unwrap_or("signal")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flag is seen by every holder.
    #[test]
    fn a_request_is_seen_by_all() {
        let flag = StopFlag::default();
        let other = flag.clone();
        assert!(!other.requested());
        flag.request();
        assert!(other.requested());
    }
}
