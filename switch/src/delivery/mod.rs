//! From a message to the sockets of this shard's subscribers.
//!
//! ```text
//!   frame ─▶ match filters ─┬─▶ feed: encode once, append ───────────┐
//!                           └─▶ outbox: encode for one subscriber ───┤─▶ flush: one send a socket
//!                                 └─▶ queue of the session (QoS 1, 2)┘
//! ```

pub mod deliver;
pub mod fanout;
pub mod feed;
pub mod flush;
pub mod outbox;
pub mod store;
pub mod write;

use shard::Instant;

use crate::session::{Options, SessionId};
use feed::{FeedId, Image};

/// All subscribers of one filter on this shard.
#[derive(Default)]
pub struct Subscribers {
    /// Feeds, by what their bytes look like.
    pub feeds: Vec<(Image, FeedId)>,
    /// Those served by their own outbox.
    pub direct: Vec<DirectSubscriber>,
    /// Shared-subscription groups with members here.
    pub groups: Vec<LocalGroup>,
    /// Subscriptions of QoS 0 whose session has no connection: they get nothing, and are there when it comes back.
    pub idle: u32,
    /// Subscriptions that owners were asked for and that are not in force yet.
    pub asked: u32,
    /// When the last subscriber went, while the owners still send.
    pub lingers: Option<Instant>,
}

impl Subscribers {
    /// Whether nobody is left.
    pub fn is_empty(&self) -> bool {
        !self.wanted() && self.groups.is_empty()
    }

    /// Whether somebody but groups wants what is published.
    pub fn wanted(&self) -> bool {
        !self.feeds.is_empty() || !self.direct.is_empty() || self.idle > 0 || self.asked > 0
    }
}

/// A subscriber that is served by its own outbox.
#[derive(Clone, Copy, Debug)]
pub struct DirectSubscriber {
    /// Its session.
    pub session: SessionId,
    /// Subscription Identifier; 0: none.
    pub identifier: u32,
    /// Granted QoS and options.
    pub options: Options,
}

/// The members on this shard of one shared-subscription group.
pub struct LocalGroup {
    /// The group's name.
    pub name: Box<str>,
    /// What owners call it: a hash of group and filter.
    pub key: u64,
    /// Its members.
    pub members: Vec<DirectSubscriber>,
    /// Whose turn it is.
    pub next: u32,
}
