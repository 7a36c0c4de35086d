//! A copy for each socket: packets gather in the socket's own buffer and leave in one SEND a turn.

use crate::delivery::{Delivery, Group, Sent, grown, sent};
use crate::ring::{Ring, Slot};

/// What one socket may have waiting; a socket that is further behind is closed, as this is no product.
const OUTBOX_BYTES_MAX: usize = 16 << 20;

#[derive(Default)]
struct Outbox {
    bytes: Vec<u8>,
    /// How many of `bytes` the kernel has.
    sent: usize,
    /// Waits for [`Delivery::writable`].
    blocked: bool,
    /// Is in the list of those that have something to send.
    listed: bool,
    broken: bool,
}

/// One outbox for each slot, and the slots of each group.
#[derive(Default)]
pub struct Outboxes {
    outboxes: Vec<Outbox>,
    groups: Vec<Vec<Slot>>,
    listed: Vec<Slot>,
    results: Vec<i32>,
}

impl Outboxes {
    fn append(&mut self, slot: Slot, bytes: &[u8]) {
        let outbox = &mut self.outboxes[slot as usize];
        if outbox.broken {
            return;
        }
        outbox.bytes.extend_from_slice(bytes);
        if !outbox.listed && !outbox.blocked {
            outbox.listed = true;
            self.listed.push(slot);
        }
    }
}

impl Delivery for Outboxes {
    fn connect(&mut self, slot: Slot) {
        *grown(&mut self.outboxes, slot) = Outbox::default();
    }

    fn disconnect(&mut self, slot: Slot) {
        self.outboxes[slot as usize] = Outbox { broken: true, ..Outbox::default() };
        self.listed.retain(|other| *other != slot);
        for group in &mut self.groups {
            group.retain(|other| *other != slot);
        }
    }

    fn subscribe(&mut self, slot: Slot, group: Group) {
        grown(&mut self.groups, group).push(slot);
    }

    fn reply(&mut self, slot: Slot, bytes: &[u8]) {
        self.append(slot, bytes);
    }

    fn publish(&mut self, group: Group, packet: &[u8]) {
        let members = std::mem::take(grown(&mut self.groups, group));
        for slot in &members {
            self.append(*slot, packet);
        }
        self.groups[group as usize] = members;
    }

    fn writable(&mut self, slot: Slot) {
        let Some(outbox) = self.outboxes.get_mut(slot as usize) else { return };
        if std::mem::take(&mut outbox.blocked) && !outbox.listed && !outbox.broken {
            outbox.listed = true;
            self.listed.push(slot);
        }
    }

    fn flush(&mut self, ring: &mut Ring) {
        if self.listed.is_empty() {
            return;
        }
        let outboxes = &self.outboxes;
        let sends = self.listed.iter().map(|slot| {
            let outbox = &outboxes[*slot as usize];
            (*slot, &outbox.bytes[outbox.sent..])
        });
        ring.send_batch(sends, &mut self.results);
        for (slot, result) in self.listed.drain(..).zip(&self.results) {
            let outbox = &mut self.outboxes[slot as usize];
            outbox.listed = false;
            match sent(*result) {
                Sent::Bytes(bytes) => outbox.sent += bytes,
                Sent::Full => {}
                Sent::Broken => outbox.broken = true,
            }
            if outbox.sent == outbox.bytes.len() || outbox.broken {
                outbox.bytes.clear();
                outbox.sent = 0;
            } else if outbox.bytes.len() - outbox.sent > OUTBOX_BYTES_MAX {
                outbox.broken = true;
                ring.shutdown(slot);
            } else {
                outbox.blocked = true;
                ring.poll_writable(slot);
            }
        }
    }
}
