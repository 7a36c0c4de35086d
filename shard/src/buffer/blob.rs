//! Bytes that several owners read and nobody changes: how a large payload crosses the mesh without being copied.

use std::ops::Deref;
use std::sync::Arc;

/// Immutable counted bytes. A clone costs one atomic addition, whatever the size; the last owner frees the bytes, on
/// whichever core that is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Blob(Arc<[u8]>);

impl Blob {
    /// A blob of `len` bytes, which `fill` gets zeroed and fills in place.
    pub fn build(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, len).collect();
        fill(Arc::get_mut(&mut bytes).expect("a new blob has one owner"));
        Blob(bytes)
    }

    /// How many owners there are at this moment, this one included.
    pub fn owners(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Moves the blob to `at`, whose bytes own it from then on.
    ///
    /// # Safety
    /// `at` is aligned to 8 and valid for writing `size_of::<Blob>()` bytes. What it owned before is not dropped.
    #[inline]
    pub(crate) unsafe fn store(self, at: *mut u8) {
        // SAFETY: the caller promises a writable and aligned place (a blob is two words, aligned to 8 or less).
        unsafe { at.cast::<Blob>().write(self) }
    }

    /// The blob that the bytes at `at` own.
    ///
    /// # Safety
    /// [`Blob::store`] wrote it there, nobody took or overwrote it since, and nobody does during `'a`.
    #[inline]
    pub(crate) unsafe fn stored<'a>(at: *const u8) -> &'a Blob {
        // SAFETY: the caller promises a live blob at this aligned address for all of 'a.
        unsafe { &*at.cast::<Blob>() }
    }

    /// Moves the blob out of the bytes at `at`, which own nothing from then on.
    ///
    /// # Safety
    /// As for [`Blob::stored`], and nobody takes it a second time.
    #[inline]
    pub(crate) unsafe fn take(at: *const u8) -> Blob {
        // SAFETY: the caller promises a live blob at this aligned address, of which this becomes the only owner.
        unsafe { at.cast::<Blob>().read() }
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<&[u8]> for Blob {
    fn from(bytes: &[u8]) -> Self {
        Blob(bytes.into())
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clone shares the bytes, and they go with the last owner.
    #[test]
    fn clones_share() {
        let a = Blob::build(3, |bytes| bytes.copy_from_slice(b"abc"));
        let b = a.clone();
        assert_eq!((a.as_ptr(), a.owners()), (b.as_ptr(), 2));
        drop(a);
        assert_eq!((&b[..], b.owners()), (&b"abc"[..], 1));
    }

    /// Raw parts in plain memory own the blob exactly as a variable does: stored, seen, taken, one owner throughout.
    #[test]
    fn crosses_plain_memory() {
        let mut place = [0u64; 2];
        let blob = Blob::from(&b"over"[..]);
        let witness = blob.clone();
        let at = place.as_mut_ptr().cast::<u8>();
        // SAFETY: `place` is two aligned words, used by this thread alone, and the blob is taken once.
        let back = unsafe {
            blob.store(at);
            assert_eq!(&Blob::stored(at)[..], b"over");
            Blob::take(at)
        };
        assert_eq!(witness.owners(), 2);
        drop(back);
        assert_eq!(witness.owners(), 1);
    }

    /// No bytes are bytes too.
    #[test]
    fn empty() {
        assert!(Blob::build(0, |_| ()).is_empty());
    }
}
