//! The contract of `Driver`, on the real kernel: with every feature that it has, and with what Linux 6.1 has.

mod contract;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::time::Duration;

use contract::{
    BUFFER_BYTES, Connection, PATIENCE, Peer, Scale, Step, World, accept, close, patience, receive, submit, until,
};
use shard::config::KernelConfig;
use shard::launch::Meeting;
use shard::listen::{Endpoint, ListenOptions, listen};
use shard::ring::Doorbell;
use shard::uring::{Features, UringDriver};
use shard::{Completion, Driver, Op, SendResult, Slot};

/// Which features a world's driver uses.
trait Preset {
    fn config() -> KernelConfig;
}

struct Default;
struct Linux61;
struct Bare;

impl Preset for Default {
    fn config() -> KernelConfig {
        KernelConfig::default()
    }
}

impl Preset for Linux61 {
    fn config() -> KernelConfig {
        KernelConfig::linux_6_1()
    }
}

/// Every switch off.
impl Preset for Bare {
    fn config() -> KernelConfig {
        KernelConfig {
            defer_taskrun: false,
            registered_ring: false,
            multishot_receive: false,
            ..KernelConfig::linux_6_1()
        }
    }
}

/// A `UringDriver` with a listener on loopback.
struct Kernel<P> {
    driver: UringDriver,
    address: SocketAddr,
    doorbell: Doorbell,
    _preset: std::marker::PhantomData<P>,
}

impl<P: Preset> World for Kernel<P> {
    type Driver = UringDriver;
    type Peer = Client;

    fn new(scale: Scale) -> Self {
        let config = KernelConfig {
            sq_entries: scale.sq_entries,
            cq_entries: scale.cq_entries,
            receive_buffers: scale.receive_buffers,
            receive_buffer_bytes: BUFFER_BYTES,
            slots: scale.slots,
            accepts: scale.accepts,
            ..P::config()
        };
        let features = Features::probe(&config).expect("a kernel that tests can run on");
        let mut set = listen(&Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))), 1, &ListenOptions::default())
            .expect("a free port");
        let doorbell = Doorbell::new().expect("an eventfd");
        let listeners: Vec<OwnedFd> = set.sockets.drain(..).collect();
        let driver = UringDriver::new(&config, &features, listeners, doorbell.clone(), std::time::Instant::now());
        Kernel {
            driver: driver.expect("a ring"),
            address: set.endpoint.tcp().expect("TCP"),
            doorbell,
            _preset: std::marker::PhantomData,
        }
    }

    fn driver(&mut self) -> &mut UringDriver {
        &mut self.driver
    }

    fn connect(&mut self) -> Client {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time");
        Client(stream)
    }
}

/// A client of the real kernel.
struct Client(TcpStream);

impl Peer for Client {
    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("connected")
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("sent");
    }

    fn read(&mut self, bytes: &mut [u8]) {
        self.0.read_exact(bytes).expect("received");
    }

    fn finish(&mut self) {
        self.0.shutdown(Shutdown::Write).expect("connected");
    }

    fn sees_fin(&mut self) {
        assert_eq!(self.0.read(&mut [0]).expect("FIN in time"), 0);
    }

    fn play(mut self, steps: Vec<Step>) -> impl FnOnce() -> Client {
        let player = std::thread::spawn(move || {
            steps.iter().for_each(|step| step.take(&mut self));
            self
        });
        move || player.join().expect("each step is taken")
    }
}

contract::contract!(all_features, crate::Kernel<crate::Default>);
contract::contract!(linux_6_1, crate::Kernel<crate::Linux61>);
contract::contract!(bare, crate::Kernel<crate::Bare>);

/// The doorbell ends a wait without a completion, every time that it is rung: before the wait or during it.
fn a_doorbell_ends_a_wait<P: Preset>() {
    let mut world = Kernel::<P>::new(Scale::default());
    submit(world.driver());
    for _ in 0..100 {
        let doorbell = world.doorbell.clone();
        let ringer = std::thread::spawn(move || doorbell.ring());
        let mut completions = Vec::new();
        let deadline = patience(world.driver());
        world.driver().reap(shard::Wait::Until(deadline), &mut completions);
        assert!(world.driver().now() < deadline);
        assert_eq!(completions, []);
        ringer.join().expect("no panic");
    }
}

/// A socket moves from one shard's table to another's: its peer sees no FIN, no byte is lost, and the other shard alone
/// serves it.
fn a_socket_moves_to_another_shard<P: Preset>() {
    const THERE: Slot = Slot(9);
    let mut meetings = Meeting::of(2);
    let (meeting, other_meeting) = (meetings.remove(0), meetings.remove(0));
    let (moved, wait_for_move) = mpsc::channel();
    let other = std::thread::spawn(move || {
        let mut world = Kernel::<P>::new(Scale::default());
        let peers = other_meeting.meet(world.driver.peer()).expect("both come");
        world.driver.set_peers(peers);
        // A shard that sleeps in the kernel takes a socket in all the same.
        while wait_for_move.try_recv().is_err() {
            let soon = world.driver.now().after(Duration::from_millis(1));
            world.driver.reap(shard::Wait::Until(soon), &mut Vec::new());
        }
        world.driver.push(Op::Recv { slot: THERE, generation: 1, multishot: true });
        assert_eq!(receive(&mut world.driver, (THERE, 1), 5).0, b"hello");
        let mut results = Vec::new();
        world.driver.send_batch([(THERE, &b"back"[..])], &mut results);
        assert_eq!(results, [SendResult::Sent(4)]);
    });
    let mut world = Kernel::<P>::new(Scale::default());
    let peers = meeting.meet(world.driver.peer()).expect("both come");
    world.driver.set_peers(peers);
    let Connection { mut client, slot, generation } = accept(&mut world, 4, 7);
    client.write(b"hello");
    world.driver.push(Op::SendFd { slot, generation, to: 1, to_slot: THERE });
    let result = until(&mut world.driver, |_, completion| match completion {
        Completion::FdSent { slot: at, generation: of, result } if (*at, *of) == (slot, generation) => Some(*result),
        _ => None,
    });
    assert_eq!(result, Ok(()));
    close(&mut world.driver, slot, generation);
    moved.send(()).expect("the other shard runs");
    let mut bytes = [0; 4];
    client.read(&mut bytes);
    assert_eq!(&bytes, b"back");
    other.join().expect("the other shard served it");
}

/// A socket that does not fit into the other table stays where it is.
fn a_socket_without_a_place_stays<P: Preset>() {
    let mut world = Kernel::<P>::new(Scale::default());
    let peer = world.driver.peer();
    world.driver.set_peers(vec![peer]);
    let Connection { slot, generation, client: _client } = accept(&mut world, 4, 7);
    world.driver.push(Op::SendFd { slot, generation, to: 0, to_slot: Slot(1000) });
    let result = until(&mut world.driver, |_, completion| match completion {
        Completion::FdSent { result, .. } => Some(*result),
        _ => None,
    });
    assert!(result.is_err(), "{result:?}");
    let mut results = Vec::new();
    world.driver.send_batch([(slot, &b"here"[..])], &mut results);
    assert_eq!(results, [SendResult::Sent(4)]);
}

/// A doorbell ends a wait with every feature of this kernel.
#[test]
fn a_doorbell_ends_a_wait_with_all_features() {
    a_doorbell_ends_a_wait::<Default>();
}

/// A doorbell ends a wait with what Linux 6.1 has.
#[test]
fn a_doorbell_ends_a_wait_on_linux_6_1() {
    a_doorbell_ends_a_wait::<Linux61>();
}

/// A doorbell ends a wait with every optional feature off.
#[test]
fn a_doorbell_ends_a_wait_with_every_switch_off() {
    a_doorbell_ends_a_wait::<Bare>();
}

/// A socket moves to another shard, or stays where that has no place for it, with every feature of this kernel.
#[test]
fn a_socket_moves_with_all_features() {
    a_socket_moves_to_another_shard::<Default>();
    a_socket_without_a_place_stays::<Default>();
}

/// A socket moves to another shard, or stays where that has no place for it, with what Linux 6.1 has.
#[test]
fn a_socket_moves_on_linux_6_1() {
    a_socket_moves_to_another_shard::<Linux61>();
    a_socket_without_a_place_stays::<Linux61>();
}

/// A socket moves to another shard, or stays where that has no place for it, with every optional feature off.
#[test]
fn a_socket_moves_with_every_switch_off() {
    a_socket_moves_to_another_shard::<Bare>();
    a_socket_without_a_place_stays::<Bare>();
}
