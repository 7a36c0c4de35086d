//! What the kernel answers, as completions: everything that an arriving entry touches.

use std::net::SocketAddr;

use io_uring::cqueue;

use super::buf_ring::BufferRing;
use super::inflight::Accepts;
use super::sockets::Sockets;
use super::token::{Kind, Token};
use crate::driver::{Completion, Errno, Generation, Op, RecvBuffer, SendResult, Slot};

/// Where completions arrive. Taking one never enters the kernel; what must be asked of it next is left in `due`.
pub(super) struct Intake {
    pub(super) sockets: Sockets,
    pub(super) accepts: Accepts,
    pub(super) buffers: BufferRing,
    /// Completions that the next reap hands out, in order of arrival.
    pub(super) kept: Vec<Completion>,
    /// The results of the batch that is being sent, and how many of them the kernel still owes.
    pub(super) results: Vec<SendResult>,
    pub(super) owed: usize,
    /// Slots with a shutdown under way, and closes that wait for it: the kernel hands a shutdown to a worker thread,
    /// which looks the slot up again, and must not find the next connection there.
    pub(super) shutdowns: Vec<Slot>,
    pub(super) held_closes: Vec<(Slot, Generation)>,
    /// Closes that no shutdown holds back any more.
    pub(super) due: Vec<Op>,
    /// Whether the doorbell was rung since the last reap.
    pub(super) rung: bool,
    pub(super) doorbell_armed: bool,
}

impl Intake {
    pub(super) fn take(&mut self, entry: &cqueue::Entry) {
        let Token { kind, slot, word } = Token::unpack(entry.user_data());
        let result = entry.result();
        match kind {
            Kind::Send => self.sent(word, result),
            Kind::Recv => self.received(slot, word, entry),
            Kind::Accept => self.accepted(word, result),
            Kind::PollOut => {
                self.kept.push(Completion::Writable { slot, generation: word, result: value(result).map(drop) });
            }
            Kind::Shutdown => self.shut_down(slot),
            // The only failure is that nothing was there; the slot is empty either way.
            Kind::Close => self.kept.push(Completion::Closed { slot, generation: word }),
            Kind::SendFd => {
                self.kept.push(Completion::FdSent { slot, generation: word, result: value(result).map(drop) });
            }
            Kind::Cancel => {}
            Kind::Doorbell => {
                self.rung = true;
                self.doorbell_armed = cqueue::more(entry.flags());
            }
        }
    }

    fn sent(&mut self, index: u32, result: i32) {
        self.owed -= 1;
        self.results[index as usize] = match value(result) {
            Ok(bytes) => SendResult::Sent(bytes),
            Err(Errno(libc::EAGAIN)) => SendResult::WouldBlock,
            Err(errno) => SendResult::Broken(errno),
        };
    }

    fn received(&mut self, slot: Slot, generation: Generation, entry: &cqueue::Entry) {
        let armed = cqueue::more(entry.flags());
        let buffer = cqueue::buffer_select(entry.flags());
        let result = match (value(entry.result()), buffer) {
            (Ok(len @ 1..), Some(id)) => Ok(Some(self.buffers.hold(id, len))),
            (Ok(len @ 1..), None) => panic!("{len} bytes were received into no buffer"),
            (ended, taken) => {
                // A kernel may take a buffer before it finds that there is nothing to put into it.
                if let Some(id) = taken {
                    let RecvBuffer { id, .. } = self.buffers.hold(id, 0);
                    self.buffers.recycle(id);
                }
                ended.map(|_| None)
            }
        };
        self.kept.push(Completion::Received { slot, generation, result, armed });
    }

    fn accepted(&mut self, index: u32, result: i32) {
        let (accept, peer): (_, SocketAddr) = self.accepts.complete(index);
        if let Ok(descriptor) = value(result) {
            self.sockets.accepted(accept.slot, descriptor as i32);
        }
        self.kept.push(Completion::Accepted {
            listener: accept.listener,
            slot: accept.slot,
            generation: accept.generation,
            result: value(result).map(|_| peer),
        });
    }

    fn shut_down(&mut self, slot: Slot) {
        let under_way = self.shutdowns.iter().position(|other| *other == slot).expect("a shutdown was asked for");
        self.shutdowns.swap_remove(under_way);
        if !self.shutdowns.contains(&slot)
            && let Some(held) = self.held_closes.iter().position(|(other, _)| *other == slot)
        {
            let (slot, generation) = self.held_closes.swap_remove(held);
            self.due.push(Op::Close { slot, generation });
        }
    }
}

/// A result as the kernel gives it: not negative, or an error number negated.
fn value(result: i32) -> Result<u32, Errno> {
    u32::try_from(result).map_err(|_| Errno(-result))
}
