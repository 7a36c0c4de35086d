//! Waking a shard that sleeps in the kernel.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// An `eventfd(2)` that a shard's driver polls. Any thread may hold a clone and ring it.
#[derive(Clone, Debug)]
pub struct Doorbell(Arc<OwnedFd>);

impl Doorbell {
    /// A doorbell that has not been rung.
    ///
    /// # Errors
    /// `eventfd(2)` failed: too many open descriptors, or no memory.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows of it.
        Ok(Doorbell(Arc::new(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Makes the descriptor readable until it is answered.
    pub fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the buffer is eight bytes that live through the call. A write can only fail where the counter is full
        // (EAGAIN): then the bell has been rung and is readable all the same.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Makes the descriptor unreadable. Returns whether it had been rung.
    pub fn answer(&self) -> bool {
        let mut count = [0u8; 8];
        // SAFETY: the buffer is eight bytes that live through the call, and ours to write.
        unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) == 8 }
    }

    /// Blocks until it is rung, or that many milliseconds (`poll(2)`). Returns whether it was rung.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn wait(&self, milliseconds: i32) -> bool {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd that lives through the call.
        unsafe { libc::poll(&mut poll, 1, milliseconds) == 1 }
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Doorbell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However often it rings, one answer silences it; a clone rings the same bell.
    #[test]
    fn rings_and_is_answered() {
        let bell = Doorbell::new().expect("eventfd");
        assert!(!bell.answer());
        bell.ring();
        bell.clone().ring();
        assert!(bell.answer());
        assert!(!bell.answer());
    }

    /// A full counter is a bell that rings.
    #[test]
    fn full_counter() {
        let bell = Doorbell::new().expect("eventfd");
        let most = (u64::MAX - 1).to_ne_bytes();
        // SAFETY: eight bytes that live through the call.
        let written = unsafe { libc::write(bell.as_raw_fd(), most.as_ptr().cast(), 8) };
        assert_eq!(written, 8);
        bell.ring();
        assert!(bell.answer());
    }
}
