//! Where shards and service threads meet: requests one way, news the other.
//!
//! Requests lie in bounded queues: for threads that compute, and for threads that wait for somebody's service. News
//! lie in a queue for each shard, which requests bound: each connection has one at most. Whoever brings news to another
//! shard wakes it, by the doorbell or by a parcel that follows.

use std::path::Path;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use crossbeam::queue::SegQueue;
use shard::mesh::ShardId;

use super::ask::About;
use super::asked::Told;
use super::decider::Inquiry;
use super::gate::Proof;
use super::identity::{Credentials, Identity, Verdict};
use super::jwt::Keys;
use super::policy::Policy;
use super::scram::Exchange;
use super::users::{Known, Registers};
use crate::config::access::{Access, Backend};
use crate::config::{CertificateName, Listener, Settings};
use crate::connection::ConnectionId;

/// What a shard asks.
pub struct Request {
    /// The shard.
    pub shard: ShardId,
    /// The connection that waits.
    pub connection: ConnectionId,
    /// What is to be found out.
    pub question: Question,
}

/// What is to be found out.
pub enum Question {
    /// Whether a client is who it says it is; the back ends before this one do not know it.
    Connect(Credentials, usize),
    /// The first message of an exchange.
    Begin(Credentials, Vec<u8>),
    /// Its last message.
    Finish(Box<Exchange>, Vec<u8>),
    /// Whether a packet may be; whose connection this is does not matter.
    Decide(About, Box<Inquiry>),
}

/// What a shard learns.
pub enum News {
    /// What came of a request; what the client is told beside.
    Verdict(ConnectionId, Verdict, Option<Vec<u8>>),
    /// The client is to answer this.
    Challenge(ConnectionId, Box<Exchange>, Vec<u8>),
    /// A connection that comes from another shard is this one, and its CONNACK carries method and data.
    Moved(ConnectionId, Proof),
    /// What came of asking about a packet.
    Told(About, Vec<Told>),
    /// Rules and users were read again.
    Reloaded(Arc<Policy>, Arc<Registers>),
}

/// What back ends know; replaced as a whole.
#[derive(Clone, Default)]
pub struct Book {
    /// The password file.
    pub users: Arc<Registers>,
    /// Keys of files.
    pub keys: Arc<Keys>,
    /// Keys that were published.
    pub published: Arc<Keys>,
    /// Rules.
    pub policy: Arc<Policy>,
}

/// The meeting point of a node.
pub struct Desk {
    /// The settings of it.
    pub access: Access,
    settings: Settings,
    /// By listener.
    doors: Vec<Door>,
    book: Mutex<Book>,
    local: (Sender<Request>, Receiver<Request>),
    remote: (Sender<Request>, Receiver<Request>),
    deciding: (Sender<Request>, Receiver<Request>),
    news: Vec<SegQueue<News>>,
}

/// How clients come in by one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Door {
    /// Those that name nobody are let in.
    pub anonymous: bool,
    /// The back ends in use, in order.
    pub chain: Vec<Backend>,
    /// Which name in a client's certificate is its user name.
    pub identity: CertificateName,
    /// What the listener is called, where it has rules or users of its own.
    pub own: Option<Box<str>>,
    /// It has users of its own.
    pub own_users: bool,
    /// A service is asked about what its clients do.
    pub asked: bool,
}

/// No place is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl Desk {
    /// The desk of a node of `shards` shards, where the settings ask for access control.
    ///
    /// # Errors
    /// A file that they name cannot be used: which, and why.
    pub fn open(settings: &Settings, shards: u16) -> Result<Option<Arc<Desk>>, String> {
        if !settings.judges() {
            return Ok(None);
        }
        let (access, settings) = (settings.access.clone(), settings.clone());
        let book = read(&settings)?;
        let places = access.max_waiting as usize;
        let door = |listener: &Listener| Door {
            anonymous: listener.anonymous(&access),
            chain: listener.chain(&access),
            identity: listener.tls.identity,
            own: (listener.has_rules() || listener.password_file.is_some()).then(|| listener.called().into()),
            own_users: listener.password_file.is_some(),
            asked: listener.asks(&access),
        };
        let doors = settings.listeners.iter().map(door).collect();
        let news = std::iter::repeat_with(SegQueue::new).take(shards.into()).collect();
        let (local, remote) = (bounded(places), bounded(places));
        let deciding = bounded(access.acl_http.max_waiting as usize);
        let book = Mutex::new(book);
        Ok(Some(Arc::new(Desk { access, settings, doors, book, local, remote, deciding, news })))
    }

    /// How clients come in by a listener.
    pub fn door(&self, listener: u16) -> &Door {
        &self.doors[usize::from(listener)]
    }

    /// What back ends know now. For service threads, and for a shard before its first turn.
    pub fn book(&self) -> Book {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads all files again.
    ///
    /// # Errors
    /// A file cannot be used: which, and why.
    pub fn read_again(&self) -> Result<Book, String> {
        read(&self.settings)
    }

    /// Puts what was read again in the place of what back ends know, and tells the shards.
    pub fn replace(&self, read: Book) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        *book = Book { published: Arc::clone(&book.published), ..read };
        for shard in 0..self.news.len() {
            self.tell(ShardId(shard as u16), News::Reloaded(Arc::clone(&book.policy), Arc::clone(&book.users)));
        }
    }

    /// Keys were published.
    pub fn set_published(&self, keys: Keys) {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).published = Arc::new(keys);
    }

    /// Asks, if there is a place.
    pub fn ask(&self, request: Request) -> Result<(), Busy> {
        let queue = match &request.question {
            Question::Decide(..) => &self.deciding.0,
            question if self.waits_for_somebody(question) => &self.remote.0,
            _ => &self.local.0,
        };
        queue.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => Busy,
        })
    }

    /// Whether a question goes to a service, which may take its time.
    pub fn waits_for_somebody(&self, question: &Question) -> bool {
        match question {
            Question::Connect(credentials, at) => {
                self.door(credentials.listener).chain.get(*at) == Some(&Backend::Http)
            }
            _ => false,
        }
    }

    /// The queue of requests that are computed, or (`remote`) of those that wait for a service.
    pub fn requests(&self, remote: bool) -> Receiver<Request> {
        if remote { self.remote.1.clone() } else { self.local.1.clone() }
    }

    /// The queue of packets that a service decides about.
    pub fn packets(&self) -> Receiver<Request> {
        self.deciding.1.clone()
    }

    /// Leaves news for a shard, which somebody wakes.
    pub fn tell(&self, shard: ShardId, news: News) {
        self.news[usize::from(shard.0)].push(news);
    }

    /// The next news of a shard.
    pub fn hear(&self, shard: ShardId) -> Option<News> {
        let news = &self.news[usize::from(shard.0)];
        if news.is_empty() { None } else { news.pop() }
    }

    /// Files that are read, for messages.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let Access { password_file, acl_file, rules_file, ban_file, jwt, .. } = &self.access;
        let files = [password_file, acl_file, rules_file, ban_file, &jwt.key_file, &jwt.secret_file];
        let own = self
            .settings
            .listeners
            .iter()
            .flat_map(|listener| [&listener.password_file, &listener.acl_file, &listener.rules_file]);
        files.into_iter().chain(own).filter_map(|file| file.as_deref())
    }
}

fn read(settings: &Settings) -> Result<Book, String> {
    let access = &settings.access;
    let users = Registers::read(settings)?;
    let keys = Keys::read(&access.jwt)?;
    let policy = Policy::load(settings)?;
    Ok(Book { users: Arc::new(users), keys: Arc::new(keys), published: Arc::default(), policy: Arc::new(policy) })
}

impl Book {
    /// Whether who was let in by the password file still would be: it has that user with that hash.
    pub fn stands(users: &Registers, identity: &Identity) -> bool {
        match (&identity.user, identity.proof) {
            (Some(user), Some(proof)) => users.of(&identity.origin).proof(user) == Some(proof),
            _ => true,
        }
    }
}

impl Known {
    /// Whether it is the user.
    pub fn is_right(self) -> bool {
        self == Known::Yes
    }
}
