//! The opening handshake: a request of HTTP/1.1 becomes an answer of 101, or one that says why not.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use httparse::{EMPTY_HEADER, Header, Status};
use sha1::{Digest, Sha1};

/// What a listener asks of a request.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The path, without a query.
    pub path: &'a str,
    /// Origins that pages may come from, as browsers write them; empty: any. A client that names none is no browser.
    pub origins: &'a [String],
    /// Bytes of the whole request at most.
    pub request_bytes_max: usize,
}

/// A subprotocol that means MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprotocol {
    /// `mqtt` \[MQTT-6.0.0-4\].
    Mqtt,
    /// `mqttv3.1`, which older clients offer.
    MqttV31,
}

impl Subprotocol {
    /// As it is written in a header.
    pub fn name(self) -> &'static str {
        match self {
            Subprotocol::Mqtt => "mqtt",
            Subprotocol::MqttV31 => "mqttv3.1",
        }
    }

    /// The first one in a client's list that means MQTT; the list may be spread over several headers (RFC 6455, section
    /// 11.3.4).
    fn first_of<'a>(lists: impl Iterator<Item = &'a [u8]>) -> Option<Subprotocol> {
        lists.flat_map(elements).find_map(|name| match name {
            b"mqtt" => Some(Subprotocol::Mqtt),
            b"mqttv3.1" => Some(Subprotocol::MqttV31),
            _ => None,
        })
    }
}

/// A request that is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// Bytes of the request; frames follow.
    pub len: usize,
    /// The subprotocol that was chosen, the first in the client's list.
    pub subprotocol: Subprotocol,
    /// The hash of the client's key, in base64.
    accept: [u8; 28],
}

impl Upgrade {
    /// Appends the answer.
    pub fn respond(&self, out: &mut Vec<u8>) {
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {}\r\n\r\n",
            core::str::from_utf8(&self.accept).expect("base64 is ASCII"),
            self.subprotocol.name()
        );
        out.extend_from_slice(answer.as_bytes());
    }
}

/// Why a request is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not HTTP.
    NotHttp,
    /// It is longer than the listener takes, or has too many headers.
    TooLong,
    /// The method is not GET.
    Method,
    /// The version of HTTP is below 1.1.
    HttpVersion,
    /// Nothing is at its path.
    Path,
    /// It does not ask for WebSocket.
    NotUpgrade,
    /// It has no Host, or more than one (RFC 6455, section 4.2.1).
    Host,
    /// It has no Sec-WebSocket-Key of sixteen bytes in base64, or more than one (section 4.2.1).
    Key,
    /// The version of WebSocket is not 13.
    Version,
    /// Its page comes from an origin that may not.
    Origin,
    /// It offers no subprotocol that means MQTT.
    Subprotocol,
}

impl Refusal {
    /// Appends the answer. The connection ends with it.
    pub fn respond(self, out: &mut Vec<u8>) {
        let more = match self {
            Refusal::Method => "Allow: GET\r\n",
            Refusal::NotUpgrade => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            Refusal::Version => "Sec-WebSocket-Version: 13\r\n",
            _ => "",
        };
        let (status, what) = (self.status(), self.description());
        let len = what.len() + 1;
        let answer = format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\n{more}Content-Type: text/plain\r\nContent-Length: {len}\r\n\r\n\
             {what}\n"
        );
        out.extend_from_slice(answer.as_bytes());
    }

    /// Status code and phrase.
    fn status(self) -> &'static str {
        match self {
            Refusal::NotHttp | Refusal::Host | Refusal::Key | Refusal::Subprotocol => "400 Bad Request",
            Refusal::Origin => "403 Forbidden",
            Refusal::Path => "404 Not Found",
            Refusal::Method => "405 Method Not Allowed",
            Refusal::NotUpgrade | Refusal::Version => "426 Upgrade Required",
            Refusal::TooLong => "431 Request Header Fields Too Large",
            Refusal::HttpVersion => "505 HTTP Version Not Supported",
        }
    }

    /// What is wrong, for the log and for who reads the answer.
    pub fn description(self) -> &'static str {
        match self {
            Refusal::NotHttp => "not a WebSocket handshake: this port takes MQTT over WebSocket",
            Refusal::TooLong => "the request is too long",
            Refusal::Method => "a WebSocket handshake is a GET",
            Refusal::HttpVersion => "a WebSocket handshake is of HTTP/1.1",
            Refusal::Path => "no MQTT at this path",
            Refusal::NotUpgrade => "MQTT over WebSocket is spoken here: the request asks for no upgrade to it",
            Refusal::Host => "the WebSocket handshake has no Host, or several",
            Refusal::Key => "the WebSocket handshake has no good Sec-WebSocket-Key, or several",
            Refusal::Version => "only version 13 of WebSocket is spoken here",
            Refusal::Origin => "this origin is not allowed",
            Refusal::Subprotocol => {
                "the client offers no subprotocol of MQTT: `mqtt` is wanted in Sec-WebSocket-Protocol"
            }
        }
    }
}

/// Looks at the front of `bytes` for a request. `seen` bytes of it had been looked at before. `None`: its end has not come.
///
/// Only a whole request is parsed, and only new bytes are searched for its end, so that one that comes a byte at a time
/// costs no more than one that comes at once. What cannot be one is refused at its first bytes.
pub fn read_request(bytes: &[u8], seen: usize, rules: &Rules<'_>) -> Result<Option<Upgrade>, Refusal> {
    let begin = bytes.len().min(METHOD.len());
    if bytes[..begin] != METHOD[..begin] {
        let letters = bytes.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
        return match bytes.get(letters) {
            // It may become a method.
            None if letters <= METHOD_BYTES_MAX => Ok(None),
            Some(b' ') if (1..=METHOD_BYTES_MAX).contains(&letters) => Err(Refusal::Method),
            _ => Err(Refusal::NotHttp),
        };
    }
    let from = seen.min(bytes.len()).saturating_sub(END.len() - 1);
    let end = bytes[from..].windows(END.len()).position(|window| window == END).map(|at| from + at + END.len());
    match end {
        Some(len) if len <= rules.request_bytes_max => judge(&bytes[..len], rules).map(Some),
        None if bytes.len() < rules.request_bytes_max => Ok(None),
        _ => Err(Refusal::TooLong),
    }
}

/// The one method of a handshake (RFC 6455, section 4.1).
const METHOD: &[u8] = b"GET ";
/// Bytes of a method that is told from bytes that are no HTTP.
const METHOD_BYTES_MAX: usize = 16;
/// What ends a request.
const END: &[u8] = b"\r\n\r\n";
/// Headers of a request at most.
const HEADERS_MAX: usize = 64;
/// What is appended to the key (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

fn judge(bytes: &[u8], rules: &Rules<'_>) -> Result<Upgrade, Refusal> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) => return Err(Refusal::NotHttp),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooLong),
        Err(_) => return Err(Refusal::NotHttp),
    }
    if request.version != Some(1) {
        return Err(Refusal::HttpVersion);
    }
    let path = request.path.unwrap_or_default();
    if path.split('?').next() != Some(rules.path) {
        return Err(Refusal::Path);
    }
    let headers = &*request.headers;
    if !has_token(headers, "Upgrade", b"websocket") || !has_token(headers, "Connection", b"upgrade") {
        return Err(Refusal::NotUpgrade);
    }
    if only(headers, "Host").is_none() {
        return Err(Refusal::Host);
    }
    if only(headers, "Sec-WebSocket-Version") != Some(b"13") {
        return Err(Refusal::Version);
    }
    let key = only(headers, "Sec-WebSocket-Key").filter(|key| is_key(key));
    let key = key.ok_or(Refusal::Key)?;
    let allowed = |origin: &[u8]| rules.origins.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin));
    if !rules.origins.is_empty() && !all(headers, "Origin").all(allowed) {
        return Err(Refusal::Origin);
    }
    let subprotocol = Subprotocol::first_of(all(headers, "Sec-WebSocket-Protocol")).ok_or(Refusal::Subprotocol)?;
    let mut accept = [0; 28];
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let written = STANDARD.encode_slice(hash, &mut accept);
    assert_eq!(written, Ok(accept.len()), "twenty bytes are 28 in base64");
    Ok(Upgrade { len: bytes.len(), subprotocol, accept })
}

/// The values of all headers of this name.
fn all<'a>(headers: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| header.value.trim_ascii())
}

/// The value of the header of this name, if there is exactly one.
fn only<'a>(headers: &'a [Header<'a>], name: &'a str) -> Option<&'a [u8]> {
    let mut values = all(headers, name);
    values.next().filter(|_| values.next().is_none())
}

/// Whether a list, in any case, names this.
fn has_token(headers: &[Header<'_>], name: &str, token: &[u8]) -> bool {
    all(headers, name).flat_map(elements).any(|element| element.eq_ignore_ascii_case(token))
}

/// The elements of a list that are not empty.
fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Whether a key is sixteen bytes in base64 (RFC 6455, section 4.1).
fn is_key(key: &[u8]) -> bool {
    let mut bytes = [0; 18];
    key.len() == 24 && STANDARD.decode_slice(key, &mut bytes) == Ok(16)
}

#[cfg(test)]
mod tests;
