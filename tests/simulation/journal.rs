//! Nodes with journals that crash: what the simulator found, told again in raw bytes.

use persistence::Durability;
use sim::disk::{Crash, DiskPlan};
use sim::machine::Step;
use sim::packet::{self, Packet, Version};
use switch::limits::WILL_TRIES;

use super::*;

/// A disk that is quick and never fails, and a journal that is compacted as soon as that saves something.
pub const DISK: DiskPlan = DiskPlan {
    ring: 1 << 20,
    durability: Durability::Fsync,
    least_bytes: 0,
    most_bytes: 0,
    sync_micros: 10,
    slow: 0,
    fails: 0,
    keeps: 0,
};

/// CONNECT of `name`, a letter: v5, a session of 60 s that is resumed if it is there.
pub const fn connect_lasting(name: u8) -> [u8; 21] {
    [0x10, 19, 0, 4, b'M', b'Q', b'T', b'T', 5, 0, 0, 0, 5, 0x11, 0, 0, 0, 60, 0, 1, name]
}

/// The same, for a session that does not end.
pub fn connect_forever(name: u8) -> [u8; 21] {
    let mut connect = connect_lasting(name);
    connect[14..18].fill(0xff);
    connect
}

pub fn plan(shards: u16, settings: Settings) -> Plan {
    let ranks = rank_specs(&settings.limits, shards).to_vec();
    let sizes = Sizes { slots: 64, buffers: 8, buffer_bytes: 4096, send_bytes: 64 << 10 };
    Plan { shards, settings, sizes, faults: Faults::default(), ranks, stalls: 0, disk: Some(DISK) }
}

pub fn start(plan: &Plan) -> Script {
    let mut script = Script(Machine::new(plan, 1));
    script.settle();
    script
}

/// PUBLISH of QoS 1 to a topic of one letter, with no properties and a payload of that many bytes.
fn publish(topic: u8, id: u16, payload_bytes: usize) -> Vec<u8> {
    let length = 6 + payload_bytes;
    let mut packet = vec![0x32, length as u8 | 0x80, (length >> 7) as u8, 0, 1, topic];
    packet.extend(id.to_be_bytes());
    packet.push(0);
    packet.resize(3 + length, b'.');
    packet
}

/// Goal: a message that comes while the journal is compacted is not lost by a crash.
///
/// Compaction writes all that is live once more, and then nothing before it is read again. A message that came meanwhile
/// was left out, as it stands behind that place already. But it may stand before the session that is owed it, if
/// compaction had not come to that one; and a start that meets a message of a session that it does not know skips it.
#[test]
fn a_message_that_comes_during_compaction_is_kept() {
    const BATCHES: u16 = 20;
    let plan = plan(1, Settings::default());
    let mut script = start(&plan);
    for name in [b'a', b'b'] {
        let id = script.v5(&connect_lasting(name));
        script.say(id, &[0x82, 7, 0, 1, 0, 0, 1, name, 1]);
        assert_eq!(script.hear(id), b"\x90\x04\x00\x01\x00\x01");
        script.say(id, b"\xe0\x00");
        script.settle();
    }
    let publisher = script.v5(&connect_v5(b'p'));
    for _ in 0..BATCHES {
        // What is large makes compaction take turns, in the midst of which what is small comes.
        let batch: Vec<u8> = (1..=40).flat_map(|id| publish(b'b' - u8::from(id % 4 > 0), id, 1000)).collect();
        script.say(publisher, &batch);
        assert_eq!(script.hear(publisher).len(), 40 * 4, "all are acknowledged");
    }
    script.pass(1);
    assert!(script.0.total(Counter::JournalSweeps) > 2);
    script.0.crash(Crash::Killed, &plan, 0);
    for (name, count) in [(b'a', 30), (b'b', 10)] {
        assert_eq!(take_all(&mut script, &connect_lasting(name)), count * BATCHES, "to {}", char::from(name));
    }
}

/// Goal: a session with more packet identifiers than the staging ring takes is compacted like others.
///
/// What a session has of its own was written in one go, or else once more from its beginning: a session that had more
/// than the ring takes was written again and again, and the log grew for ever.
#[test]
fn a_session_larger_than_the_ring_is_compacted() {
    const COUNT: u16 = 900;
    let mut plan = plan(1, Settings::default());
    plan.disk = Some(DiskPlan { ring: 16 << 10, ..DISK });
    let mut script = start(&plan);
    let publisher = script.v5(&connect_forever(b'p'));
    for round in 0..6 {
        for id in (1..=COUNT).map(u16::to_be_bytes) {
            script.say(publisher, &[0x34, 7, 0, 1, b't', id[0], id[1], 0, b'x']);
            script.hear(publisher);
            // Of the last ones every third stays.
            if round < 5 || id[1] % 3 > 0 {
                script.say(publisher, &[0x62, 2, id[0], id[1]]);
                script.hear(publisher);
            }
        }
    }
    script.pass(1);
    assert!(script.0.total(Counter::JournalSweeps) > 2);
    script.0.crash(Crash::PowerLoss, &plan, 0);
    let publisher = script.client(&connect_forever(b'p'));
    script.hear(publisher);
    for id in (1..=COUNT).map(u16::to_be_bytes) {
        script.say(publisher, &[0x62, 2, id[0], id[1]]);
        let known = script.hear(publisher) == [0x70, 2, id[0], id[1]];
        assert_eq!(known, id[1] % 3 == 0, "{id:?}");
    }
}

/// How many messages of QoS 1 come to a client that connects so, and acknowledges each.
fn take_all(script: &mut Script, connect: &[u8]) -> u16 {
    let id = script.client(connect);
    let mut count = 0;
    loop {
        let heard = script.hear(id);
        let (mut at, before) = (0, count);
        while let Ok(Some((packet, length))) = packet::parse(&heard[at..], Version::V5) {
            at += length;
            if let Packet::Publish(delivery) = packet {
                let [high, low] = delivery.id.to_be_bytes();
                script.say(id, &[0x40, 2, high, low]);
                count += 1;
            }
        }
        if count == before {
            return count;
        }
    }
}

/// Goal: a retained message that was cleared stays so, whatever the clock says after the next start.
///
/// It had expired before it was cleared, so there was nothing to clear, and nothing was written. The journal had it
/// still: with a wall clock that was set back it lived again.
#[test]
fn what_was_cleared_does_not_come_back() {
    // QoS 1 to `t`, retained, Message Expiry Interval 2 s; then the same without a payload.
    const RETAINED: &[u8] = b"\x33\x0c\x00\x01t\x00\x01\x05\x02\x00\x00\x00\x02x";
    const CLEARED: &[u8] = b"\x33\x06\x00\x01t\x00\x02\x00";
    for (cleared, expected) in [(false, 2), (true, 1)] {
        let plan = plan(1, Settings::default());
        let mut script = start(&plan);
        let publisher = script.v5(&connect_v5(b'p'));
        script.say(publisher, RETAINED);
        assert_eq!(script.hear(publisher), b"\x40\x03\x00\x01\x10");
        script.pass(4);
        if cleared {
            script.say(publisher, CLEARED);
            assert_eq!(script.hear(publisher), b"\x40\x03\x00\x02\x10");
        }
        script.0.crash(Crash::Killed, &plan, -3_600_000);
        let subscriber = script.v5(&connect_v5(b's'));
        script.say(subscriber, b"\x82\x07\x00\x01\x00\x00\x01t\x00");
        let heard = script.hear(subscriber);
        let packets = heard.iter().filter(|byte| matches!(byte, 0x90 | 0x31)).count();
        assert_eq!(packets, expected, "SUBACK, and what is retained: {heard:02x?}");
    }
}

/// Goal: a message of a group that no shard can hold is given up, and counted.
///
/// With more shards a shard's share of `limits.queue_memory` is less. A message of QoS 2 that one session had kept since
/// before was too large for any other when that session ended, and was handed on, refused and tried again every second.
#[test]
fn what_no_shard_can_hold_is_not_tried_for_ever() {
    let mut settings = Settings::default();
    settings.limits.queue_memory = 8 << 10;
    let (one, four) = (plan(1, settings.clone()), plan(4, settings));
    let mut script = start(&one);
    // Away when it comes, `m` keeps it; then `n` joins the group and is away, too.
    join_group(&mut script, b'm');
    let publisher = script.v5(&connect_v5(b'p'));
    let mut message = publish(b't', 1, 3000);
    message[0] = 0x34;
    script.say(publisher, &message);
    assert_eq!(script.hear(publisher), b"\x50\x02\x00\x01");
    join_group(&mut script, b'n');
    script.0.crash(Crash::Killed, &four, 0);
    script.settle();
    script.v5(&connect_v5(b'm'));
    script.pass(3);
    assert_eq!(script.0.total(Counter::DroppedQueueMemory), 1);
    assert!((0..4).all(|shard| script.0.holdings(shard).journal_own == 0));
}

/// A client of QoS 2 joins the group of `t`, and is away.
fn join_group(script: &mut Script, name: u8) {
    let member = script.v5(&connect_lasting(name));
    script.say(member, b"\x82\x10\x00\x01\x00\x00\x0a$share/g/t\x02");
    assert_eq!(script.hear(member), b"\x90\x04\x00\x01\x00\x02");
    script.say(member, b"\xe0\x00");
    script.settle();
}

/// Goal: who was told that its session is there does not lose it for having been away before.
///
/// A session that was resumed was durable already, so CONNACK did not wait for the journal. But what a crash left was a
/// session whose client had left long ago, and had no time of its own since: it ended with the start, or seconds after
/// it, with all that it was owed.
#[test]
fn who_has_come_back_has_not_been_away_since_before() {
    let plan = plan(1, Settings::default());
    let mut script = start(&plan);
    let client = script.v5(&connect_lasting(b'a'));
    script.say(client, b"\xe0\x00");
    script.pass(55);
    let back = script.client(&connect_lasting(b'a'));
    let heard = first_heard(&mut script, back);
    assert_eq!((heard[0], heard[2], heard[3]), (0x20, 1, 0), "the session is there: {heard:02x?}");
    script.0.crash(Crash::PowerLoss, &plan, 0);
    script.pass(30);
    let back = script.client(&connect_lasting(b'a'));
    let heard = script.hear(back);
    assert_eq!((heard[0], heard[2], heard[3]), (0x20, 1, 0), "it lasts 60 s: {heard:02x?}");
}

/// What a client hears first, in the moment in which it hears it.
fn first_heard(script: &mut Script, id: SocketId) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..TURNS_MAX {
        if let Step::Idle(timer) = script.0.step() {
            assert!(script.0.wait_for_disks(timer), "nothing comes");
        }
        script.0.kernel_mut().client_reads(id, usize::MAX, &mut bytes);
        if !bytes.is_empty() {
            return bytes;
        }
    }
    panic!("nothing comes within {TURNS_MAX} turns");
}

/// CONNECT of `w` with a new session of 60 s, and with a will of QoS 1 to `t` whose payload is `x`.
const WITH_WILL: &[u8] = b"\x10\x1a\x00\x04MQTT\x05\x0e\x00\x00\x05\x11\x00\x00\x00\x3c\x00\x01w\x00\x00\x01t\x00\x01x";

/// How many copies of its payload were heard.
fn wills(heard: &[u8]) -> usize {
    heard.iter().filter(|byte| **byte == b'x').count()
}

/// Goal: the will of a new session is published, although one of the client's session before was.
///
/// What tells repeats of a will was client and number of the connection, and each session counts its connections from 1:
/// the first will of a session was taken for that of the one before.
#[test]
fn the_will_of_a_new_session_is_no_repeat() {
    let mut script = start(&plan(1, Settings::default()));
    let subscriber = script.v5(&connect_v5(b's'));
    script.say(subscriber, b"\x82\x07\x00\x01\x00\x00\x01t\x00");
    assert_eq!(script.hear(subscriber), b"\x90\x04\x00\x01\x00\x00");
    for session in 1..=3 {
        let client = script.v5(WITH_WILL);
        script.0.kernel_mut().client_finishes(client);
        assert_eq!(wills(&script.hear(subscriber)), 1, "session {session}");
    }
}

/// Goal: a will that some shard cannot hold is not published for ever to those who have it.
///
/// It was tried again each second, and whoever got it at QoS 0 or 1 got it again each time, for as long as the shard
/// that refused it was full.
#[test]
fn a_will_that_is_refused_is_given_up() {
    let mut settings = Settings::default();
    settings.limits.queue_memory = 4 << 10;
    let mut script = start(&plan(1, settings));
    // `m` keeps all there is room for, and is away; `s` gets the will at QoS 0.
    let member = script.v5(&connect_forever(b'm'));
    script.say(member, b"\x82\x07\x00\x01\x00\x00\x01t\x01");
    assert_eq!(script.hear(member), b"\x90\x04\x00\x01\x00\x01");
    script.say(member, b"\xe0\x00");
    let publisher = script.v5(&connect_v5(b'p'));
    while {
        // As large as the will.
        script.say(publisher, b"\x32\x07\x00\x01t\x00\x01\x00.");
        script.hear(publisher) == b"\x40\x02\x00\x01"
    } {}
    let subscriber = script.v5(&connect_v5(b's'));
    script.say(subscriber, b"\x82\x07\x00\x01\x00\x00\x01t\x00");
    assert_eq!(script.hear(subscriber), b"\x90\x04\x00\x01\x00\x00");
    let client = script.v5(WITH_WILL);
    script.0.kernel_mut().client_finishes(client);
    let mut came = Vec::new();
    for seconds in [1, 10, 60, 60, 60, 60, 60, 600] {
        script.pass(seconds);
        came.push(wills(&script.hear(subscriber)));
    }
    assert_eq!(came.iter().sum::<usize>(), WILL_TRIES as usize, "{came:?}");
    assert_eq!(came.last(), Some(&0), "it was given up: {came:?}");
    assert_eq!(script.0.total(Counter::DroppedWillRefused), 1);
    assert_eq!(script.0.holdings(0).journal_own, 0);
}
