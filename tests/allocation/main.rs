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

/// Rounds until tables and queues have the size that this traffic needs.
const WARM_UP: usize = 4000 / ROUND;
/// Rounds of a phase that counts.
const PHASE: usize = 5000 / ROUND;
/// Phases of which one must pass without a call. Pools and lists grow to the most that was ever under way at once, and
/// a busy machine may see more of that after the warm-up; what is allocated for a message, or for each hundredth, is in
/// every phase.
const PHASES: usize = 10;

/// Without a journal and with one.
fn allocates_nothing(qos: u8, shards: u16, deaf: usize) {
    [false, true].into_iter().for_each(|journal| phases(qos, shards, deaf, journal));
}

/// Runs the traffic warm, then counts.
fn phases(qos: u8, shards: u16, deaf: usize, journal: bool) {
    let counts: &'static Counts = Box::leak(Box::default());
    let node = Node::start(shards, journal, counts);
    let mut rooms = Rooms::open(&node, qos, deaf);
    rooms.run(WARM_UP);
    assert!(counts.calls() > 0, "shards allocate while they start: they are not being watched");
    let mut calls = Vec::new();
    while calls.len() < PHASES && calls.last() != Some(&0) {
        let before = counts.arm();
        rooms.run(PHASE);
        calls.push(counts.disarm() - before);
    }
    node.stop(rooms);
    let steady = calls.last() == Some(&0);
    assert!(
        steady,
        "calls to the allocator in phases of {PHASE} rounds, journal {journal}: {calls:?}; the last from\n{}",
        counts.places()
    );
}

/// Goal: QoS 0 by feeds, by outboxes and to durable sessions, on one shard.
#[test]
fn qos_0_on_1_shard() {
    allocates_nothing(0, 1, 0);
}

/// Goal: the same across shards.
#[test]
fn qos_0_on_2_shards() {
    allocates_nothing(0, 2, 0);
}

/// Goal: QoS 1 with its acknowledgements on both sides, on one shard.
#[test]
fn qos_1_on_1_shard() {
    allocates_nothing(1, 1, 0);
}

/// Goal: the same across shards, with credits and owners' books.
#[test]
fn qos_1_on_2_shards() {
    allocates_nothing(1, 2, 0);
}

/// Goal: QoS 2 with both halves of its handshake, on one shard.
#[test]
fn qos_2_on_1_shard() {
    allocates_nothing(2, 1, 0);
}

/// Goal: the same across shards.
#[test]
fn qos_2_on_2_shards() {
    allocates_nothing(2, 2, 0);
}

/// Goal: a subscriber that reads nothing costs nothing either, once it lags as far as it may.
#[test]
fn beside_a_deaf_one_on_1_shard() {
    allocates_nothing(0, 1, 1);
}

/// Goal: the same across shards, with a deaf one on each, most likely.
#[test]
fn beside_deaf_ones_on_2_shards() {
    allocates_nothing(0, 2, 4);
}
