//! What a service manager is told, where there is one: the protocol of sd_notify(3) on the socket that `NOTIFY_SOCKET`
//! names. Without that variable nothing is said; and that it could not be said is no reason not to serve.

use std::time::Duration;

use sd_notify::{NotifyState, notify};

/// The shards serve, or serve again with what was read anew.
pub fn ready() {
    let _ = notify(&[NotifyState::Ready, NotifyState::Status("clients are served")]);
}

/// What the start is about, for who asks for the service's status.
pub fn status(text: &str) {
    let _ = notify(&[NotifyState::Status(text)]);
}

/// The configuration is read again; [`ready`] follows, whatever comes of it.
pub fn reloading() {
    // Since systemd 253 the time is part of the message.
    let now = NotifyState::monotonic_usec_now();
    let _ = match now {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    };
}

/// How often it wants to hear that the switch lives, at least; `None`: not at all.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero())
}

/// Every shard turns.
pub fn alive() {
    let _ = notify(&[NotifyState::Watchdog]);
}

/// The end has begun.
pub fn stopping() {
    let _ = notify(&[NotifyState::Stopping]);
}
