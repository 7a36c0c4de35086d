//! What every [`Driver`] must do, as cases that any of them can run: write a [`World`], and `contract!` makes the
//! tests.

pub mod accepting;
pub mod closing;
pub mod receiving;
pub mod sending;
pub mod waiting;

use std::net::SocketAddr;
use std::time::Duration;

use shard::{Completion, Driver, Errno, Generation, Instant, ListenerId, Op, Slot, Wait};

/// A driver and what is outside of it.
pub trait World {
    type Driver: Driver;
    type Peer: Peer;

    /// A world whose driver has one listener and the sizes of `scale`.
    fn new(scale: Scale) -> Self;
    fn driver(&mut self) -> &mut Self::Driver;
    /// A connection to the driver's listener.
    fn connect(&mut self) -> Self::Peer;
}

/// The other end of a connection. Each call takes at most [`PATIENCE`], and panics when the other side is not as it
/// should be. Who drops it closes the socket: with bytes unread, that resets the connection.
pub trait Peer: Sized {
    /// Its address.
    fn address(&self) -> SocketAddr;
    /// Sends all of these bytes.
    fn write(&mut self, bytes: &[u8]);
    /// Reads as many bytes as there is room for.
    fn read(&mut self, bytes: &mut [u8]);
    /// Closes its sending half.
    fn finish(&mut self);
    /// Waits until the other side has ended the connection in peace (FIN).
    fn sees_fin(&mut self);
    /// Takes these steps while the driver is at work. What is returned waits for the last.
    fn play(self, steps: Vec<Step>) -> impl FnOnce() -> Self;
}

/// What a peer does by itself.
pub enum Step {
    /// Sends these bytes.
    Write(Vec<u8>),
    /// Reads exactly these bytes.
    Read(Vec<u8>),
}

impl Step {
    /// Takes the step, for as long as it lasts.
    pub fn take(&self, peer: &mut impl Peer) {
        match self {
            Step::Write(bytes) => peer.write(bytes),
            Step::Read(wanted) => {
                let mut bytes = vec![0; wanted.len()];
                peer.read(&mut bytes);
                assert!(bytes == *wanted, "other bytes than were sent");
            }
        }
    }
}

/// How large a driver is: corners are reached with small ones.
#[derive(Clone, Copy)]
pub struct Scale {
    pub sq_entries: u32,
    pub cq_entries: u32,
    pub receive_buffers: u16,
    pub slots: u32,
    pub accepts: u16,
}

impl Default for Scale {
    fn default() -> Scale {
        Scale { sq_entries: 64, cq_entries: 256, receive_buffers: 16, slots: 64, accepts: 8 }
    }
}

/// Bytes of a receive buffer in all worlds.
pub const BUFFER_BYTES: u32 = 256;

/// Makes the tests of one world: `contract!(name, World)`.
macro_rules! contract {
    ($name:ident, $world:ty) => {
        $crate::contract::contract!($name, $world, accepting: [
            an_accept_tells_the_peer, a_cancelled_accept_ends, accepts_are_bounded,
        ], receiving: [
            a_multishot_receive_goes_on, a_single_receive_ends, a_cancelled_receive_loses_nothing, fin_ends_a_receive,
            without_buffers_a_receive_ends, large_input_comes_in_pieces,
        ], sending: [
            a_full_socket_says_so_and_when_it_is_not, a_broken_connection_says_so, a_batch_may_exceed_the_queue,
            an_empty_batch_is_nothing, completions_met_while_sending_are_kept, completions_may_exceed_the_queue,
        ], closing: [
            a_close_sends_fin, a_close_is_not_held_up_by_other_receives, a_slot_is_used_again,
            a_shutdown_does_not_reach_the_next_connection,
        ], waiting: [
            a_wait_ends_in_time, readiness_is_seen_without_reaping, a_poll_can_be_cancelled,
        ]);
    };
    ($name:ident, $world:ty, $($group:ident: [$($case:ident),* $(,)?]),*) => {
        mod $name {
            $($(#[test]
            fn $case() {
                $crate::contract::$group::$case::<$world>();
            })*)*
        }
    };
}
pub(crate) use contract;

/// The only listener of a world.
pub const LISTENER: ListenerId = ListenerId(0);

/// How long anything may take before a case fails.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A connection, seen from both ends.
pub struct Connection<P> {
    pub client: P,
    pub slot: Slot,
    pub generation: Generation,
}

/// Reaps until `wanted` makes something of a completion; it is shown all that arrived with that one, too. The rest is
/// dropped, and buffers are recycled.
pub fn until<D: Driver, T>(driver: &mut D, mut wanted: impl FnMut(&mut D, &Completion) -> Option<T>) -> T {
    let deadline = driver.now().after(PATIENCE);
    loop {
        let mut completions = Vec::new();
        driver.reap(Wait::Until(deadline), &mut completions);
        let mut found = None;
        for completion in completions {
            found = wanted(driver, &completion).or(found);
            if let Completion::Received { result: Ok(Some(buffer)), .. } = completion {
                driver.recycle(buffer);
            }
        }
        if let Some(found) = found {
            return found;
        }
        assert!(driver.now() < deadline, "what was awaited did not come");
    }
}

/// Reaps until `count` bytes of a connection have come in, and says whether the receive is still armed.
pub fn receive<D: Driver>(driver: &mut D, of: (Slot, Generation), count: usize) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let armed = until(driver, |driver, completion| match completion {
        Completion::Received { slot, generation, result, armed } if (*slot, *generation) == of => {
            let buffer = result.as_ref().expect("no error").as_ref().expect("no FIN");
            bytes.extend_from_slice(driver.bytes(buffer));
            (bytes.len() >= count || !armed).then_some(*armed)
        }
        _ => None,
    });
    (bytes, armed)
}

/// Reaps until a receive of this connection has ended, and says how.
pub fn receive_end<D: Driver>(driver: &mut D, of: (Slot, Generation)) -> Result<(), Errno> {
    until(driver, |_, completion| match completion {
        Completion::Received { slot, generation, result, armed: false } if (*slot, *generation) == of => match result {
            Ok(None) => Some(Ok(())),
            Ok(Some(_)) => None,
            Err(errno) => Some(Err(*errno)),
        },
        _ => None,
    })
}

/// Accepts one connection into a slot.
pub fn accept<W: World>(world: &mut W, slot: u32, generation: Generation) -> Connection<W::Peer> {
    let slot = Slot(slot);
    world.driver().push(Op::Accept { listener: LISTENER, slot, generation });
    let client = world.connect();
    let peer = until(world.driver(), |_, completion| match completion {
        Completion::Accepted { slot: at, generation: of, result, .. } if (*at, *of) == (slot, generation) => {
            Some(result.expect("accepted"))
        }
        _ => None,
    });
    assert_eq!(peer, client.address());
    Connection { client, slot, generation }
}

/// Closes a slot and waits until it is empty.
pub fn close<D: Driver>(driver: &mut D, slot: Slot, generation: Generation) {
    driver.push(Op::Close { slot, generation });
    until(driver, |_, completion| (*completion == Completion::Closed { slot, generation }).then_some(()));
}

/// Has what was pushed reach the kernel.
pub fn submit<D: Driver>(driver: &mut D) {
    let mut completions = Vec::new();
    driver.reap(Wait::Poll, &mut completions);
    assert_eq!(completions, []);
}

/// A deadline for what is expected at once.
pub fn patience<D: Driver>(driver: &mut D) -> Instant {
    driver.now().after(PATIENCE)
}
