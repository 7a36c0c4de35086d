//! What a completion says about its request: `user_data`, packed.
//!
//! ```text
//!  63    60 59    56 55                    32 31                                0
//! ┌────────┬────────┬────────────────────────┬───────────────────────────────────┐
//! │  kind  │   0    │         slot           │ generation, or an index of ours   │
//! └────────┴────────┴────────────────────────┴───────────────────────────────────┘
//! ```

use crate::driver::{Generation, Slot};

/// What a request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// One send of the current batch; the word is its index there.
    Send = 1,
    /// An accept; the word is the index of its storage.
    Accept,
    Recv,
    PollOut,
    Shutdown,
    Close,
    SendFd,
    /// A cancel, which answers only when it found nothing.
    Cancel,
    /// The poll on the doorbell.
    Doorbell,
}

const KINDS: [Kind; 9] = [
    Kind::Send,
    Kind::Accept,
    Kind::Recv,
    Kind::PollOut,
    Kind::Shutdown,
    Kind::Close,
    Kind::SendFd,
    Kind::Cancel,
    Kind::Doorbell,
];

/// A request's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) slot: Slot,
    pub(super) word: u32,
}

/// Slots fit into 24 bits; the kernel's own limit is 20.
pub(super) const SLOT_BITS: u32 = 24;

impl Token {
    /// A request about a connection.
    pub(super) fn of(kind: Kind, slot: Slot, generation: Generation) -> Token {
        Token { kind, slot, word: generation }
    }

    /// A request that is found again by an index of ours.
    pub(super) fn index(kind: Kind, index: u32) -> Token {
        Token { kind, slot: Slot(0), word: index }
    }

    pub(super) fn pack(self) -> u64 {
        debug_assert!(self.slot.0 < 1 << SLOT_BITS);
        (self.kind as u64) << 60 | u64::from(self.slot.0) << 32 | u64::from(self.word)
    }

    /// The request that `user_data` was packed from. Panics on what no request of ours carries.
    pub(super) fn unpack(user_data: u64) -> Token {
        let kind = KINDS[(user_data >> 60) as usize - 1];
        let slot = Slot((user_data >> 32) as u32 & ((1 << SLOT_BITS) - 1));
        Token { kind, slot, word: user_data as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind comes back, with the extremes of slot and generation.
    #[test]
    fn tokens_survive_packing() {
        for kind in KINDS {
            for (slot, word) in [(0, 0), ((1 << SLOT_BITS) - 1, u32::MAX), (77, 1)] {
                let token = Token::of(kind, Slot(slot), word);
                assert_eq!(Token::unpack(token.pack()), token);
            }
        }
    }
}
