//! The service side: finds out who clients are, on threads that may compute and wait.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use shard::mesh::ShardId;
use wire::mqtt::ReasonCode;

use super::attempts::Attempts;
use super::decider::Decider;
use super::desk::{Book, Desk, News, Question, Request};
use super::http::{self, Answer};
use super::identity::{Credentials, Identity, Particulars, Verdict};
use super::jwt::{self, Keys, Token};
use super::scram::Exchange;
use super::users::Known;
use crate::config::access::{Backend, TokenFrom, WhenDown};

/// Keys that a token names and that are not here are fetched at most this often.
const FETCH_AGAIN: Duration = Duration::from_secs(10);
/// How long keys may take to come.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// What service threads share.
pub struct Service {
    desk: Arc<Desk>,
    wake: Box<dyn Fn(ShardId) + Send + Sync>,
    attempts: Mutex<Attempts>,
    /// By [`Desk::services`].
    services: Vec<http::Service>,
    /// By [`Desk::deciders`].
    deciders: Vec<Decider>,
    /// Makes up what users are shown that are not there.
    secret: [u8; 32],
    /// When keys were fetched last, by [`Desk::tokens`].
    fetched: Vec<Mutex<Option<Instant>>>,
    /// Held by who fetches keys that a token names: a source that is slow holds up one thread, not all that compute.
    fetching: Mutex<()>,
}

/// What one back end says.
enum Step {
    Is(Box<Identity>),
    IsNot(ReasonCode),
    /// Somebody else may know.
    Next,
}

impl Service {
    /// A service for this desk; `wake` wakes a shard.
    ///
    /// # Errors
    /// A certificate cannot be read, or there is no randomness.
    pub fn new(desk: Arc<Desk>, wake: Box<dyn Fn(ShardId) + Send + Sync>) -> Result<Service, String> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).map_err(|_| "the system has no randomness".to_owned())?;
        let attempts = Mutex::new(Attempts::new(desk.access.max_failures, desk.access.max_backoff));
        let services = desk.services.iter().map(http::Service::new).collect::<Result<_, _>>()?;
        let deciders = desk.deciders.iter().map(Decider::new).collect::<Result<_, _>>()?;
        let fetched = desk.tokens.iter().map(|_| Mutex::default()).collect();
        Ok(Service { desk, wake, attempts, services, deciders, secret, fetched, fetching: Mutex::default() })
    }

    /// Answers requests that are computed until there are no more.
    pub fn compute(&self) {
        self.desk.requests().into_iter().for_each(|request| self.answer(request));
    }

    /// The same with those that wait for one service.
    pub fn inquire(&self, service: usize) {
        self.desk.requests_to(service).into_iter().for_each(|request| self.answer(request));
    }

    /// Lets one service decide about packets until there are no more.
    pub fn decide(&self, decider: usize) {
        self.desk.packets(decider).into_iter().for_each(|request| self.answer(request));
    }

    fn answer(&self, Request { shard, connection, question }: Request) {
        let news = match question {
            Question::Connect(credentials, at) => match self.connect(credentials, at) {
                Ok(verdict) => News::Verdict(connection, verdict, None),
                Err(next) => {
                    let (credentials, at) = *next;
                    // A back end of the other kind comes next.
                    let question = Question::Connect(credentials, at);
                    match self.desk.ask(Request { shard, connection, question }) {
                        Ok(()) => return,
                        Err(_) => News::Verdict(connection, Verdict::Refused(ReasonCode::ServerBusy), None),
                    }
                }
            },
            Question::Begin(credentials, data) => self.begin(connection, credentials, &data),
            Question::Finish(exchange, data) => self.finish(connection, &exchange, &data),
            Question::Decide(about, inquiry) => News::Told(about, self.deciders[inquiry.decider].decide(&inquiry)),
        };
        self.desk.tell(shard, news);
        (self.wake)(shard);
    }

    /// Asks back ends from `at` on, or says which one of the other kind is next.
    fn connect(&self, credentials: Credentials, at: usize) -> Result<Verdict, Box<(Credentials, usize)>> {
        let now = Instant::now();
        if !self.attempts().may_try(credentials.peer, now) {
            return Ok(Verdict::Refused(ReasonCode::ConnectionRateExceeded));
        }
        let chain = &self.desk.door(credentials.listener).chain;
        let remote = chain.get(at) == Some(&Backend::Http);
        let book = self.desk.book();
        for (index, backend) in chain.iter().enumerate().skip(at) {
            if (*backend == Backend::Http) != remote {
                return Err(Box::new((credentials, index)));
            }
            let step = match backend {
                Backend::Passwords => self.password(&credentials, &book),
                Backend::Jwt => self.token(&credentials, &book),
                Backend::Http => self.ask_service(&credentials, now),
            };
            match step {
                Step::Is(identity) => {
                    self.attempts().succeeded(credentials.peer);
                    return Ok(Verdict::Accepted(Arc::new(*identity)));
                }
                Step::IsNot(reason) => return Ok(self.failed(&credentials, reason)),
                Step::Next => {}
            }
        }
        let named = credentials.user.is_some() || credentials.password.is_some();
        if !named && credentials.anonymous {
            let identity = Identity::anonymous(&credentials.client_id, &credentials.origin);
            return Ok(Verdict::Accepted(Arc::new(identity)));
        }
        let reason = if named { ReasonCode::BadUserNameOrPassword } else { ReasonCode::NotAuthorized };
        Ok(self.failed(&credentials, reason))
    }

    fn failed(&self, credentials: &Credentials, reason: ReasonCode) -> Verdict {
        if reason != ReasonCode::ServerUnavailable {
            self.attempts().failed(credentials.peer, Instant::now());
        }
        Verdict::Refused(reason)
    }

    fn password(&self, credentials: &Credentials, book: &Book) -> Step {
        let Some(user) = &credentials.user else { return Step::Next };
        let password = credentials.password.as_ref().map(|password| password.as_slice());
        let users = book.users.of(&credentials.origin);
        match users.check(user, password) {
            Known::Yes => match identity(Some(user), credentials, Particulars::default()) {
                Step::Is(mut identity) => {
                    identity.proof = users.proof(user);
                    Step::Is(identity)
                }
                step => step,
            },
            Known::No => Step::IsNot(ReasonCode::BadUserNameOrPassword),
            Known::Nobody => Step::Next,
        }
    }

    fn token(&self, credentials: &Credentials, book: &Book) -> Step {
        let at = self.desk.door(credentials.listener).tokens;
        let settings = &self.desk.tokens[at];
        let token = match settings.from {
            TokenFrom::Username => credentials.user.as_deref(),
            TokenFrom::Password => {
                credentials.password.as_ref().and_then(|password| std::str::from_utf8(password).ok())
            }
        };
        let Some(token) = token else { return Step::Next };
        let mut outcome = jwt::check(token, &[&book.keys[at], &book.published[at]], settings);
        if matches!(outcome, Token::UnknownKey)
            && let Ok(_alone) = self.fetching.try_lock()
            && self.fetch_keys(at, FETCH_AGAIN).is_ok_and(|came| came)
        {
            outcome = jwt::check(token, &[&book.keys[at], &self.desk.book().published[at]], settings);
        }
        match outcome {
            Token::Good(user, particulars) => identity(Some(&user), credentials, particulars),
            Token::Bad | Token::UnknownKey => Step::IsNot(ReasonCode::NotAuthorized),
            Token::None => Step::Next,
        }
    }

    fn ask_service(&self, credentials: &Credentials, now: Instant) -> Step {
        let service = &self.services[self.desk.door(credentials.listener).service];
        match (service.ask(credentials, now), self.desk.access.http.when_down) {
            (Answer::Yes(particulars), _) => identity(credentials.user.as_deref(), credentials, particulars),
            (Answer::Down, WhenDown::Allow) => {
                identity(credentials.user.as_deref(), credentials, Particulars::default())
            }
            (Answer::No, _) => Step::IsNot(ReasonCode::BadUserNameOrPassword),
            (Answer::Unknown, _) | (Answer::Down, WhenDown::Next) => Step::Next,
            (Answer::Down, WhenDown::Deny) => Step::IsNot(ReasonCode::ServerUnavailable),
        }
    }

    fn begin(&self, connection: crate::connection::ConnectionId, credentials: Credentials, data: &[u8]) -> News {
        if !self.attempts().may_try(credentials.peer, Instant::now()) {
            return News::Verdict(connection, Verdict::Refused(ReasonCode::ConnectionRateExceeded), None);
        }
        let (users, origin) = (self.desk.book().users, credentials.origin.clone());
        match Exchange::begin(credentials, data, |user| users.of(&origin).scram(user), &self.secret) {
            Ok((exchange, answer)) => News::Challenge(connection, Box::new(exchange), answer),
            Err(_) => News::Verdict(connection, Verdict::Refused(ReasonCode::NotAuthorized), None),
        }
    }

    fn finish(&self, connection: crate::connection::ConnectionId, exchange: &Exchange, data: &[u8]) -> News {
        let credentials = &exchange.credentials;
        let refused = || News::Verdict(connection, self.failed(credentials, ReasonCode::NotAuthorized), None);
        let Ok(Some(answer)) = exchange.finish(data) else { return refused() };
        let Step::Is(mut identity) = identity(Some(&exchange.user), credentials, Particulars::default()) else {
            return refused();
        };
        identity.proof = self.desk.book().users.of(&credentials.origin).proof(&exchange.user);
        self.attempts().succeeded(credentials.peer);
        News::Verdict(connection, Verdict::Accepted(Arc::new(*identity)), Some(answer))
    }

    /// Fetches keys that are published, unless that was done a moment ago. Whether any came.
    ///
    /// # Errors
    /// What went wrong; the keys that were there stay.
    pub fn fetch_keys(&self, tokens: usize, least: Duration) -> Result<bool, String> {
        let settings = &self.desk.tokens[tokens];
        let Some(url) = &settings.jwks_url else { return Ok(false) };
        let now = Instant::now();
        {
            let mut fetched = self.fetched[tokens].lock().unwrap_or_else(PoisonError::into_inner);
            if fetched.is_some_and(|at| now.saturating_duration_since(at) < least) {
                return Ok(false);
            }
            *fetched = Some(now);
        }
        let text = http::fetch(url, FETCH_TIMEOUT, self.desk.access.http.ca_file.as_deref())?;
        self.desk.set_published(tokens, Keys::published(&text, settings)?);
        Ok(true)
    }

    fn attempts(&self) -> std::sync::MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The identity that a back end has proved. One that cannot be made is refused.
fn identity(user: Option<&str>, credentials: &Credentials, particulars: Particulars) -> Step {
    match Identity::new(user, &credentials.client_id, &credentials.origin, particulars) {
        Ok(identity) => Step::Is(Box::new(identity)),
        Err(_) => Step::IsNot(ReasonCode::NotAuthorized),
    }
}
