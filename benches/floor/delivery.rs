//! How messages reach the sockets: the one thing in which the modes of `floor` differ.

use crate::ring::{Ring, Slot};

/// The sockets that subscribed to one topic.
pub type Group = u32;

/// A way to bring published packets to the sockets of a group. Calls come in the order of events; nothing is sent
/// before [`Delivery::flush`].
pub trait Delivery {
    /// `slot` is a new connection.
    fn connect(&mut self, slot: Slot);
    /// `slot` is empty again.
    fn disconnect(&mut self, slot: Slot);
    /// `slot` gets what is published to `group` from now on.
    fn subscribe(&mut self, slot: Slot, group: Group);
    /// `slot` gets these bytes, between packets.
    fn reply(&mut self, slot: Slot, bytes: &[u8]);
    /// Every socket of `group` gets this packet.
    fn publish(&mut self, group: Group, packet: &[u8]);
    /// `slot` takes bytes again.
    fn writable(&mut self, slot: Slot);
    /// Sends what has gathered: one SEND for each socket that has something.
    fn flush(&mut self, ring: &mut Ring);
}

/// What a send came to.
pub enum Sent {
    /// That many bytes are gone.
    Bytes(usize),
    /// None now; a poll is needed.
    Full,
    /// The connection broke; its receive tells too.
    Broken,
}

/// Reads a result of [`Ring::send_batch`].
pub fn sent(result: i32) -> Sent {
    match result {
        bytes @ 0.. => Sent::Bytes(bytes as usize),
        error if -error == libc::EAGAIN => Sent::Full,
        _ => Sent::Broken,
    }
}

/// The element at `index`, which is made, with all before it, where it does not exist.
pub fn grown<T: Default>(items: &mut Vec<T>, index: u32) -> &mut T {
    if items.len() <= index as usize {
        items.resize_with(index as usize + 1, T::default);
    }
    &mut items[index as usize]
}
