//! Where a shard's sockets are: in the ring's own table (direct descriptors), or in the process's descriptor table with
//! a map from slots.
//!
//! Direct descriptors keep accepts and closes off the table that all threads of the process share, and are limited for
//! each ring rather than for the process. They make sends no cheaper: measured differences are of 1 to 4 % and change
//! with the order in which sockets were made. But only Linux 6.13 closes one at once: before, a removed file was
//! released only after every request of the ring that was older had ended, so that one quiet connection with a receive
//! armed kept all sockets open that were closed after it.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use io_uring::types;

use crate::driver::{Errno, Slot};

/// The sockets of one shard, by slot.
pub(super) enum Sockets {
    /// Slot n is direct descriptor n.
    Direct,
    /// Slot n is the descriptor in entry n, or [`NONE`]. Shared, as other shards put sockets into reserved slots.
    Plain(PlainTable),
}

pub(super) type PlainTable = Arc<[AtomicI32]>;

const NONE: RawFd = -1;

/// How a request names a socket.
#[derive(Clone, Copy)]
pub(super) enum Socket {
    Direct(types::Fixed),
    Plain(types::Fd),
}

/// Builds an entry from an operation on `$socket`, whichever way that is named.
macro_rules! on_socket {
    ($socket:expr, $target:ident => $operation:expr) => {
        match $socket {
            $crate::uring::sockets::Socket::Direct($target) => $operation,
            $crate::uring::sockets::Socket::Plain($target) => $operation,
        }
    };
}
pub(super) use on_socket;

impl Sockets {
    pub(super) fn new(direct: bool, slots: u32) -> Sockets {
        match direct {
            true => Sockets::Direct,
            false => Sockets::Plain((0..slots).map(|_| AtomicI32::new(NONE)).collect()),
        }
    }

    /// The socket in a slot. An empty slot gives a name that the kernel answers with EBADF.
    pub(super) fn at(&self, slot: Slot) -> Socket {
        match self {
            Sockets::Direct => Socket::Direct(types::Fixed(slot.0)),
            Sockets::Plain(table) => Socket::Plain(types::Fd(table[slot.0 as usize].load(Ordering::Relaxed))),
        }
    }

    /// Puts an accepted socket into its slot; direct descriptors are there already.
    pub(super) fn accepted(&self, slot: Slot, result: i32) {
        if let Sockets::Plain(table) = self {
            put(table, slot, result);
        }
    }

    /// Empties a slot whose socket is about to be closed by the request that names it.
    pub(super) fn forget(&self, slot: Slot) {
        if let Sockets::Plain(table) = self {
            table[slot.0 as usize].store(NONE, Ordering::Relaxed);
        }
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        if let Sockets::Plain(table) = self {
            (0..table.len()).for_each(|slot| put(table, Slot(slot as u32), NONE));
        }
    }
}

/// Gives a copy of the socket in `slot` to slot `to_slot` of another shard's table.
pub(super) fn share(from: &PlainTable, slot: Slot, to: &PlainTable, to_slot: Slot) -> Result<(), Errno> {
    let socket = from[slot.0 as usize].load(Ordering::Relaxed);
    if socket == NONE {
        return Err(Errno(libc::EBADF));
    }
    if to_slot.0 as usize >= to.len() {
        return Err(Errno(libc::EINVAL));
    }
    // SAFETY: the table owns the descriptor, and only this thread closes what this shard's table owns.
    let copy = unsafe { BorrowedFd::borrow_raw(socket) }.try_clone_to_owned();
    let copy = copy.map_err(|error: io::Error| Errno(error.raw_os_error().unwrap_or(libc::EIO)))?;
    put(to, to_slot, copy.into_raw_fd());
    Ok(())
}

/// Stores a descriptor that the table owns from now on, and closes the one that it replaces, as the kernel does for
/// direct descriptors.
fn put(table: &PlainTable, slot: Slot, descriptor: RawFd) {
    // Release, for the owner that learns of the socket by a parcel; acquire, for closing what another shard had put
    // there.
    let replaced = table[slot.0 as usize].swap(descriptor, Ordering::AcqRel);
    if replaced != NONE {
        // SAFETY: the table owned it, and the swap took it out, so it is closed once.
        drop(unsafe { OwnedFd::from_raw_fd(replaced) });
    }
}

/// What another shard needs in order to give this one a socket.
#[derive(Clone)]
pub struct Peer {
    pub(super) ring: RawFd,
    pub(super) table: Option<PlainTable>,
}

impl Peer {
    pub(super) fn new(ring: RawFd, sockets: &Sockets) -> Peer {
        let table = match sockets {
            Sockets::Direct => None,
            Sockets::Plain(table) => Some(table.clone()),
        };
        Peer { ring, table }
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("ring", &self.ring).field("direct", &self.table.is_none()).finish()
    }
}
