//! Clients that send what no client may send.

use crate::model::Conn;
use crate::packet::{self, Connect, Publish, Version};
use crate::trace::trace;
use crate::world::World;

impl World {
    /// Somebody sends what no client may send; its own connection must end, and nothing else.
    pub(crate) fn be_hostile(&mut self) {
        self.hostile += 1;
        let shard = self.rng.u16(..self.machine.shards());
        let socket = self.machine.kernel_mut().connect(shard);
        let mut bytes = Vec::new();
        let name = format!("hostile{}", self.hostile);
        let connect = Connect::plain(&name);
        let mut kind = self.rng.u8(..8);
        if self.swarm.plan.settings.limits.queue_memory < 1 << 20 || self.journal_refuses() {
            // Publishes that are refused for want of memory do not fill the window.
            kind = kind.min(5);
        }
        let mut doomed = None;
        match kind {
            0 => bytes.extend((0..self.rng.usize(1..50)).map(|_| self.rng.u8(16..))),
            1 => {
                packet::connect(&mut bytes, &connect);
                bytes.truncate(self.rng.usize(1..bytes.len()));
            }
            _ => {
                packet::connect(&mut bytes, &connect);
                let (code, wrong): (u8, &[u8]) = match kind {
                    2 => (0x82, &[0x20, 3, 0, 0, 0]),
                    3 => (0x82, &[0x10, 2, 0, 0]),
                    4 => (0x81, &[0x36, 5, 0, 1, b'h', 0, 0]),
                    5 => (0x95, &[0x30, 0xff, 0xff, 0xff, 0x7f]),
                    _ => (0x93, &[]),
                };
                bytes.extend(wrong);
                doomed = Some(code);
                if code == 0x93 {
                    let quota = self.swarm.plan.settings.limits.receive_maximum;
                    for id in 1..=(quota + 1).min(40) {
                        let payload = b"hostile";
                        let publish =
                            Publish { dup: false, qos: 2, retain: false, topic: "hostile", id, expiry: 0, payload };
                        packet::publish(&mut bytes, Version::V5, &publish);
                    }
                    doomed = (quota < 40).then_some(code);
                }
            }
        }
        trace!(self, "hostile {kind} {bytes:02x?}");
        self.out = bytes;
        let id = self.conns.len();
        self.conns.push(Conn { doomed, ..Conn::new(None, Version::V5, socket, self.now()) });
        self.live.push(id);
        self.send(id);
        if kind < 2 || doomed.is_none() {
            self.machine.kernel_mut().client_closes(socket);
            self.abandon(id);
        }
    }
}
