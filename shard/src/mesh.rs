//! The rings between all shards: every ordered pair, every rank, a shard's own included.
//!
//! [`Mesh::build`] makes one [`MeshEnd`] for each shard; its thread owns it. What is committed on [`Outbound`] and
//! released from [`Inbound`] becomes visible to the others when the turn ends ([`Outbound::publish`],
//! [`Inbound::publish`]).
//!
//! A shard may sleep although another's progress is what it waits for: whenever [`Outbound`] answers "not yet" (no
//! room, not released, not resolved), the other shard will tell when it next gives room back or moves a word, and wake
//! this one.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

pub use crate::ring::{Claim, Doorbell, Parcel, RANKS_MAX};
use crate::ring::{Notice, PAIR_WORDS_BYTES, Receiver, Sender, pair, ring_bytes};

mod inbound;
mod outbound;
mod set;

pub use inbound::Inbound;
pub use outbound::Outbound;
pub use set::Shards;

/// How many shards a mesh may have: ordered pairs grow with the square.
pub const SHARDS_MAX: u16 = 512;

/// Which shard of a mesh, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

/// Which kind of parcel, lowest first; each has rings of its own, so that no rank waits behind another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank(pub u8);

/// How the rings of a rank are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RankSpec {
    /// Bytes of each ring of this rank; the next power of two between [`crate::ring::RING_MIN`] and
    /// [`crate::ring::RING_MAX`] is taken.
    pub bytes: u32,
}

/// The rings between a number of shards.
#[derive(Debug)]
pub struct Mesh;

/// One shard's end of the mesh.
pub struct MeshEnd {
    /// Parcels toward this shard.
    pub rx: Inbound,
    /// Parcels from this shard.
    pub tx: Outbound,
}

/// Why there is no mesh.
#[derive(Debug)]
pub enum MeshError {
    /// Not between one shard and [`SHARDS_MAX`].
    Shards(u16),
    /// Not between one rank and [`RANKS_MAX`].
    Ranks(usize),
    /// The rings of one pair of shards could not be mapped (`mmap(2)`).
    Memory {
        /// What the whole mesh takes, in bytes.
        bytes: u64,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A shard's doorbell could not be made (`eventfd(2)`).
    Doorbell(io::Error),
}

/// What every shard knows of the others.
pub(crate) struct Board {
    notice: Notice,
    doorbell: Doorbell,
}

impl Mesh {
    /// The ends of a mesh of `shards` shards, in order; `ranks[i]` makes the rings of rank `i`.
    ///
    /// # Errors
    /// See [`MeshError`].
    pub fn build(shards: u16, ranks: &[RankSpec]) -> Result<Vec<MeshEnd>, MeshError> {
        if !(1..=SHARDS_MAX).contains(&shards) {
            return Err(MeshError::Shards(shards));
        }
        if !(1..=RANKS_MAX).contains(&ranks.len()) {
            return Err(MeshError::Ranks(ranks.len()));
        }
        let bytes: Vec<u32> = ranks.iter().map(|rank| rank.bytes).collect();
        let memory = |source| MeshError::Memory { bytes: Mesh::bytes(shards, ranks), source };

        let boards: Arc<[Board]> = (0..shards)
            .map(|_| Ok(Board { notice: Notice::new(shards), doorbell: Doorbell::new().map_err(MeshError::Doorbell)? }))
            .collect::<Result<_, MeshError>>()?;
        let mut receivers: Vec<Vec<Receiver>> = (0..shards).map(|_| Vec::with_capacity(shards.into())).collect();
        let mut senders: Vec<Vec<Sender>> = Vec::with_capacity(shards.into());
        for _ in 0..shards {
            let mut toward = Vec::with_capacity(shards.into());
            for from_all in &mut receivers {
                let (sender, receiver) = pair(&bytes).map_err(memory)?;
                toward.push(sender);
                from_all.push(receiver);
            }
            senders.push(toward);
        }
        let ends = (0..shards).map(ShardId).zip(senders.into_iter().zip(receivers));
        Ok(ends
            .map(|(id, (senders, receivers))| MeshEnd {
                rx: Inbound::new(id, ranks.len(), receivers, Arc::clone(&boards)),
                tx: Outbound::new(id, senders, Arc::clone(&boards)),
            })
            .collect())
    }

    /// The memory that such a mesh takes at most, in bytes: its rings, when each page of them has been used, and its
    /// words. A ring that is never used takes its words alone.
    pub fn bytes(shards: u16, ranks: &[RankSpec]) -> u64 {
        let rings: u64 = ranks.iter().map(|rank| u64::from(ring_bytes(rank.bytes))).sum();
        u64::from(shards) * u64::from(shards) * (rings + PAIR_WORDS_BYTES as u64)
    }
}

impl MeshEnd {
    /// Which shard's end it is.
    pub fn id(&self) -> ShardId {
        self.tx.id()
    }

    /// What wakes this shard: its driver polls it, and any thread may ring it.
    pub fn doorbell(&self) -> Doorbell {
        self.rx.doorbell()
    }

    /// The descriptor of [`MeshEnd::doorbell`], which lives as long as any end of this mesh.
    pub fn doorbell_fd(&self) -> RawFd {
        self.doorbell().as_raw_fd()
    }
}

impl std::fmt::Display for MeshError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MeshError::Shards(shards) => write!(f, "a mesh has 1 to {SHARDS_MAX} shards, not {shards}"),
            MeshError::Ranks(ranks) => write!(f, "a mesh has 1 to {RANKS_MAX} ranks of parcels, not {ranks}"),
            MeshError::Memory { bytes, .. } => write!(f, "no memory for the rings between shards ({bytes} bytes)"),
            MeshError::Doorbell(_) => write!(f, "no event descriptor for a shard's doorbell"),
        }
    }
}

impl std::error::Error for MeshError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            MeshError::Memory { source, .. } | MeshError::Doorbell(source) => Some(source),
            MeshError::Shards(_) | MeshError::Ranks(_) => None,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
