//! A service that says what a client may publish and subscribe to, asked over HTTP.
//!
//! ```text
//!   204, 200 {"result": "allow"}               allowed
//!   200 {"result": "deny"}, 401, 403           denied
//!   200 {"result": "ignore"}, 404              the rules decide
//!   anything else, or nothing in time          access_acl_http.when_down
//! ```

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::Agent;

use super::asked::{Items, Shape, Told, Word};
use super::http::{agent, fill, filled_in, json, text_of, with_headers};
use super::identity::Identity;
use super::rules::Actions;
use crate::config::access::{AclHttp, BodyForm, Method, WhenDown};

/// So long nobody is asked when an answer did not come.
const REST: Duration = Duration::from_secs(1);

/// What is to be found out about one packet.
pub struct Inquiry {
    /// Who wants to do it.
    pub who: Arc<Identity>,
    /// Where it comes from, where that is known.
    pub peer: Option<IpAddr>,
    /// What it does, to which topics or filters; kept by whoever waits for the answer.
    pub items: Weak<Items>,
    /// Which service is asked.
    pub decider: usize,
}

/// A service, and how it is asked.
pub struct Decider {
    agent: Agent,
    settings: AclHttp,
    /// It did not answer; until then it is not asked.
    rests: Mutex<Option<Instant>>,
}

/// What became of one request.
enum Outcome {
    Said(Word),
    /// It answered, and not so that it could be understood.
    Wrong,
    /// There was no answer.
    Silent,
}

impl Decider {
    /// One that these settings tell of.
    ///
    /// # Errors
    /// Its certificates cannot be read.
    pub fn new(settings: &AclHttp) -> Result<Decider, String> {
        let agent = agent(settings.timeout, settings.ca_file.as_deref())?;
        Ok(Decider { agent, settings: settings.clone(), rests: Mutex::default() })
    }

    /// What is said of a packet: of all that it does, in order. Nothing where nobody wants to know any more.
    pub fn decide(&self, inquiry: &Inquiry) -> Vec<Told> {
        let (begin, mut down) = (Instant::now(), false);
        let Some(items) = inquiry.items.upgrade() else { return Vec::new() };
        let mut told = Vec::with_capacity(items.len());
        for (shape, topic) in &*items {
            if Arc::strong_count(&items) == 1 {
                return Vec::new();
            }
            // A packet waits as long as one answer may take, however many it needs.
            down |= self.rests(Instant::now()) || begin.elapsed() >= self.settings.timeout;
            let mut outcome = if down { Outcome::Silent } else { self.request(inquiry, *shape, topic) };
            if matches!(outcome, Outcome::Silent) && begin.elapsed() < self.settings.timeout / 2 && !down {
                // It may have closed a connection that was kept for the next request.
                outcome = self.request(inquiry, *shape, topic);
            }
            if matches!(outcome, Outcome::Silent) && !down {
                down = true;
                *self.rests.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + REST);
            }
            told.push(match outcome {
                Outcome::Said(word) => Told { shape: *shape, topic: topic.clone(), word, lasts: true },
                Outcome::Wrong | Outcome::Silent => unanswered(&self.settings, *shape, topic),
            });
        }
        told
    }

    fn rests(&self, now: Instant) -> bool {
        let rests = *self.rests.lock().unwrap_or_else(PoisonError::into_inner);
        rests.is_some_and(|until| now < until)
    }

    fn request(&self, inquiry: &Inquiry, shape: Shape, topic: &str) -> Outcome {
        let Some(url) = &self.settings.url else { return Outcome::Wrong };
        let peer = inquiry.peer.map(|peer| peer.to_string());
        let qos = shape.qos().to_string();
        let value = |name: &str| match name {
            "username" => inquiry.who.user.as_deref(),
            "clientid" => Some(&*inquiry.who.client_id),
            "peerhost" => peer.as_deref(),
            "subject" => inquiry.who.origin.subject.as_deref(),
            "action" => Some(if shape.action() == Actions::PUBLISH { "publish" } else { "subscribe" }),
            "topic" => Some(topic),
            "qos" => Some(qos.as_str()),
            "retain" => Some(if shape.retain() { "true" } else { "false" }),
            _ => name.strip_prefix("claim.").and_then(|name| inquiry.who.claim(name)),
        };
        let standard = AclHttp::FIELDS.map(|name| format!("{name}=${{{name}}}"));
        let fields = if self.settings.fields.is_empty() { &standard[..] } else { &self.settings.fields };
        let fields = fields.iter().filter_map(|field| field.split_once('='));
        let fields: Vec<_> = fields.map(|(name, text)| (name, fill(text, &value))).collect();
        let said = fields.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        let url = located(url, &value);
        let headers = &self.settings.headers;
        let sent = match (self.settings.method, self.settings.body) {
            (Method::Get, _) => with_headers(self.agent.get(&url), headers).query_pairs(said).call(),
            (Method::Post, BodyForm::Form) => with_headers(self.agent.post(&url), headers).send_form(said),
            (Method::Post, BodyForm::Json) => {
                let request = with_headers(self.agent.post(&url), headers);
                request.header("content-type", "application/json").send(json(fields))
            }
        };
        let Ok(mut response) = sent else { return Outcome::Silent };
        match response.status().as_u16() {
            204 => Outcome::Said(Word::Allow),
            200 => text_of(&mut response).and_then(|body| understood(&body)).map_or(Outcome::Wrong, Outcome::Said),
            401 | 403 => Outcome::Said(Word::Deny),
            404 => Outcome::Said(Word::Ignore),
            _ => Outcome::Wrong,
        }
    }
}

/// What counts where there is no answer.
pub fn unanswered(settings: &AclHttp, shape: Shape, topic: &str) -> Told {
    let word = match settings.when_down {
        WhenDown::Deny => Word::Deny,
        WhenDown::Allow => Word::Allow,
        WhenDown::Next => Word::Ignore,
    };
    Told { shape, topic: topic.into(), word, lasts: false }
}

/// What an answer says. `None`: it is none.
fn understood(body: &str) -> Option<Word> {
    let value: Value = serde_json::from_str(body).ok()?;
    match value.as_object()?.get("result")?.as_str()? {
        "allow" => Some(Word::Allow),
        "deny" => Some(Word::Deny),
        "ignore" => Some(Word::Ignore),
        _ => None,
    }
}

/// An address with its placeholders filled in: what a client says is never more than a part of one segment.
fn located<'a>(url: &str, value: &impl Fn(&str) -> Option<&'a str>) -> String {
    filled_in(url, |name, filled| {
        for byte in value(name).unwrap_or_default().bytes() {
            // RFC 3986, section 2.3.
            if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
                filled.push(char::from(byte));
            } else {
                filled.push_str(&format!("%{byte:02X}"));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client calls itself neither ends a segment nor begins a query, nor leads anywhere else.
    #[test]
    fn addresses_are_filled_in() {
        let value = |name: &str| match name {
            "topic" => Some("a/b?c#d"),
            "clientid" => Some(".."),
            "username" => Some("${topic} ü"),
            _ => None,
        };
        for (url, expected) in [
            ("http://h/${topic}", "http://h/a%2Fb%3Fc%23d"),
            ("http://h/${clientid}/x", "http://h/%2E%2E/x"),
            ("http://h/?u=${username}&v=${none}", "http://h/?u=%24%7Btopic%7D%20%C3%BC&v="),
            ("http://h/${", "http://h/${"),
        ] {
            assert_eq!(located(url, &value), expected);
        }
    }

    /// Only what says so allows.
    #[test]
    fn answers_are_understood() {
        assert_eq!(understood(r#"{"result":"allow"}"#), Some(Word::Allow));
        assert_eq!(understood(r#"{"result":"deny"}"#), Some(Word::Deny));
        assert_eq!(understood(r#"{"result":"ignore","more":1}"#), Some(Word::Ignore));
        for wrong in ["", "allow", "[]", "{}", r#"{"result":"yes"}"#, r#"{"result":true}"#] {
            assert_eq!(understood(wrong), None, "{wrong}");
        }
    }
}
