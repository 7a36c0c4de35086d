//! Whole shards: real threads, real sockets, the rings between them, sleeping and waking.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shard::affinity::allowed_cores;
use shard::config::{CorePlan, KernelConfig};
use shard::idle::IdlePolicy;
use shard::launch::{Meeting, launch};
use shard::listen::{Endpoint, ListenOptions, listen};
use shard::mesh::{Inbound, Mesh, Rank, RankSpec, ShardId};
use shard::reactor::Reactor;
use shard::uring::{Features, UringDriver};
use shard::{Effects, Event, Handler, Instant, ListenerId, Op, SendResult, Slot, Span};

const RANK: Rank = Rank(0);

/// Shard n has one connection, and passes each byte on to shard n + 1, which writes it to its own.
struct Relay {
    to: ShardId,
    armed: bool,
    /// Its connection was accepted: another shard's byte may come before that.
    open: bool,
    waiting: Vec<u8>,
    stop: Arc<AtomicBool>,
}

const SLOT: Slot = Slot(0);

impl Handler for Relay {
    fn handle(&mut self, _: Instant, event: Event<'_>, fx: &mut Effects) {
        match event {
            Event::Accepted { slot, generation, .. } => {
                self.open = true;
                fx.ops.push(Op::Recv { slot, generation, multishot: true });
            }
            Event::Received { bytes, slot, generation, armed } => {
                let mut claim = fx.tx.claim(self.to, RANK, bytes.len(), None).expect("the peers wait for each other");
                claim.copy_from_slice(bytes);
                claim.commit();
                if !armed {
                    fx.ops.push(Op::Recv { slot, generation, multishot: true });
                }
            }
            _ => {}
        }
    }

    fn work(&mut self, _: Instant, rx: &mut Inbound, fx: &mut Effects) -> bool {
        if !self.armed {
            self.armed = true;
            fx.ops.push(Op::Accept { listener: ListenerId(0), slot: SLOT, generation: 1 });
        }
        for from in rx.sources() {
            while let Some(parcel) = rx.peek(from, RANK) {
                self.waiting.extend_from_slice(parcel.bytes);
                rx.release(from, RANK);
            }
        }
        false
    }

    fn plan(&mut self, _: Instant, plan: &mut Vec<Span>, _: &mut Effects) {
        if self.open && !self.waiting.is_empty() {
            plan.push(Span { slot: SLOT, source: 0, start: 0, len: self.waiting.len() as u32, tag: [0; 2] });
        }
    }

    fn bytes(&self, span: &Span) -> &[u8] {
        &self.waiting[..span.len as usize]
    }

    fn sent(&mut self, _: Instant, _: &[Span], results: &[SendResult], _: &mut Effects) {
        let [SendResult::Sent(bytes)] = results else { panic!("{results:?}") };
        self.waiting.drain(..*bytes as usize);
    }

    fn finished(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Bytes go round through `shards` shards, each of which sleeps until the one before wakes it.
fn relay(config: KernelConfig, shards: u16, idle: IdlePolicy) {
    const ROUNDS: u32 = 200;
    let origin = std::time::Instant::now();
    let features = Features::probe(&config).expect("a kernel that tests can run on");
    let ends = Mesh::build(shards, &[RankSpec { bytes: 4096 }]).expect("memory");
    let bells: Vec<_> = ends.iter().map(|end| end.doorbell()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let mut addresses = Vec::new();
    let work = ends.into_iter().zip(Meeting::of(shards.into())).enumerate().map(|(shard, (end, meeting))| {
        // Each shard has a listener of its own, so that it is known which one accepts.
        let set = listen(&Endpoint::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))), 1, &ListenOptions::default())
            .expect("a free port");
        addresses.push(set.endpoint.tcp().expect("TCP"));
        let to = ShardId((shard as u16 + 1) % shards);
        let (config, features, stop) = (config.clone(), features.clone(), stop.clone());
        move || {
            let mut driver = UringDriver::new(&config, &features, set.sockets, end.doorbell(), origin)?;
            let Ok(peers) = meeting.meet(driver.peer()) else { return Ok(()) };
            driver.set_peers(peers);
            Reactor::new(driver, Relay { to, armed: false, open: false, waiting: Vec::new(), stop }, end, idle).run();
            Ok::<(), shard::error::KernelError>(())
        }
    });
    let work: Vec<_> = work.collect();
    let shards = launch(&CorePlan::spread(shards, &allowed_cores()), work).expect("allowed cores");

    let connect = |address| {
        let client = TcpStream::connect(address).expect("it listens");
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
        client
    };
    let mut clients: Vec<TcpStream> = addresses.into_iter().map(connect).collect();
    for round in 0..ROUNDS {
        for at in 0..clients.len() {
            clients[at].write_all(&round.to_le_bytes()).expect("sent");
            let (next, mut bytes) = ((at + 1) % clients.len(), [0; 4]);
            clients[next].read_exact(&mut bytes).expect("it came round in time");
            assert_eq!(u32::from_le_bytes(bytes), round);
        }
    }
    stop.store(true, Ordering::Relaxed);
    bells.iter().for_each(|bell| bell.ring());
    shards.join().expect("all end well");
}

/// Shards that sleep are woken by sockets, by each other, and by a doorbell.
#[test]
fn sleeping_shards_wake_each_other() {
    relay(KernelConfig::default(), 2, IdlePolicy::SLEEP);
    relay(KernelConfig::linux_6_1(), 2, IdlePolicy::SLEEP);
}

/// More shards than cores, and one that talks to itself.
#[test]
fn any_number_of_shards_will_do() {
    relay(KernelConfig::default(), 5, IdlePolicy::SLEEP);
    relay(KernelConfig::default(), 1, IdlePolicy::SLEEP);
}

/// Shards that spin before they sleep see the same.
#[test]
fn spinning_shards_see_everything() {
    relay(KernelConfig::default(), 2, IdlePolicy { spin: Duration::from_micros(50) });
}
