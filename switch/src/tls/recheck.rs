//! Certificates of clients that are connected, looked at again after a reload: who was revoked meanwhile is to go.
//!
//! ```text
//!   reload ─▶ epoch ─▶ each shard: its connections, slice by slice ─▶ checks (bounded) ─▶ one service thread
//!                            ▲                                                              │ as in a handshake
//!                            └───────── verdicts of this shard, and the doorbell ◀──────────┘
//! ```
//! A check costs a few signatures, some 200 µs: no shard computes that for all its clients.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crossbeam::channel::{Receiver, Sender, bounded};
use crossbeam::queue::SegQueue;
use rustls::pki_types::{CertificateDer, UnixTime};
use shard::mesh::ShardId;

use super::failure::Failure;
use crate::connection::ConnectionId;
use crate::listener::ListenerPolicy;

/// Certificates that wait to be looked at, on the whole node. A shard that finds no place goes on when there is some.
const CHECKS_MAX: usize = 256;

/// A certificate that is to be looked at again.
pub struct Check {
    /// The shard of its connection.
    pub shard: ShardId,
    /// The connection.
    pub connection: ConnectionId,
    /// The listener that it came in by.
    pub listener: u16,
    /// What the client has shown: its own first.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Where shards and the thread that looks meet.
pub struct Recheck {
    /// Reloads so far.
    epoch: AtomicU32,
    checks: (Sender<Check>, Receiver<Check>),
    /// Shards that found no place.
    waiting: Box<[AtomicBool]>,
    /// Those that are to go, for each shard: one for each connection that was looked at, at most.
    verdicts: Box<[SegQueue<(ConnectionId, Failure)>]>,
}

impl Recheck {
    /// For `shards` shards.
    pub fn new(shards: u16) -> Recheck {
        Recheck {
            epoch: AtomicU32::new(0),
            checks: bounded(CHECKS_MAX),
            waiting: (0..shards).map(|_| AtomicBool::new(false)).collect(),
            verdicts: (0..shards).map(|_| SegQueue::new()).collect(),
        }
    }

    /// The files were read again. Whoever calls wakes the shards.
    pub fn begin(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Reloads so far.
    pub fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Has a certificate looked at. False: there is no place; the shard is woken when there is.
    pub fn ask(&self, check: Check) -> bool {
        let shard = usize::from(check.shard.0);
        let Err(full) = self.checks.0.try_send(check) else { return true };
        self.waiting[shard].store(true, Ordering::SeqCst);
        // A place may have come free before that was seen.
        self.checks.0.try_send(full.into_inner()).is_ok()
    }

    /// The next connection of a shard that is to go, and why.
    pub fn verdict(&self, shard: ShardId) -> Option<(ConnectionId, Failure)> {
        self.verdicts[usize::from(shard.0)].pop()
    }

    /// Looks at certificates until there are no more.
    pub fn run(&self, listeners: &[ListenerPolicy], wake: impl Fn(ShardId)) {
        for Check { shard, connection, listener, chain } in &self.checks.1 {
            if let Some(failure) = refused(&listeners[usize::from(listener)], &chain) {
                self.verdicts[usize::from(shard.0)].push((connection, failure));
                wake(shard);
            }
            if self.checks.1.len() > CHECKS_MAX / 2 {
                continue;
            }
            for (shard, waiting) in self.waiting.iter().enumerate() {
                if waiting.load(Ordering::Relaxed) && waiting.swap(false, Ordering::SeqCst) {
                    wake(ShardId(shard as u16));
                }
            }
        }
    }
}

/// Why a handshake would fail now with these certificates, if it would. Where nobody is asked any more nobody is refused.
fn refused(listener: &ListenerPolicy, chain: &[CertificateDer<'static>]) -> Option<Failure> {
    let verifier = listener.tls.as_ref()?.verifier()?;
    let (own, others) = chain.split_first()?;
    let error = verifier.verify_client_cert(own, others, UnixTime::now()).err()?;
    Some(Failure::of(&error))
}
