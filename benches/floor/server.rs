//! The loop: reap, read packets, flush. Everything of MQTT that is not fixed ends here.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

use crate::delivery::{Delivery, Group, grown};
use crate::mqtt::{self, Packet, Unsupported};
use crate::ring::{Done, Ring, Slot};

/// What one connection may have of an unfinished packet.
const PACKET_BYTES_MAX: usize = 1 << 20;

#[derive(Default)]
struct Connection {
    /// 0 before CONNECT.
    version: u8,
    /// The front of a packet whose end has not come.
    partial: Vec<u8>,
    /// The topic that it published to last, and its group: publishers repeat themselves.
    topic: Vec<u8>,
    group: Group,
}

struct Server<D> {
    connections: Vec<Connection>,
    groups: HashMap<Vec<u8>, Group>,
    delivery: D,
}

/// Serves for ever, on the calling thread.
///
/// # Errors
/// What io_uring_setup(2) or io_uring_register(2) answered.
pub fn run<D: Delivery>(listener: OwnedFd, slots: u32, delivery: D) -> io::Result<()> {
    let mut ring = Ring::open(listener, slots)?;
    let mut server = Server { connections: Vec::new(), groups: HashMap::new(), delivery };
    let mut done = Vec::new();
    loop {
        ring.reap(&mut done);
        for done in done.drain(..) {
            server.handle(done, &mut ring);
        }
        server.delivery.flush(&mut ring);
    }
}

impl<D: Delivery> Server<D> {
    fn handle(&mut self, done: Done, ring: &mut Ring) {
        match done {
            Done::Accepted(slot) => {
                *grown(&mut self.connections, slot) = Connection::default();
                self.delivery.connect(slot);
                ring.receive(slot);
            }
            Done::Received { slot, buffer, armed } => {
                if self.received(slot, ring.bytes(&buffer)).is_err() {
                    ring.shutdown(slot);
                }
                ring.recycle(buffer);
                if !armed {
                    ring.receive(slot);
                }
            }
            Done::Starved(slot) => ring.receive(slot),
            Done::Ended(slot) => {
                self.delivery.disconnect(slot);
                ring.close(slot);
            }
            Done::Writable(slot) => self.delivery.writable(slot),
        }
    }

    fn received(&mut self, slot: Slot, bytes: &[u8]) -> Result<(), Unsupported> {
        let mut partial = std::mem::take(&mut self.connections[slot as usize].partial);
        if partial.is_empty() {
            let used = self.packets(slot, bytes)?;
            partial.extend_from_slice(&bytes[used..]);
        } else {
            partial.extend_from_slice(bytes);
            let used = self.packets(slot, &partial)?;
            partial.drain(..used);
        }
        if partial.len() > PACKET_BYTES_MAX {
            return Err(Unsupported);
        }
        self.connections[slot as usize].partial = partial;
        Ok(())
    }

    /// Takes whole packets off the front; returns how many bytes they were.
    fn packets(&mut self, slot: Slot, bytes: &[u8]) -> Result<usize, Unsupported> {
        let mut used = 0;
        while let Some(packet) = mqtt::front(&bytes[used..])? {
            used += packet.bytes.len();
            self.packet(slot, &packet)?;
        }
        Ok(used)
    }

    fn packet(&mut self, slot: Slot, packet: &Packet<'_>) -> Result<(), Unsupported> {
        let connection = &mut self.connections[slot as usize];
        match packet.first {
            0x30 if connection.version != 0 => {
                let topic = mqtt::topic(packet.body)?;
                if connection.topic != topic {
                    connection.group = group(&mut self.groups, topic);
                    connection.topic = topic.to_vec();
                }
                self.delivery.publish(connection.group, packet.bytes);
            }
            0x10 if connection.version == 0 => {
                connection.version = mqtt::connect_version(packet.body)?;
                self.delivery.reply(slot, mqtt::connack(connection.version));
            }
            0x82 if connection.version != 0 => {
                let version = connection.version;
                let suback = mqtt::subscribe(packet.body, version, |filter| {
                    self.delivery.subscribe(slot, group(&mut self.groups, filter));
                })?;
                self.delivery.reply(slot, &suback);
            }
            0xC0 => self.delivery.reply(slot, mqtt::PINGRESP),
            // DISCONNECT: the client closes.
            0xE0 => {}
            _ => return Err(Unsupported),
        }
        Ok(())
    }
}

fn group(groups: &mut HashMap<Vec<u8>, Group>, topic: &[u8]) -> Group {
    if let Some(group) = groups.get(topic) {
        return *group;
    }
    let group = groups.len() as Group;
    groups.insert(topic.to_vec(), group);
    group
}
