//! The sessions of a shard.

use hashbrown::HashMap;

use super::{Session, SessionId};
use crate::planted::{Fault, planted};

/// All sessions of a shard, and those that outlive their connection by client identifier.
pub struct SessionTable {
    rows: Vec<Row>,
    free: Vec<u32>,
    durable: HashMap<Box<str>, SessionId, ahash::RandomState>,
}

struct Row {
    generation: u32,
    session: Option<Session>,
}

impl SessionTable {
    /// An empty table.
    pub fn new(hasher: ahash::RandomState) -> SessionTable {
        SessionTable { rows: Vec::new(), free: Vec::new(), durable: HashMap::with_hasher(hasher) }
    }

    /// Adds a session; a durable one is found by its client identifier from now on.
    pub fn insert(&mut self, session: Session) -> SessionId {
        let name = session.durable.then(|| session.client_id.clone());
        let index = self.free.pop().unwrap_or_else(|| {
            self.rows.push(Row { generation: 0, session: None });
            (self.rows.len() - 1) as u32
        });
        let row = &mut self.rows[index as usize];
        row.generation = row.generation.wrapping_add(u32::from(!planted(Fault::SessionGenerationKept))).max(1);
        row.session = Some(session);
        let id = SessionId { index, generation: row.generation };
        if let Some(name) = name {
            self.durable.insert(name, id);
        }
        id
    }

    /// Takes a session away.
    pub fn remove(&mut self, id: SessionId) -> Option<Session> {
        let row = self.rows.get_mut(id.index as usize).filter(|row| row.generation == id.generation)?;
        let session = row.session.take()?;
        self.free.push(id.index);
        if session.durable && self.durable.get(&session.client_id) == Some(&id) {
            self.durable.remove(&session.client_id);
        }
        Some(session)
    }

    /// The session, if it has not ended.
    pub fn find(&mut self, id: SessionId) -> Option<&mut Session> {
        let row = self.rows.get_mut(id.index as usize)?;
        row.session.as_mut().filter(|_| row.generation == id.generation)
    }

    /// A session that is known to live.
    pub fn at(&self, id: SessionId) -> &Session {
        let row = &self.rows[id.index as usize];
        debug_assert_eq!(row.generation, id.generation);
        row.session.as_ref().expect("the session lives")
    }

    /// A session that is known to live.
    pub fn at_mut(&mut self, id: SessionId) -> &mut Session {
        let row = &mut self.rows[id.index as usize];
        debug_assert_eq!(row.generation, id.generation);
        row.session.as_mut().expect("the session lives")
    }

    /// The durable session of a client.
    pub fn durable(&self, client_id: &str) -> Option<SessionId> {
        self.durable.get(client_id).copied()
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
        self.durable.len()
    }
}
