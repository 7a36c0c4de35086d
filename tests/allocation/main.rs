//! A shard allocates nothing for a message: the switch runs in this process, and the calls that its shards' threads
//! make to the allocator are counted.
//!
//! Messages so large that they cross between shards by reference have a block of their own, and are not counted here.

mod counting;
mod node;
mod room;

use counting::{Counting, Counts};
use node::Node;
use room::{ROUND, Rooms};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Rounds until tables, queues and pools have the size that this traffic needs.
const WARM_UP: usize = 4000 / ROUND;
/// Rounds that count.
const COUNTED: usize = 5000 / ROUND;

/// Runs the traffic warm, then counts.
fn allocates_nothing(qos: u8, shards: u16) {
    let counts: &'static Counts = Box::leak(Box::default());
    let node = Node::start(shards, counts);
    let mut rooms = Rooms::open(&node, qos);
    rooms.run(WARM_UP);
    let before = counts.arm();
    rooms.run(COUNTED);
    let calls = counts.disarm() - before;
    node.stop(rooms);
    assert!(before > 0, "shards allocate while they start: they are not being watched");
    assert_eq!(calls, 0, "calls to the allocator in {COUNTED} rounds; the first came from\n{}", counts.places());
}

/// Goal: QoS 0 by feeds, by outboxes and to durable sessions, on one shard.
#[test]
fn qos_0_on_1_shard() {
    allocates_nothing(0, 1);
}

/// Goal: the same across shards.
#[test]
fn qos_0_on_2_shards() {
    allocates_nothing(0, 2);
}

/// Goal: QoS 1 with its acknowledgements on both sides, on one shard.
#[test]
fn qos_1_on_1_shard() {
    allocates_nothing(1, 1);
}

/// Goal: the same across shards, with credits and owners' books.
#[test]
fn qos_1_on_2_shards() {
    allocates_nothing(1, 2);
}

/// Goal: QoS 2 with both halves of its handshake, on one shard.
#[test]
fn qos_2_on_1_shard() {
    allocates_nothing(2, 1);
}

/// Goal: the same across shards.
#[test]
fn qos_2_on_2_shards() {
    allocates_nothing(2, 2);
}
