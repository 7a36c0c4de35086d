//! How a sleeping keeper is woken: an eventfd that its executor reads in its own ring.
//!
//! An executor can also be woken by the wakers of its tasks, from any thread; that goes through a queue and a flag of
//! the executor's own. A read in its ring needs nothing but the kernel.

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;

use glommio::GlommioError;
use glommio::io::BufferedFile;
use rustix::event::{EventfdFlags, eventfd};

/// Wakes the keeper, from any thread.
#[derive(Clone, Debug)]
pub(super) struct Waker(Arc<OwnedFd>);

/// The keeper's end, on its way to the keeper's thread.
#[derive(Debug)]
pub(super) struct Alarm(OwnedFd);

/// The keeper's end.
#[derive(Debug)]
pub(super) struct Sleeper(BufferedFile);

/// Both ends.
pub(super) fn pair() -> io::Result<(Waker, Alarm)> {
    let fd = eventfd(0, EventfdFlags::CLOEXEC)?;
    let own = fd.try_clone()?;
    Ok((Waker(Arc::new(fd)), Alarm(own)))
}

impl Waker {
    /// Wakes the keeper. Wakes before it looks count as one.
    pub fn wake(&self) {
        // It would fail after 2^64 - 2 wakes that nobody saw.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

impl Alarm {
    /// To be called on the executor.
    pub fn sleeper(self) -> Sleeper {
        // SAFETY: the descriptor is open and nobody else's: `self` owned it, and gives it up here.
        Sleeper(unsafe { BufferedFile::from_raw_fd(self.0.into_raw_fd()) })
    }
}

impl Sleeper {
    /// Completes when somebody wakes, or has since it completed last.
    pub async fn woken(&self) -> Result<(), GlommioError<()>> {
        self.0.read_at(0, size_of::<u64>()).await.map(|_| ())
    }
}
