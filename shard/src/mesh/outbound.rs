//! The rings from one shard toward all.

use std::sync::Arc;

use super::{Board, Rank, ShardId, Shards};
use crate::buffer::Blob;
use crate::ring::sync::{Ordering, fence};
use crate::ring::{Claim, Sender};

/// The rings from one shard toward all, its own included.
pub struct Outbound {
    id: ShardId,
    senders: Box<[Sender]>,
    boards: Arc<[Board]>,
    /// Shards for which something was claimed or set since the last publication.
    dirty: Shards,
}

impl Outbound {
    pub(super) fn new(id: ShardId, senders: Vec<Sender>, boards: Arc<[Board]>) -> Self {
        Outbound { id, senders: senders.into(), boards, dirty: Shards::default() }
    }

    /// This shard.
    #[inline]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// How many shards there are.
    #[inline]
    pub fn shards(&self) -> u16 {
        self.senders.len() as u16
    }

    /// The largest payload, in bytes, that a ring of this rank can take, with a blob or without; an empty ring always
    /// takes it.
    #[inline]
    pub fn largest(&self, rank: Rank) -> usize {
        self.senders[0].ring(rank.0.into()).largest()
    }

    /// Whether a payload of `len` bytes, with a blob or without, has room. Where it has none now, this shard is woken
    /// when `to` has given room back.
    #[inline]
    pub fn room(&self, to: ShardId, rank: Rank, len: usize) -> bool {
        self.sender(to).room(rank.0.into(), len)
    }

    /// Room for a payload of `len` bytes, with the blob that travels with it. `None` where there is none now (this
    /// shard is woken, as for [`Outbound::room`]) or `len` is over [`Outbound::largest`]; the blob is dropped then.
    #[inline]
    pub fn claim(&mut self, to: ShardId, rank: Rank, len: usize, blob: Option<Blob>) -> Option<Claim<'_>> {
        self.dirty.insert(to);
        self.senders[usize::from(to.0)].claim(rank.0.into(), len, blob)
    }

    /// The position after the last parcel that was committed: it has been released when
    /// [`Outbound::has_released`] that position.
    #[inline]
    pub fn tail(&self, to: ShardId, rank: Rank) -> u64 {
        self.sender(to).ring(rank.0.into()).tail()
    }

    /// The position up to which `to` has released, as it last published.
    #[inline]
    pub fn released(&self, to: ShardId, rank: Rank) -> u64 {
        self.sender(to).ring(rank.0.into()).released()
    }

    /// Whether `to` has released everything up to `position`. Where it has not, this shard is woken when `to` has
    /// released more.
    #[inline]
    pub fn has_released(&self, to: ShardId, rank: Rank, position: u64) -> bool {
        let sender = self.sender(to);
        sender.watch_until(|| sender.ring(rank.0.into()).released() >= position)
    }

    /// The word that `to` set with [`Inbound::set_resolved`](super::Inbound::set_resolved). Read it before
    /// [`Outbound::refused`]: what was refused up to there is known by then.
    #[inline]
    pub fn resolved(&self, to: ShardId) -> u64 {
        self.sender(to).resolved()
    }

    /// Whether `to` has resolved everything up to `number`. Where it has not, this shard is woken when `to` has
    /// resolved or refused more.
    #[inline]
    pub fn has_resolved(&self, to: ShardId, number: u64) -> bool {
        let sender = self.sender(to);
        sender.watch_until(|| sender.resolved() >= number)
    }

    /// The word that `to` set with [`Inbound::set_refused`](super::Inbound::set_refused).
    #[inline]
    pub fn refused(&self, to: ShardId) -> u64 {
        self.sender(to).refused()
    }

    /// Sets the word that `to` reads with [`Inbound::seen`](super::Inbound::seen), and wakes it. The word only grows.
    pub fn set_seen(&mut self, to: ShardId, number: u64) {
        self.dirty.insert(to);
        self.senders[usize::from(to.0)].set_seen(number);
    }

    /// Shows the others what was committed and set, and wakes those of them that sleep. Once a turn, at its end.
    pub fn publish(&mut self) {
        let mut moved = Shards::default();
        for to in std::mem::take(&mut self.dirty) {
            if self.senders[usize::from(to.0)].publish() {
                self.boards[usize::from(to.0)].notice.post(self.id.0);
                moved.insert(to);
            }
        }
        Board::wake(&self.boards, moved);
    }

    #[inline]
    fn sender(&self, to: ShardId) -> &Sender {
        &self.senders[usize::from(to.0)]
    }
}

impl Board {
    /// Wakes those of `posted`, on whose boards something was just posted, that sleep.
    #[inline]
    pub(super) fn wake(boards: &[Board], posted: Shards) {
        if posted.is_empty() {
            return;
        }
        fence(Ordering::SeqCst);
        for shard in posted {
            let board = &boards[usize::from(shard.0)];
            if board.notice.asleep() {
                board.doorbell.ring();
            }
        }
    }
}
