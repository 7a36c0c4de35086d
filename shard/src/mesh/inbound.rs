//! The rings from all shards toward one.

use std::sync::Arc;

use super::{Board, Rank, ShardId, Shards};
use crate::ring::sync::{Ordering, fence};
use crate::ring::{Doorbell, Parcel, Receiver};

/// The rings from all shards toward one, its own included.
pub struct Inbound {
    id: ShardId,
    ranks: usize,
    receivers: Box<[Receiver]>,
    boards: Arc<[Board]>,
    /// Shards of which the snapshot holds parcels.
    waiting: Shards,
    /// Where [`Inbound::sources`] begins: another shard each turn.
    first: u16,
    /// Shards of which something was released or for which a word was set since the last publication.
    touched: Shards,
    /// Parcels that were released, ever.
    released: u64,
}

impl Inbound {
    pub(super) fn new(id: ShardId, ranks: usize, receivers: Vec<Receiver>, boards: Arc<[Board]>) -> Self {
        let (waiting, touched) = (Shards::default(), Shards::default());
        Inbound { id, ranks, receivers: receivers.into(), boards, waiting, first: id.0, touched, released: 0 }
    }

    /// This shard.
    #[inline]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// How many shards there are.
    #[inline]
    pub fn shards(&self) -> u16 {
        self.receivers.len() as u16
    }

    /// How many ranks there are.
    #[inline]
    pub fn ranks(&self) -> u8 {
        self.ranks as u8
    }

    /// Looks at what has been published so far; [`Inbound::peek`] shows that and nothing newer. Once a turn, before
    /// draining.
    pub fn snapshot(&mut self) {
        let notice = &self.boards[usize::from(self.id.0)].notice;
        for word in 0..notice.words() {
            let mut bits = notice.take(word);
            while bits != 0 {
                let from = ShardId((word * 64) as u16 + bits.trailing_zeros() as u16);
                bits &= bits - 1;
                if self.receivers[usize::from(from.0)].snapshot() {
                    self.waiting.insert(from);
                }
            }
        }
        self.first = if self.first + 1 == self.shards() { 0 } else { self.first + 1 };
    }

    /// The shards of which the snapshot holds parcels still, as of this call. They begin with another shard each turn,
    /// so that draining within a budget starves none.
    #[inline]
    pub fn sources(&self) -> Shards {
        self.waiting.starting_at(ShardId(self.first))
    }

    /// Whether there is one.
    #[inline]
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The oldest parcel of this rank from `from` in the snapshot.
    #[inline]
    pub fn peek(&self, from: ShardId, rank: Rank) -> Option<Parcel<'_>> {
        self.receivers[usize::from(from.0)].peek(rank.0.into())
    }

    /// Frees the parcel that [`Inbound::peek`] shows, and drops its blob.
    ///
    /// # Panics
    /// There is no such parcel.
    #[inline]
    pub fn release(&mut self, from: ShardId, rank: Rank) {
        let receiver = &mut self.receivers[usize::from(from.0)];
        receiver.release(rank.0.into());
        self.released += 1;
        if !receiver.waits() {
            self.waiting.remove(from);
        }
        self.touched.insert(from);
    }

    /// Parcels that were released so far.
    pub fn released(&self) -> u64 {
        self.released
    }

    /// Sets the word that `from` reads with [`Outbound::resolved`](super::Outbound::resolved). The word only grows; it
    /// is shown with the next publication.
    pub fn set_resolved(&mut self, from: ShardId, number: u64) {
        self.receivers[usize::from(from.0)].set_resolved(number);
        self.touched.insert(from);
    }

    /// Sets the word that `from` reads with [`Outbound::refused`](super::Outbound::refused), likewise.
    pub fn set_refused(&mut self, from: ShardId, number: u64) {
        self.receivers[usize::from(from.0)].set_refused(number);
        self.touched.insert(from);
    }

    /// The word that `from` set with [`Outbound::set_seen`](super::Outbound::set_seen).
    #[inline]
    pub fn seen(&self, from: ShardId) -> u64 {
        self.receivers[usize::from(from.0)].seen()
    }

    /// Whether some shard has published something since the last snapshot, which a new one would show. Cheap: one
    /// word for each 64 shards. Parcels that are left in the snapshot do not count: who leaves them knows why.
    #[inline]
    pub fn pending(&self) -> bool {
        self.boards[usize::from(self.id.0)].notice.news()
    }

    /// Gives back the room of what was released and shows the words that were set; tells, and wakes, those that wait
    /// for it. Once a turn, at its end.
    pub fn publish(&mut self) {
        let touched = std::mem::take(&mut self.touched);
        let mut moved = Shards::default();
        for from in touched {
            if self.receivers[usize::from(from.0)].publish() {
                moved.insert(from);
            }
        }
        if moved.is_empty() {
            return;
        }
        fence(Ordering::SeqCst);
        let mut posted = Shards::default();
        for from in moved {
            if self.receivers[usize::from(from.0)].watched() {
                self.boards[usize::from(from.0)].notice.post(self.id.0);
                posted.insert(from);
            }
        }
        Board::wake(&self.boards, posted);
    }

    /// Says that this shard is about to sleep, or that it is up. After `true`, look at [`Inbound::pending`] once more
    /// before blocking; from then on, what the others publish rings the doorbell.
    pub fn sleeping(&mut self, sleeping: bool) {
        let notice = &self.boards[usize::from(self.id.0)].notice;
        if sleeping { notice.sleep() } else { notice.wake() }
    }

    /// What wakes this shard: its driver polls it, and any thread may ring it.
    pub fn doorbell(&self) -> Doorbell {
        self.boards[usize::from(self.id.0)].doorbell.clone()
    }
}
