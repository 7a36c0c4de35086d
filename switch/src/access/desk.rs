//! Where shards and service threads meet: requests one way, news the other.
//!
//! Requests lie in bounded queues: for threads that compute, and for each service that others wait for, so that one which
//! is slow holds up nobody but its own clients. News lie in a queue for each shard, which requests bound: each connection
//! has one at most, and few sessions beside. Whoever brings news to another shard wakes it, by the doorbell or by a parcel
//! that follows.

use std::collections::HashMap;
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
use super::identity::{Credentials, Identity, Origin, Verdict};
use super::jwt::Keys;
use super::policy::Policy;
use super::scram::Exchange;
use super::users::{Known, Registers};
use crate::config::access::{Access, AclHttp, Backend, Http, Jwt};
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
    /// Keys of files, by [`Desk::tokens`].
    pub keys: Arc<[Keys]>,
    /// Keys that were published, likewise.
    pub published: Vec<Arc<Keys>>,
    /// Rules.
    pub policy: Arc<Policy>,
}

/// The meeting point of a node.
pub struct Desk {
    /// The settings of it.
    pub access: Access,
    settings: Settings,
    /// How tokens are looked at: all ways that listeners have.
    pub tokens: Vec<Jwt>,
    /// Services that know who a client is.
    pub services: Vec<Http>,
    /// Services that decide about packets.
    pub deciders: Vec<AclHttp>,
    /// By listener.
    doors: Vec<Door>,
    /// The service of those who came in where it is not that of all, by what the listener is called.
    own_deciders: HashMap<Box<str>, usize>,
    book: Mutex<Book>,
    local: Line,
    /// By service.
    remote: Vec<Line>,
    deciding: Vec<Line>,
    news: Vec<SegQueue<News>>,
}

/// A bounded queue of requests.
type Line = (Sender<Request>, Receiver<Request>);

/// How clients come in by one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Door {
    /// Those that name nobody are let in.
    pub anonymous: bool,
    /// The back ends in use, in order.
    pub chain: Vec<Backend>,
    /// Which name in a client's certificate is its user name.
    pub identity: CertificateName,
    /// What the listener is called, where it has anything of its own.
    pub own: Option<Box<str>>,
    /// What its users are called after, where they are not those of all.
    pub users: Option<Box<str>>,
    /// A service is asked about what its clients do.
    pub asked: bool,
    /// Which of [`Desk::tokens`] is its own.
    pub tokens: usize,
    /// Which of [`Desk::services`].
    pub service: usize,
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
        let (mut tokens, mut services, mut deciders) = (Vec::new(), Vec::new(), Vec::new());
        let mut own_deciders = HashMap::new();
        if access.acl_http.url.is_some() {
            deciders.push(access.acl_http.clone());
        }
        let mut doors = Vec::new();
        for listener in &settings.listeners {
            let chain = listener.chain(&access);
            let decider = listener.acl_http(&access).map(|service| place(&mut deciders, service));
            if let (Some(_), Some(decider)) = (&listener.own.acl_http_url, decider) {
                own_deciders.insert(listener.called().into(), decider);
            }
            let users: Option<Box<str>> = listener.users().map(Box::from);
            let own = listener.has_rules() || users.is_some() || listener.own.acl_http_url.is_some();
            doors.push(Door {
                anonymous: listener.anonymous(&access),
                tokens: place(&mut tokens, listener.jwt(&access)),
                service: if chain.contains(&Backend::Http) { place(&mut services, listener.http(&access)) } else { 0 },
                chain,
                identity: listener.tls.identity,
                own: own.then(|| listener.called().into()),
                users,
                asked: decider.is_some(),
            });
        }
        let book = Mutex::new(read(&settings, &tokens)?);
        let news = std::iter::repeat_with(SegQueue::new).take(shards.into()).collect();
        let line = |places: u32| bounded(places as usize);
        let local = line(access.max_waiting);
        let remote = services.iter().map(|_| line(access.max_waiting)).collect();
        let deciding = deciders.iter().map(|service| line(service.max_waiting)).collect();
        Ok(Some(Arc::new(Desk {
            access,
            settings,
            tokens,
            services,
            deciders,
            doors,
            own_deciders,
            book,
            local,
            remote,
            deciding,
            news,
        })))
    }

    /// Which service decides about packets of those who came in there.
    pub fn decider(&self, origin: &Origin) -> Option<usize> {
        let own = origin.listener.as_ref().and_then(|listener| self.own_deciders.get(listener)).copied();
        let all = || self.access.acl_http.url.is_some().then_some(0);
        own.or_else(all).filter(|_| origin.asked)
    }

    /// How a way to look at tokens is called in messages: by the key that says where its keys are published.
    pub fn published_by(&self, tokens: usize) -> String {
        let own = |door: &Door, listener: &Listener| door.tokens == tokens && listener.own.jwt_jwks_url.is_some();
        let listeners = self.doors.iter().zip(&self.settings.listeners);
        let index = listeners.into_iter().position(|(door, listener)| own(door, listener));
        index.map_or_else(|| "access_jwt.jwks_url".to_owned(), |index| format!("listener[{index}].jwt_jwks_url"))
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
        read(&self.settings, &self.tokens)
    }

    /// Puts what was read again in the place of what back ends know, and tells the shards.
    pub fn replace(&self, read: Book) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        *book = Book { published: std::mem::take(&mut book.published), ..read };
        for shard in 0..self.news.len() {
            self.tell(ShardId(shard as u16), News::Reloaded(Arc::clone(&book.policy), Arc::clone(&book.users)));
        }
    }

    /// Keys were published.
    pub fn set_published(&self, tokens: usize, keys: Keys) {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).published[tokens] = Arc::new(keys);
    }

    /// Asks, if there is a place.
    pub fn ask(&self, request: Request) -> Result<(), Busy> {
        let queue = match &request.question {
            Question::Decide(_, inquiry) => &self.deciding[inquiry.decider].0,
            Question::Connect(credentials, at) if self.waits_for_somebody(credentials, *at) => {
                &self.remote[self.door(credentials.listener).service].0
            }
            _ => &self.local.0,
        };
        queue.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => Busy,
        })
    }

    fn waits_for_somebody(&self, credentials: &Credentials, at: usize) -> bool {
        self.door(credentials.listener).chain.get(at) == Some(&Backend::Http)
    }

    /// The queue of requests that are computed.
    pub fn requests(&self) -> Receiver<Request> {
        self.local.1.clone()
    }

    /// The queue of requests that wait for one of [`Desk::services`].
    pub fn requests_to(&self, service: usize) -> Receiver<Request> {
        self.remote[service].1.clone()
    }

    /// The queue of packets that one of [`Desk::deciders`] decides about.
    pub fn packets(&self, decider: usize) -> Receiver<Request> {
        self.deciding[decider].1.clone()
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
        let own = self.settings.listeners.iter().flat_map(|listener| {
            let users = [&listener.password_file, &listener.own.jwt_key_file, &listener.own.jwt_secret_file];
            // Those of another listener are told there.
            let users = users.into_iter().filter(|_| listener.users_of.is_none());
            users.chain([&listener.acl_file, &listener.rules_file])
        });
        files.into_iter().chain(own).filter_map(|file| file.as_deref())
    }
}

/// Where one stands among all, with which it is put if it does not.
fn place<T: PartialEq>(all: &mut Vec<T>, one: T) -> usize {
    all.iter().position(|known| *known == one).unwrap_or_else(|| {
        all.push(one);
        all.len() - 1
    })
}

fn read(settings: &Settings, tokens: &[Jwt]) -> Result<Book, String> {
    let users = Registers::read(settings)?;
    let keys = tokens.iter().map(Keys::read).collect::<Result<Vec<Keys>, String>>()?;
    let policy = Policy::load(settings)?;
    let published = tokens.iter().map(|_| Arc::default()).collect();
    Ok(Book { users: Arc::new(users), keys: keys.into(), published, policy: Arc::new(policy) })
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
