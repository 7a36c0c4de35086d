//! The sessions of a shard.

use std::num::NonZeroU32;

use super::{Session, SessionId};
use crate::planted::{Fault, planted};
use crate::topic::id_table::IdTable;

/// All sessions of a shard, and those that outlive their connection by client identifier.
pub struct SessionTable {
    rows: Vec<Row>,
    free: Vec<u32>,
    /// Rows of durable sessions by client identifier; a later one of the same client stands in for an earlier one.
    durable: IdTable,
    durable_len: usize,
    hasher: ahash::RandomState,
}

struct Row {
    generation: u32,
    session: Option<Session>,
}

/// Bytes of the row of a session.
#[cfg(test)]
pub(crate) const ROW_BYTES: usize = size_of::<Row>();

impl SessionTable {
    /// An empty table.
    pub fn new(hasher: ahash::RandomState) -> SessionTable {
        SessionTable { rows: Vec::new(), free: Vec::new(), durable: IdTable::default(), durable_len: 0, hasher }
    }

    /// Adds a session; a durable one is found by its client identifier from now on.
    pub fn insert(&mut self, session: Session) -> SessionId {
        if session.durable
            && let Some(before) = self.durable_row(&session.client_id)
        {
            // It is not found under this client identifier any more.
            self.durable.remove(self.hasher.hash_one(&*session.client_id), before);
            self.durable_len -= 1;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.rows.push(Row { generation: 0, session: None });
            (self.rows.len() - 1) as u32
        });
        let row = &mut self.rows[index as usize];
        row.generation = row.generation.wrapping_add(u32::from(!planted(Fault::SessionGenerationKept))).max(1);
        let id = SessionId { index, generation: NonZeroU32::new(row.generation).expect("it is at least 1") };
        if session.durable {
            self.durable.insert(self.hasher.hash_one(&*session.client_id), index);
            self.durable_len += 1;
        }
        row.session = Some(session);
        id
    }

    /// Takes a session away.
    pub fn remove(&mut self, id: SessionId) -> Option<Session> {
        let row = self.rows.get(id.index as usize).filter(|row| row.generation == id.generation.get())?;
        let durable = row.session.as_ref()?.durable;
        let client_id = &row.session.as_ref()?.client_id;
        if durable && self.durable_row(client_id) == Some(id.index) {
            self.durable.remove(self.hasher.hash_one(&**client_id), id.index);
            self.durable_len -= 1;
        }
        self.free.push(id.index);
        self.rows[id.index as usize].session.take()
    }

    /// The session, if it has not ended.
    pub fn find(&mut self, id: SessionId) -> Option<&mut Session> {
        let row = self.rows.get_mut(id.index as usize)?;
        row.session.as_mut().filter(|_| row.generation == id.generation.get())
    }

    /// A session that is known to live.
    pub fn at(&self, id: SessionId) -> &Session {
        let row = &self.rows[id.index as usize];
        debug_assert_eq!(row.generation, id.generation.get());
        row.session.as_ref().expect("the session lives")
    }

    /// A session that is known to live.
    pub fn at_mut(&mut self, id: SessionId) -> &mut Session {
        let row = &mut self.rows[id.index as usize];
        debug_assert_eq!(row.generation, id.generation.get());
        row.session.as_mut().expect("the session lives")
    }

    /// The durable session of a client.
    pub fn durable(&self, client_id: &str) -> Option<SessionId> {
        let index = self.durable_row(client_id)?;
        let generation = NonZeroU32::new(self.rows[index as usize].generation)?;
        Some(SessionId { index, generation })
    }

    /// How many rows there are, empty ones included.
    pub fn rows(&self) -> u32 {
        self.rows.len() as u32
    }

    /// The session in a row.
    pub fn in_row(&self, index: u32) -> Option<SessionId> {
        let row = &self.rows[index as usize];
        row.session.as_ref()?;
        Some(SessionId { index, generation: NonZeroU32::new(row.generation)? })
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many sessions may outlive their connection.
    pub fn durable_len(&self) -> usize {
        self.durable_len
    }

    fn durable_row(&self, client_id: &str) -> Option<u32> {
        self.durable.find(self.hasher.hash_one(client_id), |index| {
            let session = self.rows[index as usize].session.as_ref();
            session.is_some_and(|session| session.client_id == *client_id)
        })
    }
}
