//! The stacks of a shard's connections, and what seals for them.

use shard::Slot;

use super::stack::Stack;
use crate::tls::channel::Channel;
use crate::tls::traffic::Sealer;

/// The stacks of a shard's connections, by slot. A place is made when a slot first has one, so that who serves plain TCP
/// alone pays nothing for them.
#[derive(Default)]
pub struct Stacks {
    rows: Vec<Option<Box<Stack>>>,
    /// What seals for each: all that a delivery needs of a stack. A row here, too, is made when one is needed.
    sealers: Vec<Option<Sealer>>,
}

impl Stacks {
    /// Gives a connection its stack.
    pub fn put(&mut self, slot: Slot, stack: Box<Stack>) {
        let index = slot.0 as usize;
        if self.rows.len() <= index {
            self.rows.resize_with(index + 1, || None);
        }
        self.rows[index] = Some(stack);
    }

    /// Takes a connection's stack away.
    pub fn take(&mut self, slot: Slot) -> Option<Box<Stack>> {
        self.rows.get_mut(slot.0 as usize)?.take()
    }

    /// A connection's stack, to change it.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Stack> {
        self.rows.get_mut(slot.0 as usize)?.as_deref_mut()
    }

    /// The channel of a connection that is encrypted, and what seals for it.
    pub fn channel(&mut self, slot: Slot) -> (&mut Channel, &mut Option<Sealer>) {
        let index = slot.0 as usize;
        if self.sealers.len() <= index {
            self.sealers.resize_with(index + 1, || None);
        }
        let stack = self.rows[index].as_mut().expect("an encrypted connection has a stack");
        (stack.channel.as_mut().expect("an encrypted connection has a channel"), &mut self.sealers[index])
    }

    /// What seals for a connection.
    pub fn sealer(&mut self, slot: Slot) -> Option<&mut Sealer> {
        self.sealers.get_mut(slot.0 as usize)?.as_mut()
    }

    /// Takes that away.
    pub fn take_sealer(&mut self, slot: Slot) -> Option<Sealer> {
        self.sealers.get_mut(slot.0 as usize)?.take()
    }

    /// Puts it back.
    pub fn put_sealer(&mut self, slot: Slot, sealer: Option<Sealer>) {
        let index = slot.0 as usize;
        if self.sealers.len() <= index {
            self.sealers.resize_with(index + 1, || None);
        }
        self.sealers[index] = sealer;
    }

    /// A connection's stack.
    pub fn get(&self, slot: Slot) -> Option<&Stack> {
        self.rows.get(slot.0 as usize)?.as_deref()
    }
}
