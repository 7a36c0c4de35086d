//! How many clients may come, and how fast: bounds on the connections of a listener, an address and a user.
//!
//! | bound | known when | over it |
//! |---|---|---|
//! | connections of an address | a socket is accepted, or its proxy has told whom it serves | closed at once |
//! | how fast an address connects | the same | CONNECT is refused (0x9F); with TLS closed before a handshake |
//! | how fast clients connect at a listener | an accept is armed | they wait in the listen backlog |
//! | connections of a user | its home is asked | CONNECT is refused (0x97) |
//! | how often one client comes back | its home is asked | CONNECT is refused (0x9F) for a while |
//!
//! - [`census`]: who has how many connections, in a table that all shards share.
//! - [`pace`]: how fast somebody comes.
//! - [`flapping`]: clients that come and go too often, each known to its home alone.
//! - [`bounds`]: where shards ask.
//!
//! Invariants: what is not bounded costs one look; nothing here is on the way of a message; every table has a fixed size.

pub mod bounds;
pub mod census;
pub mod flapping;
pub mod pace;
mod table;

use crate::limits::Limits;
use census::Census;
use pace::Paces;

/// What is counted on a node; each only where it is bounded.
pub struct Counts {
    /// Connections of each address.
    pub addresses: Option<Census>,
    /// Clients of each user.
    pub users: Option<Census>,
    /// How fast connections of each address come.
    pub paces: Option<Paces>,
}

impl Counts {
    /// As these limits have it.
    pub fn new(limits: &Limits) -> Counts {
        Counts {
            addresses: Census::new(limits.max_connections, limits.max_connections_per_address),
            users: Census::new(limits.max_connections, limits.max_connections_per_user),
            paces: Paces::new(limits.max_conn_rate_per_address),
        }
    }

    /// Their bytes.
    pub fn bytes(limits: &Limits) -> u64 {
        let bounds = [limits.max_connections_per_address, limits.max_connections_per_user];
        let tables = bounds.iter().filter(|most| **most > 0).count() as u64;
        let paces = if limits.max_conn_rate_per_address > 0 { pace::BYTES } else { 0 };
        tables * Census::bytes(limits.max_connections) + paces
    }
}
