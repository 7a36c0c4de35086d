//! The connections of a shard, by slot.

use shard::Slot;

use super::{Connection, ConnectionId, Phase};
use crate::planted::{Fault, planted};

/// All slots of a shard. Rows are made as slots are first used, so that a table for many connections costs nothing
/// until they come.
pub struct ConnectionTable {
    rows: Vec<Connection>,
    free: Vec<u32>,
    slots: u32,
    used: u32,
}

impl ConnectionTable {
    /// A table of `slots` free slots.
    pub fn new(slots: u32) -> ConnectionTable {
        ConnectionTable { rows: Vec::new(), free: Vec::new(), slots, used: 0 }
    }

    /// Takes a free slot into `phase` with a new generation.
    pub fn take(&mut self, phase: Phase) -> Option<ConnectionId> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if (self.rows.len() as u32) < self.slots => {
                self.rows.push(Connection::empty());
                (self.rows.len() - 1) as u32
            }
            None => return None,
        };
        self.used += 1;
        let row = &mut self.rows[index as usize];
        assert_eq!(row.phase, Phase::Empty, "a free slot is empty");
        let kept = planted(Fault::SlotGenerationKept) && row.generation > 0;
        let generation = row.generation.wrapping_add(u32::from(!kept));
        *row = Connection { generation, phase, ..Connection::empty() };
        Some(ConnectionId { slot: Slot(index), generation })
    }

    /// Frees a slot whose descriptor is closed.
    pub fn free(&mut self, slot: Slot) {
        let row = &mut self.rows[slot.0 as usize];
        let generation = row.generation;
        *row = Connection { generation, ..Connection::empty() };
        self.free.push(slot.0);
        self.used -= 1;
    }

    /// The connection, if it is still this use of the slot.
    pub fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let row = self.rows.get_mut(id.slot.0 as usize)?;
        (row.generation == id.generation && row.phase != Phase::Empty).then_some(row)
    }

    /// The same, to look at.
    pub fn get(&self, id: ConnectionId) -> Option<&Connection> {
        let row = self.rows.get(id.slot.0 as usize)?;
        (row.generation == id.generation && row.phase != Phase::Empty).then_some(row)
    }

    /// The connection in a slot that is in use.
    pub fn at(&self, slot: Slot) -> &Connection {
        &self.rows[slot.0 as usize]
    }

    /// The connection in a slot that is in use.
    pub fn at_mut(&mut self, slot: Slot) -> &mut Connection {
        &mut self.rows[slot.0 as usize]
    }

    /// The name of the present use of a slot.
    pub fn id(&self, slot: Slot) -> ConnectionId {
        ConnectionId { slot, generation: self.at(slot).generation }
    }

    /// Slots that are not free, armed accepts included.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// All slots that were ever used, in order.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.rows.len() as u32).map(Slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slot used again is another connection.
    #[test]
    fn generations_tell_uses_apart() {
        let mut table = ConnectionTable::new(1);
        let first = table.take(Phase::Handshake).expect("a free slot");
        assert_eq!(table.take(Phase::Handshake), None);
        table.free(first.slot);
        let second = table.take(Phase::Handshake).expect("the slot again");
        assert_eq!(second.slot, first.slot);
        assert!(table.find(first).is_none());
        assert!(table.find(second).is_some());
    }
}
