//! One shard's view of the simulated kernel: the [`Driver`] that stands in for io_uring.

use std::cell::RefCell;
use std::rc::Rc;

use shard::{Completion, Driver, Instant, Op, RecvBuffer, SendResult, Slot, Wait};

use crate::kernel::{Buffers, Kernel};

/// A shard's driver. It never waits: who runs the shards moves the clock instead.
pub struct SimDriver {
    shard: u16,
    kernel: Rc<RefCell<Kernel>>,
    /// The time of the kernel that is zero here.
    origin: Instant,
    buffers: Buffers,
    /// What was pushed and has not reached the kernel.
    queued: Vec<Op>,
}

impl SimDriver {
    /// The driver of `shard`, whose time begins at `origin` of the kernel's.
    pub fn new(shard: u16, kernel: Rc<RefCell<Kernel>>, origin: Instant, buffers: Buffers) -> SimDriver {
        SimDriver { shard, kernel, origin, buffers, queued: Vec::new() }
    }

    /// Its receive buffers.
    pub fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    fn submit(&mut self) {
        let mut kernel = self.kernel.borrow_mut();
        for op in self.queued.drain(..) {
            kernel.submit(self.shard, op);
        }
    }
}

impl Driver for SimDriver {
    fn now(&mut self) -> Instant {
        Instant::ZERO.after(self.kernel.borrow().now().since(self.origin))
    }

    fn push(&mut self, op: Op) {
        self.queued.push(op);
    }

    fn send_batch<'a, I>(&mut self, sends: I, results: &mut Vec<SendResult>)
    where
        I: IntoIterator<Item = (Slot, &'a [u8])>,
    {
        self.submit();
        results.clear();
        let mut kernel = self.kernel.borrow_mut();
        results.extend(sends.into_iter().map(|(slot, bytes)| kernel.send(self.shard, slot, bytes)));
    }

    fn reap(&mut self, wait: Wait, out: &mut Vec<Completion>) {
        self.submit();
        let mut kernel = self.kernel.borrow_mut();
        kernel.reap(self.shard, &mut self.buffers, out);
        if let Wait::Until(deadline) = wait
            && out.is_empty()
        {
            kernel.pass_until(self.origin.after(deadline.since(Instant::ZERO)));
        }
    }

    fn ready(&mut self) -> bool {
        !self.queued.is_empty() || self.kernel.borrow().ready(self.shard)
    }

    fn bytes(&self, buffer: &RecvBuffer) -> &[u8] {
        self.buffers.filled(buffer)
    }

    fn recycle(&mut self, buffer: RecvBuffer) {
        if buffer.done {
            self.buffers.give(buffer.id);
        }
    }
}
