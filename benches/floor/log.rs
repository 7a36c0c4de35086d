//! One copy for all: packets of a group gather in a log, and each socket of the group is a cursor in it.

use crate::delivery::{Delivery, Group, Sent, grown, sent};
use crate::ring::{Ring, Slot};

/// How far a log may reach back; a socket that is further behind is closed, as this is no product.
const LOG_BYTES_MAX: usize = 16 << 20;

/// The packets of one group, from `base` in the stream of all that it ever had.
#[derive(Default)]
struct Log {
    bytes: Vec<u8>,
    base: u64,
    members: Vec<Member>,
    /// Has something that some member may be sent.
    listed: bool,
}

struct Member {
    slot: Slot,
    cursor: u64,
    /// Waits for [`Delivery::writable`].
    blocked: bool,
    /// Was left short by a send and has not caught up: its cursor may stand inside a packet.
    behind: bool,
}

impl Log {
    fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// Drops what every member has.
    fn trim(&mut self) {
        let end = self.end();
        let oldest = self.members.iter().map(|member| member.cursor).min().unwrap_or(end);
        let passed = (oldest - self.base) as usize;
        if passed == self.bytes.len() {
            self.bytes.clear();
        } else if passed > LOG_BYTES_MAX / 2 {
            self.bytes.drain(..passed);
        } else {
            return;
        }
        self.base = oldest;
    }
}

/// One log for each group. Replies are few and wait in a list.
#[derive(Default)]
pub struct Logs {
    logs: Vec<Log>,
    listed: Vec<Group>,
    replies: Vec<(Slot, Vec<u8>)>,
    /// In how many groups a slot is behind; replies wait until it is in none.
    behind: Vec<u32>,
    /// The groups that a slot is in.
    groups: Vec<Vec<Group>>,
    results: Vec<i32>,
    /// Which members the batch in flight is for.
    batch: Vec<u32>,
}

impl Logs {
    fn list(&mut self, group: Group) {
        let log = &mut self.logs[group as usize];
        if !log.listed {
            log.listed = true;
            self.listed.push(group);
        }
    }

    fn flush_replies(&mut self, ring: &mut Ring) {
        if self.replies.is_empty() {
            return;
        }
        let behind = &self.behind;
        let may_leave = |(slot, _): &(Slot, Vec<u8>)| behind[*slot as usize] == 0;
        let leaving: Vec<_> = self.replies.extract_if(.., |reply| may_leave(reply)).collect();
        ring.send_batch(leaving.iter().map(|(slot, bytes)| (*slot, bytes.as_slice())), &mut self.results);
        for ((slot, bytes), result) in leaving.iter().zip(&self.results) {
            // A socket that has room for no reply is given up.
            if *result != bytes.len() as i32 {
                ring.shutdown(*slot);
            }
        }
    }

    fn flush_log(&mut self, group: Group, ring: &mut Ring) {
        let log = &mut self.logs[group as usize];
        log.listed = false;
        let end = log.end();
        self.batch.clear();
        self.batch.extend((0u32..).zip(&log.members).filter(|(_, m)| !m.blocked && m.cursor < end).map(|(i, _)| i));
        let (members, bytes, base) = (&log.members, &log.bytes, log.base);
        let sends = self.batch.iter().map(|index| {
            let member = &members[*index as usize];
            (member.slot, &bytes[(member.cursor - base) as usize..])
        });
        ring.send_batch(sends, &mut self.results);
        for (index, result) in self.batch.iter().zip(&self.results) {
            let member = &mut log.members[*index as usize];
            match sent(*result) {
                Sent::Bytes(bytes) => member.cursor += bytes as u64,
                Sent::Full => {}
                // Its receive ends too, and `disconnect` takes it out.
                Sent::Broken => member.cursor = end,
            }
            if member.behind != (member.cursor < end) {
                member.behind = !member.behind;
                let groups = &mut self.behind[member.slot as usize];
                *groups = if member.behind { *groups + 1 } else { *groups - 1 };
            }
            if member.cursor < end && end - member.cursor > LOG_BYTES_MAX as u64 {
                member.cursor = end;
                ring.shutdown(member.slot);
            } else if member.cursor < end {
                member.blocked = true;
                ring.poll_writable(member.slot);
            }
        }
        log.trim();
    }
}

impl Delivery for Logs {
    fn connect(&mut self, slot: Slot) {
        *grown(&mut self.behind, slot) = 0;
        grown(&mut self.groups, slot).clear();
    }

    fn disconnect(&mut self, slot: Slot) {
        self.replies.retain(|(other, _)| *other != slot);
        for group in self.groups[slot as usize].drain(..) {
            self.logs[group as usize].members.retain(|member| member.slot != slot);
        }
    }

    fn subscribe(&mut self, slot: Slot, group: Group) {
        let log = grown(&mut self.logs, group);
        log.members.push(Member { slot, cursor: log.end(), blocked: false, behind: false });
        self.groups[slot as usize].push(group);
    }

    fn reply(&mut self, slot: Slot, bytes: &[u8]) {
        self.replies.push((slot, bytes.to_vec()));
    }

    fn publish(&mut self, group: Group, packet: &[u8]) {
        grown(&mut self.logs, group).bytes.extend_from_slice(packet);
        self.list(group);
    }

    fn writable(&mut self, slot: Slot) {
        for at in 0..self.groups[slot as usize].len() {
            let group = self.groups[slot as usize][at];
            let Some(member) = self.logs[group as usize].members.iter_mut().find(|member| member.slot == slot) else {
                continue;
            };
            member.blocked = false;
            self.list(group);
        }
    }

    /// Replies leave first, so that a subscriber has its SUBACK before its first message; those that had to wait leave
    /// when the logs have caught up.
    fn flush(&mut self, ring: &mut Ring) {
        self.flush_replies(ring);
        while let Some(group) = self.listed.pop() {
            self.flush_log(group, ring);
        }
        self.flush_replies(ring);
    }
}
