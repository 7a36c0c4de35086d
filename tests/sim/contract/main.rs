//! The contract of `Driver`, on the simulated kernel: the cases that the real one is held to, from the same files, so
//! that the fake cannot drift from it.
//!
//! Three cases of the real kernel need threads and stand outside of the suite. Two of them, about sockets that move to
//! another shard, are told below without threads. The third is not: `a_doorbell_ends_a_wait`, as a simulated driver
//! never waits, and whoever runs the shards moves the clock. Cases about queues that overflow pass here for want of a
//! queue.

#[path = "../../../shard/tests/contract/mod.rs"]
mod contract;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use contract::{BUFFER_BYTES, Connection, Peer, Scale, Step, World, accept, close, receive, until};
use shard::{Completion, Driver, Errno, Op, SendResult, Slot};
use sim::driver::SimDriver;
use sim::kernel::{Buffers, Faults, Kernel, Sizes, SocketId};

/// Bytes that wait in one socket toward its client.
const SEND_BYTES: usize = 64 << 10;

/// A `SimDriver`, and the kernel that it shares with its clients.
struct Simulated {
    kernel: Rc<RefCell<Kernel>>,
    driver: SimDriver,
}

/// The drivers of as many shards, on one kernel.
fn simulated(shards: u16, scale: Scale) -> Vec<Simulated> {
    assert!(scale.sq_entries <= scale.cq_entries, "queues as rings have them, which this kernel does without");
    let sizes = Sizes {
        slots: scale.slots,
        buffers: scale.receive_buffers,
        buffer_bytes: BUFFER_BYTES,
        send_bytes: SEND_BYTES,
    };
    let mut kernel = Kernel::new(1, shards, sizes, Faults::default());
    kernel.accepts_max = scale.accepts;
    let kernel = Rc::new(RefCell::new(kernel));
    let simulated = |id| {
        let buffers = Buffers::new(sizes.buffers, sizes.buffer_bytes);
        Simulated {
            driver: SimDriver::new(id, Rc::clone(&kernel), shard::Instant::ZERO, buffers),
            kernel: Rc::clone(&kernel),
        }
    };
    (0..shards).map(simulated).collect()
}

impl World for Simulated {
    type Driver = SimDriver;
    type Peer = Client;

    fn new(scale: Scale) -> Self {
        simulated(1, scale).remove(0)
    }

    fn driver(&mut self) -> &mut SimDriver {
        &mut self.driver
    }

    fn connect(&mut self) -> Client {
        let id = self.kernel.borrow_mut().connect(0);
        Client { kernel: Rc::clone(&self.kernel), id }
    }
}

/// A client of the simulated kernel. What it waits for must be there: nothing happens by itself.
struct Client {
    kernel: Rc<RefCell<Kernel>>,
    id: SocketId,
}

impl Client {
    /// Takes steps up to the one that must wait for the driver.
    fn go(&mut self, steps: &mut std::iter::Peekable<std::vec::IntoIter<Step>>) {
        let here = |client: &Client, step: &Step| match step {
            Step::Write(_) => true,
            Step::Read(wanted) => client.kernel.borrow().socket(client.id).to_client.len() >= wanted.len(),
        };
        while let Some(step) = steps.next_if(|step| here(self, step)) {
            step.take(self);
        }
    }
}

impl Peer for Client {
    fn address(&self) -> SocketAddr {
        self.kernel.borrow().socket(self.id).peer
    }

    fn write(&mut self, bytes: &[u8]) {
        self.kernel.borrow_mut().client_sends(self.id, bytes);
    }

    fn read(&mut self, bytes: &mut [u8]) {
        let mut read = Vec::new();
        self.kernel.borrow_mut().client_reads(self.id, bytes.len(), &mut read);
        assert_eq!(read.len(), bytes.len(), "what was awaited did not come");
        bytes.copy_from_slice(&read);
    }

    fn finish(&mut self) {
        self.kernel.borrow_mut().client_finishes(self.id);
    }

    fn sees_fin(&mut self) {
        let kernel = self.kernel.borrow();
        let socket = kernel.socket(self.id);
        assert!(socket.switch_fin && !socket.switch_reset && socket.to_client.is_empty(), "no FIN: {socket:?}");
    }

    fn play(mut self, steps: Vec<Step>) -> impl FnOnce() -> Client {
        let mut steps = steps.into_iter().peekable();
        self.go(&mut steps);
        move || {
            self.go(&mut steps);
            assert!(steps.peek().is_none(), "what was awaited did not come");
            self
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.kernel.borrow_mut().client_closes(self.id);
    }
}

contract::contract!(simulated_kernel, crate::Simulated);

/// A socket moves from one shard's table to another's: its peer sees no FIN, no byte is lost, and the other shard alone
/// serves it.
#[test]
fn a_socket_moves_to_another_shard() {
    const THERE: Slot = Slot(9);
    let mut shards = simulated(2, Scale::default());
    let mut other = shards.remove(1);
    let mut world = shards.remove(0);
    let Connection { mut client, slot, generation } = accept(&mut world, 4, 7);
    client.write(b"hello");
    world.driver.push(Op::SendFd { slot, generation, to: 1, to_slot: THERE });
    assert_eq!(fd_sent(&mut world.driver), Ok(()));
    close(&mut world.driver, slot, generation);
    other.driver.push(Op::Recv { slot: THERE, generation: 1, multishot: true });
    assert_eq!(receive(&mut other.driver, (THERE, 1), 5).0, b"hello");
    let mut results = Vec::new();
    other.driver.send_batch([(THERE, &b"back"[..])], &mut results);
    assert_eq!(results, [SendResult::Sent(4)]);
    let mut bytes = [0; 4];
    client.read(&mut bytes);
    assert_eq!(&bytes, b"back");
}

/// A socket that does not fit into the other table stays where it is.
#[test]
fn a_socket_without_a_place_stays() {
    let mut world = Simulated::new(Scale::default());
    let Connection { slot, generation, client: _client } = accept(&mut world, 4, 7);
    world.kernel.borrow_mut().faults.no_descriptor = u16::MAX;
    world.driver.push(Op::SendFd { slot, generation, to: 0, to_slot: Slot(10) });
    assert!(fd_sent(&mut world.driver).is_err());
    let mut results = Vec::new();
    world.driver.send_batch([(slot, &b"here"[..])], &mut results);
    assert_eq!(results, [SendResult::Sent(4)]);
}

fn fd_sent(driver: &mut SimDriver) -> Result<(), Errno> {
    until(driver, |_, completion| match completion {
        Completion::FdSent { result, .. } => Some(*result),
        _ => None,
    })
}
