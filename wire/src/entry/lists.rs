//! The lists in entries, as bytes: owners of a message, sessions, Subscription Identifiers.

use alloc::vec::Vec;

use super::codec::{get_owner, put_owner};
use super::{Identifiers, Owner, Owners, Uids};
use crate::error::Malformed;
use crate::reader::Reader;
use crate::writer::Sink;

impl<'a> Owners<'a> {
    /// The owners that [`Owners::push`] wrote.
    pub fn new(bytes: &'a [u8]) -> Owners<'a> {
        Owners(bytes)
    }

    /// Appends an owner.
    pub fn push(bytes: &mut Vec<u8>, owner: &Owner<'_>) {
        put_owner(owner, bytes);
    }

    /// Bytes of an owner with so many Subscription Identifiers.
    pub const fn bytes_of(identifiers: usize) -> usize {
        2 * 8 + 1 + 2 + 4 * identifiers
    }

    pub(super) fn check(&self) -> Result<(), Malformed> {
        let mut reader = Reader::new(self.0);
        while !reader.is_empty() {
            get_owner(&mut reader)?;
        }
        Ok(())
    }
}

impl<'a> IntoIterator for Owners<'a> {
    type Item = Owner<'a>;
    type IntoIter = OwnerIter<'a>;

    fn into_iter(self) -> OwnerIter<'a> {
        OwnerIter(Reader::new(self.0))
    }
}

/// The owners of a message, in order.
#[derive(Clone, Debug)]
pub struct OwnerIter<'a>(Reader<'a>);

impl<'a> Iterator for OwnerIter<'a> {
    type Item = Owner<'a>;

    fn next(&mut self) -> Option<Owner<'a>> {
        get_owner(&mut self.0).ok()
    }
}

impl<'a> Uids<'a> {
    /// The numbers that [`Uids::push`] wrote.
    pub fn new(bytes: &'a [u8]) -> Uids<'a> {
        Uids(bytes)
    }

    /// Appends a number.
    pub fn push(bytes: &mut Vec<u8>, uid: u64) {
        bytes.u64(uid);
    }

    /// The numbers, in order.
    pub fn iter(self) -> impl Iterator<Item = u64> {
        self.0.chunks_exact(8).map(|eight| u64::from_be_bytes(eight.try_into().expect("eight bytes")))
    }
}

impl<'a> Identifiers<'a> {
    /// The identifiers that [`Identifiers::push`] wrote.
    pub fn new(bytes: &'a [u8]) -> Identifiers<'a> {
        Identifiers(bytes)
    }

    /// Appends an identifier.
    pub fn push(bytes: &mut Vec<u8>, identifier: u32) {
        bytes.u32(identifier);
    }

    /// The identifiers, in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = u32> {
        self.0.chunks_exact(4).map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
    }
}
