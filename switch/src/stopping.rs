//! How a shard stops: its connections are closed in slices, and then it waits for the others.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shard::Effects;

use crate::connection::Phase;
use crate::connection::close::Cause;
use crate::switch::{Switch, TimerKind, timer_word};

/// How often a shard looks around while the node stops.
const STOP_LOOK: Duration = Duration::from_millis(5);
/// Connections closed in one turn while the node stops.
const CLOSES_PER_TURN: usize = 256;

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopping {
    No,
    /// Connections are being closed.
    Closing,
    /// All are closed here; other shards may not be as far.
    Quiet,
}

impl Switch {
    /// Closes connections in slices; when none is left, waits for the other shards.
    pub(crate) fn stop_on(&mut self, fx: &mut Effects) {
        match self.stopping {
            Stopping::No => {
                self.stopping = Stopping::Closing;
                self.stop_timer(fx);
            }
            Stopping::Closing => {}
            Stopping::Quiet => return,
        }
        let mut left = 0;
        for slot in self.connections.slots() {
            match self.connections.at(slot).phase {
                Phase::Empty | Phase::Accepting => continue,
                Phase::Open | Phase::Handshake | Phase::Authenticating | Phase::Challenged | Phase::Claimed
                    if left < CLOSES_PER_TURN =>
                {
                    self.close(slot, Cause::Stop, fx);
                }
                _ => {}
            }
            left += 1;
        }
        self.stop_recalls(fx);
        let rests = !self.wills_wait()
            && self.courier.is_empty()
            && self.own.iter().all(VecDeque::is_empty)
            && self.journal.is_at_rest();
        if left == 0 && rests {
            self.stopping = Stopping::Quiet;
            self.node.quiet.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Nothing tells a shard that sleeps how far the others have come.
    pub(crate) fn stop_timer(&mut self, fx: &mut Effects) {
        fx.timers.set(self.now.after(STOP_LOOK), timer_word(TimerKind::Stop, 0, 0));
    }
}
