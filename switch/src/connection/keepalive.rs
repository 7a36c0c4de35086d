//! Keep alive, and the other times that a connection is given.

use std::time::Duration;

use shard::{Effects, Instant, Slot};
use wire::mqtt::ProtocolVersion;

use super::{ConnectionId, Phase};
use crate::connection::close::Cause;
use crate::switch::{Switch, TimerKind, timer_word};

impl Switch {
    /// The Server Keep Alive to announce: where a cap applies and the client asks for more, or for none.
    pub fn server_keep_alive(&self, asked: u16) -> Option<u16> {
        let max = self.limits.max_keepalive;
        (max > 0 && (asked == 0 || asked > max)).then_some(max)
    }

    /// Begins to watch a client's silence. 3.1.1 clients cannot be told of a cap, so theirs is what they asked for.
    pub fn start_keepalive(&mut self, slot: Slot, asked: u16, fx: &mut Effects) {
        let v5 = self.connections.at(slot).version == ProtocolVersion::V5;
        let seconds = self.server_keep_alive(asked).filter(|_| v5).unwrap_or(asked);
        let limit_ms = u32::from(seconds) * 1500;
        let conn = self.connections.at_mut(slot);
        conn.keepalive_ms = limit_ms;
        conn.heard_ms = self.now.as_millis() as u32;
        if limit_ms > 0 {
            self.set_connection_timer(slot, self.now.after(Duration::from_millis(limit_ms.into())), fx);
        } else if let Some(timer) = conn.timer.take() {
            fx.timers.cancel(timer);
        }
    }

    /// Sets the one timer of a connection.
    pub fn set_connection_timer(&mut self, slot: Slot, due: Instant, fx: &mut Effects) {
        let conn = self.connections.at_mut(slot);
        if let Some(timer) = conn.timer.take() {
            fx.timers.cancel(timer);
        }
        conn.timer = Some(fx.timers.set(due, timer_word(TimerKind::Connection, slot.0, conn.generation)));
    }

    /// The timer of a connection fired.
    pub fn connection_timer(&mut self, id: ConnectionId, fx: &mut Effects) {
        let now = self.now;
        let Some(conn) = self.connections.find(id) else { return };
        conn.timer = None;
        match conn.phase {
            Phase::Handshake | Phase::Authenticating | Phase::Challenged => {
                self.close(id.slot, Cause::ConnectTimeout, fx);
            }
            Phase::Lingering => self.begin_closing(id.slot, fx),
            Phase::Open => {
                let limit = conn.keepalive_ms;
                let silent = (now.as_millis() as u32).wrapping_sub(conn.heard_ms);
                if silent >= limit && !conn.parked {
                    return self.close(id.slot, Cause::KeepAlive, fx);
                }
                let left = if conn.parked { limit } else { limit - silent };
                self.set_connection_timer(id.slot, now.after(Duration::from_millis(left.max(1).into())), fx);
            }
            // The session home answers in its own time, and the kernel too.
            Phase::Claimed | Phase::Moving | Phase::Arriving | Phase::Accepting | Phase::Closing | Phase::Empty => {}
        }
    }
}
