//! QoS 2 messages that some shards take and others refuse: what their identifiers mean afterwards.

use persistence::Durability;
use sim::disk::{Crash, DiskPlan};
use sim::machine::Step;

use super::journal::{DISK, connect_forever, plan, start};
use super::*;

/// QoS 2 to `t` under identifier 1, with or without DUP, and a payload of one letter.
const fn publish(dup: bool, letter: u8) -> [u8; 9] {
    [0x34 | (dup as u8) << 3, 7, 0, 1, b't', 0, 1, 0, letter]
}

/// PUBREC of identifier 1: refused.
const REFUSED: &[u8] = b"\x50\x03\x00\x01\x97";
/// Memory for what waits on one shard.
const SHARE: u64 = 4 << 10;

/// Two shards, a session on each that is owed what comes to `t`; the second has no room for anything. And where to
/// publish from: a session that lasts.
struct Halves {
    script: Script,
    plan: Plan,
    /// Who has room.
    takes: u8,
    publisher: u8,
}

impl Halves {
    fn new(journals: bool) -> Halves {
        let mut settings = Settings::default();
        settings.limits.queue_memory = 2 * SHARE;
        let mut plan = plan(2, settings);
        plan.disk = journals.then_some(DISK);
        let mut script = start(&plan);
        let mut homes = [Vec::new(), Vec::new()];
        for letter in b'a'..=b'j' {
            let before = script.0.holdings(0).sessions;
            let id = script.v5(&connect_forever(letter));
            let home = usize::from(script.0.holdings(0).sessions == before);
            homes[home].push(letter);
            script.say(id, b"\xe0\x00");
        }
        script.settle();
        let [takes, full] = homes.map(|letters| letters[0]);
        for letter in [takes, full] {
            let id = script.client(&connect_forever(letter));
            script.say(id, b"\x82\x07\x00\x01\x00\x00\x01t\x02");
            if letter == full {
                script.say(id, b"\x82\x07\x00\x02\x00\x00\x01f\x02");
            }
            script.hear(id);
            script.say(id, b"\xe0\x00");
        }
        let filler = script.v5(&connect_v5(b'x'));
        while {
            script.say(filler, b"\x32\x07\x00\x01f\x00\x01\x00.");
            script.hear(filler) == b"\x40\x02\x00\x01"
        } {}
        Halves { script, plan, takes, publisher: b'p' }
    }

    /// The publisher connects, says this, and what it hears beyond CONNACK, in the moment in which that comes.
    fn say(&mut self, bytes: &[u8]) -> Vec<u8> {
        let id = self.unheard(bytes);
        let heard = self.script.hear(id);
        let connack = 2 + usize::from(heard[1]);
        heard[connack..].to_vec()
    }

    /// The same, of which it hears nothing.
    fn unheard(&mut self, bytes: &[u8]) -> SocketId {
        let id = self.script.client(&connect_forever(self.publisher));
        self.script.settle();
        self.script.say(id, bytes);
        self.script.settle();
        id
    }

    /// The payloads that came to the session that takes.
    fn taken(&mut self) -> String {
        let id = self.script.client(&connect_forever(self.takes));
        let heard = self.script.hear(id);
        let starts = heard.windows(9).filter(|nine| nine[0] & 0xf7 == 0x34 && nine[1..5] == [7, 0, 1, b't']);
        starts.map(|nine| char::from(nine[8])).collect()
    }
}

/// Goal: a message that one shard took and another refused does not come twice where its publisher did not hear that.
///
/// Its identifier was free once PUBREC with an error was on its way, or was to be: what came again was a new message to
/// the shard that had taken it.
#[test]
fn a_refusal_that_was_not_heard_is_told_again() {
    for (journals, crash) in [(false, None), (true, None), (true, Some(Crash::Killed)), (true, Some(Crash::PowerLoss))]
    {
        let mut halves = Halves::new(journals);
        let id = halves.unheard(&publish(false, b'1'));
        match crash {
            None => halves.script.0.kernel_mut().client_resets(id),
            Some(crash) => halves.script.0.crash(crash, &halves.plan, 0),
        }
        for _ in 0..2 {
            assert_eq!(halves.say(&publish(true, b'1')), REFUSED, "{journals} {crash:?}");
        }
        assert_eq!(halves.say(&publish(false, b'2')), REFUSED, "{journals} {crash:?}");
        assert_eq!(halves.taken(), "12", "{journals} {crash:?}");
    }
}

/// Goal: the same wherever the connection is lost: before the outcome is known, and while the refusal waits for the journal.
#[test]
fn a_refusal_is_told_to_who_comes_back() {
    for back_at_once in [false, true] {
        for steps in 0..40 {
            let mut halves = Halves::new(true);
            let id = halves.unheard(b"");
            halves.script.say(id, &publish(false, b'1'));
            for _ in 0..steps {
                if let Step::Idle(timer) = halves.script.0.step() {
                    halves.script.0.wait_for_disks(timer);
                }
            }
            halves.script.0.kernel_mut().client_resets(id);
            if !back_at_once {
                halves.script.settle();
            }
            assert_eq!(halves.say(&publish(true, b'1')), REFUSED, "{back_at_once} {steps}");
            assert_eq!(halves.say(&publish(false, b'2')), REFUSED, "{back_at_once} {steps}");
            assert_eq!(halves.taken(), "12", "{back_at_once} {steps}");
        }
    }
}

/// Goal: a new message under the identifier of one that was refused is not taken for its repeat.
///
/// Without a journal the identifier's count stood still, and the shard that had taken the first dropped the second.
#[test]
fn what_comes_behind_a_refusal_is_new() {
    for journals in [false, true] {
        let mut halves = Halves::new(journals);
        for letter in *b"123" {
            assert_eq!(halves.say(&publish(false, letter)), REFUSED, "{journals}");
        }
        assert_eq!(halves.taken(), "123", "{journals}");
    }
}

/// Goal: a staging ring that is full of notes holds acknowledgements back, whatever counts as durable.
///
/// Where what is staged is durable, what waited for room was tried again in the same turn, for ever.
#[test]
fn a_full_ring_ends_no_shard() {
    for durability in [Durability::Fsync, Durability::Written, Durability::Memory] {
        let mut plan = plan(1, Settings::default());
        let disk = DiskPlan { ring: 16 << 10, durability, sync_micros: 1_000_000, least_bytes: 1 << 30, ..DISK };
        plan.disk = Some(disk);
        let mut script = start(&plan);
        let publisher = script.v5(&connect_forever(b'p'));
        let count = 900u16;
        for id in 1..=count {
            let mut packet = publish(false, b'x');
            packet[5..7].copy_from_slice(&id.to_be_bytes());
            script.say(publisher, &packet);
        }
        let mut heard = Vec::new();
        for _ in 0..60 {
            script.pass(1);
            heard.extend(script.hear(publisher));
        }
        assert_eq!(heard.chunks(5).filter(|ack| ack[0] == 0x50).count(), usize::from(count), "{durability:?}");
        assert_eq!(script.0.holdings(0).journal_waits, 0);
    }
}
