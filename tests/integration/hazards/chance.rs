//! Conversations by the fuzz targets' grammar, with a live broker.

use std::net::Shutdown;

use ringmain_tests::{Broker, Client};

use crate::grammar::Speaker;

/// One client: connects, says up to some dozens of packets in pieces of any size, and leaves in one of four ways. Where
/// its CONNECT was right, each answer is read and must keep the protocol.
pub fn conversation(broker: &Broker, seed: u64) {
    let mut random = Random(seed);
    let choices: Vec<u8> = (0..30 + random.next() % 300).map(|_| random.next() as u8).collect();
    let mut speaker = Speaker::new(&choices);
    let mut client = Client::open(broker.address(), speaker.version);
    let mut bytes = speaker.connect().bytes();
    let understood = speaker.below(10) > 0;
    if !understood {
        speaker.spoil(&mut bytes);
    }
    while speaker.goes_on() {
        let mut packet = speaker.packet();
        if speaker.errs() {
            speaker.spoil(&mut packet);
        }
        bytes.extend(packet);
        if speaker.below(4) == 0 {
            client.send(&bytes[..bytes.len() / 2]);
            bytes.drain(..bytes.len() / 2);
        }
    }
    client.send(&bytes);
    match random.next() % 4 {
        // The kernel tells the other side by RST, as what came was not read.
        0 => drop(client),
        1 | 2 if understood => {
            // An error says that it is closed already.
            let _ = client.stream().shutdown(Shutdown::Write);
            client.ended();
        }
        _ => client.abort(),
    }
}

/// Pseudo-random numbers (splitmix64): nearby seeds give unrelated ones.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}
