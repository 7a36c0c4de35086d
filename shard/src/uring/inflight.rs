//! Memory that the kernel writes to after the call that named it has returned: the peer addresses of armed accepts.
//!
//! It is the only such memory besides the receive buffers. Sends complete inside their submission, and no other request
//! names memory at all.

use std::cell::UnsafeCell;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::driver::{Generation, ListenerId, Slot};

/// The accepts of one shard, each with a place for its peer's address.
pub(super) struct Accepts {
    /// Never moved or resized while an accept is armed.
    places: Box<[UnsafeCell<Place>]>,
    armed: Box<[Option<Armed>]>,
    /// Indices of `places` that no armed accept owns.
    free: Vec<u16>,
}

/// What an accept was for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Armed {
    pub(super) listener: ListenerId,
    pub(super) slot: Slot,
    pub(super) generation: Generation,
}

#[derive(Clone, Copy)]
struct Place {
    address: libc::sockaddr_in6,
    length: libc::socklen_t,
}

/// Where the kernel is to write a peer's address, and how long it is.
pub(super) struct PlacePointers {
    pub(super) address: *mut libc::sockaddr,
    pub(super) length: *mut libc::socklen_t,
}

impl Accepts {
    pub(super) fn new(most: u16) -> Accepts {
        // SAFETY: both fields are plain integers, for which zero is a value.
        let zero: Place = unsafe { std::mem::zeroed() };
        Accepts {
            places: (0..most).map(|_| UnsafeCell::new(zero)).collect(),
            armed: (0..most).map(|_| None).collect(),
            free: (0..most).rev().collect(),
        }
    }

    /// Reserves a place until [`Accepts::complete`]; `None` where all are taken.
    pub(super) fn arm(&mut self, accept: Armed) -> Option<(u32, PlacePointers)> {
        let index = self.free.pop()?;
        self.armed[usize::from(index)] = Some(accept);
        let place = self.places[usize::from(index)].get();
        // SAFETY: the place is free, so nobody else reads or writes it; the pointers are in bounds of it.
        let pointers = unsafe {
            (*place).length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            PlacePointers { address: (&raw mut (*place).address).cast(), length: &raw mut (*place).length }
        };
        Some((u32::from(index), pointers))
    }

    /// The accept of this place has completed: what it was for, and the address that the kernel left (of no meaning if
    /// the accept failed).
    pub(super) fn complete(&mut self, index: u32) -> (Armed, SocketAddr) {
        let armed = self.armed[index as usize].take().expect("an accept completes once");
        self.free.push(index as u16);
        // SAFETY: the kernel wrote before it completed the request, and writes no more.
        let place = unsafe { *self.places[index as usize].get() };
        (armed, address(&place.address))
    }

    /// The place of the accept that is armed for this slot.
    pub(super) fn find(&self, slot: Slot, generation: Generation) -> Option<u32> {
        let wanted = |armed: &Option<Armed>| armed.is_some_and(|a| a.slot == slot && a.generation == generation);
        self.armed.iter().position(wanted).map(|index| index as u32)
    }

    /// Whether the kernel may still write to a place.
    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }
}

/// A peer's address out of the kernel's form; unspecified for a family that is neither IPv4 nor IPv6.
fn address(raw: &libc::sockaddr_in6) -> SocketAddr {
    match i32::from(raw.sin6_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the bytes are a `sockaddr_in`, which is smaller, no more aligned, and made
            // of integers.
            let raw = unsafe { &*(&raw const *raw).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(raw.sin_addr.s_addr));
            SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(raw.sin_port)))
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            let port = u16::from_be(raw.sin6_port);
            SocketAddr::V6(SocketAddrV6::new(ip, port, raw.sin6_flowinfo, raw.sin6_scope_id))
        }
        _ => SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armed(slot: u32) -> Armed {
        Armed { listener: ListenerId(0), slot: Slot(slot), generation: 1 }
    }

    /// Places are bounded, found by slot, and come back when their accept completes.
    #[test]
    fn places_are_bounded_and_reused() {
        let mut accepts = Accepts::new(2);
        let (first, _) = accepts.arm(armed(7)).expect("a place");
        accepts.arm(armed(8)).expect("a place");
        assert!(accepts.arm(armed(9)).is_none());
        assert_eq!(accepts.find(Slot(7), 1), Some(first));
        assert_eq!(accepts.find(Slot(7), 2), None);
        assert_eq!(accepts.complete(first).0.slot, Slot(7));
        assert!(!accepts.is_empty());
        assert!(accepts.arm(armed(9)).is_some());
    }
}
