//! Back ends: files as mosquitto writes them, tokens, and a service over HTTP that is there, down, slow, or wrong.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use ringmain_tests::process::Process;
use ringmain_tests::{Broker, Client, DEADLINE, DataDirectory, Options, Packet, Setup, Version};
use serde_json::{Value, json};

use super::{VERSIONS, code, file, ours, passwords, path, table, with};

pub(super) const SECRET: &str = "a secret that these tests alone share with the broker";

/// Goal: a password file that mosquitto_passwd has written, with both of its hashes, and mosquitto_pub as a client.
#[test]
fn mosquittos_passwords() {
    if !ours() {
        return;
    }
    let place = DataDirectory::place();
    let text = place.display().to_string();
    for args in [&["-H", "sha512", "-c"][..], &["-H", "sha512-pbkdf2"]] {
        let user = args[1];
        let (status, printed) =
            Process::run("mosquitto_passwd", &[args, &["-b", &text, user, "pw"]].concat(), DEADLINE);
        assert!(status.success(), "{printed}");
    }
    let (status, printed) = ringmain_tests::program::run(&[], &["passwd", "-b", &text, "argon2id", "pw"]);
    assert_eq!(status, Some(0), "{printed}");
    let broker = Setup::shards(2).toml(&table(&[path("password_file", &place)])).start();
    // mosquitto_pub speaks TCP, whatever these tests do.
    let port = broker.tcp().port().to_string();
    for user in ["sha512", "sha512-pbkdf2", "argon2id"] {
        for version in VERSIONS {
            with(broker.client(version, user), Some(user), Some("pw")).connect().disconnect();
            assert_eq!(with(broker.client(version, user), Some(user), Some("wp")).refused(), code(version, 0x86, 4));
        }
        let publish = |password| {
            let args = ["-h", "127.0.0.1", "-p", &port, "-u", user, "-P", password, "-t", "t", "-m", "m", "-q", "1"];
            Process::run("mosquitto_pub", &args, DEADLINE).0.success()
        };
        assert!(publish("pw") && !publish("wp"), "{user}");
    }
}

/// Goal: where there are back ends nobody is anonymous unless the listener says so; an address that others reach needs
/// authentication or a written word, and rules or a written word.
#[test]
fn anonymous_where_it_is_written() {
    if !ours() {
        return;
    }
    let users = path("password_file", &passwords(&["alice"]));
    for version in VERSIONS {
        let broker = Setup::shards(1).toml(&table(std::slice::from_ref(&users))).start();
        assert_eq!(broker.client(version, "c").refused(), code(version, 0x87, 5));
    }
    let check = |text: &str| {
        let place = file(text).display().to_string();
        ringmain_tests::program::run(&[], &["-t", "--no-persistence", "-c", &place])
    };
    let public = "[[listener]]\nbind = \"0.0.0.0:0\"\n";
    let (status, printed) = check(public);
    assert!(status == Some(2) && printed.contains("without authentication"), "{printed}");
    let (status, printed) = check(&format!("{public}[access]\n{users}\n"));
    assert!(status == Some(2) && printed.contains("there are users and no rules"), "{printed}");
    let (status, printed) = check(&format!("{public}[access]\n{users}\nno_match = \"allow\"\n"));
    assert_eq!(status, Some(0), "{printed}");
    let (status, printed) = check(&format!("{public}[access]\n{users}\n{}\n", path("acl_file", &file(""))));
    assert_eq!(status, Some(0), "{printed}");
}

/// Goal: an address that fails too often waits, also with the right password, and is told so.
#[test]
fn failures_make_an_address_wait() {
    if !ours() {
        return;
    }
    let lines = [path("password_file", &passwords(&["alice"])), "max_failures = 2".to_owned()];
    for version in VERSIONS {
        let broker = Setup::shards(2).toml(&table(&lines)).start();
        let of = |password| with(broker.client(version, "c"), Some("alice"), Some(password));
        for _ in 0..2 {
            assert_eq!(of("wrong").refused(), code(version, 0x86, 4));
        }
        of("alice-pw").connect().disconnect();
        // Each round costs it one failure more, so that it waits longer than a round takes, however slow that is.
        let (waits, end) = (code(version, 0x9f, 3), Instant::now() + DEADLINE);
        let refused = || of("wrong").refused();
        while refused() == waits || refused() == waits || of("alice-pw").answer().code != waits {
            assert!(Instant::now() < end, "{}", broker.log());
        }
    }
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

pub(super) fn token(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes()).expect("a secret");
    encode(&Header::new(Algorithm::HS256), claims, &key).expect("a token")
}

fn bearer(broker: &Broker, version: Version, id: &str, token: &str) -> Options {
    with(broker.client(version, id), Some("whoever"), Some(token))
}

/// Goal: a token says who its client is and what it may do; the connection ends when the token does.
#[test]
fn tokens() {
    if !ours() {
        return;
    }
    let secret = path("secret_file", &file(SECRET));
    let broker = Setup::shards(2).toml(&format!("[access_jwt]\n{secret}\nleeway = \"0s\"\n")).start();
    for version in VERSIONS {
        let claims = json!({
            "sub": "alice", "exp": now() + 1000, "room": "7",
            "acl": [
                { "permission": "allow", "action": "all", "topic": "room/${claim.room}/#" },
                { "permission": "allow", "action": "publish", "topic": "user/${username}" },
            ],
        });
        let mut alice = bearer(&broker, version, "alice", &token(&claims)).connect();
        assert_eq!(alice.subscribe("room/7/#", 1), 1);
        assert_eq!(alice.subscribe("room/8/#", 1), code(version, 0x87, 0x80));
        assert_eq!(alice.publish("room/7/x", 1, "mine"), 0);
        assert_eq!(alice.publish("user/whoever", 1, "x"), code(version, 0x87, 0));
        assert_eq!(alice.publish("user/alice", 1, "x"), code(version, 0x10, 0));
        assert_eq!(alice.texts(1), ["mine"]);
        for wrong in [json!({ "sub": "alice", "exp": now() - 1 }), json!({ "exp": now() + 1000 })] {
            assert_eq!(bearer(&broker, version, "w", &token(&wrong)).refused(), code(version, 0x87, 5));
        }
        assert_eq!(bearer(&broker, version, "w", "no token").refused(), code(version, 0x86, 4));
        // Long enough to connect, however slow that is.
        let mut seconds = 2;
        let mut short = loop {
            let claims = json!({ "sub": "bob", "exp": now() + seconds });
            let client = bearer(&broker, version, "short", &token(&claims)).answer();
            if client.code == 0 {
                break client;
            }
            seconds *= 2;
        };
        short.dropped(&[0x87]);
    }
}

/// A service of a test: it answers each request by `answer`, which sees its body, or its first line where it has none, and
/// tells these.
pub(super) fn service(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (tell, bodies) = channel();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, tell) = (Arc::clone(&answer), tell.clone());
            let stream = BufReader::new(stream.expect("a connection"));
            std::thread::spawn(move || serve(stream, &*answer, &tell));
        }
    });
    (address, bodies)
}

/// Answers the requests of one connection.
fn serve(mut stream: BufReader<TcpStream>, answer: &impl Fn(&str) -> String, tell: &Sender<String>) {
    loop {
        let (mut length, mut line, mut request) = (0, String::new(), String::new());
        while stream.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
            if request.is_empty() {
                line.trim_end().clone_into(&mut request);
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().expect("a length");
            }
            line.clear();
        }
        let mut body = vec![0; length];
        if line.is_empty() || stream.read_exact(&mut body).is_err() {
            return;
        }
        let body = if length == 0 { request } else { String::from_utf8(body).expect("text") };
        let answer = answer(&body);
        // Who does not want to know has ended.
        let _ = tell.send(body);
        if stream.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

pub(super) fn reply(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn asking(address: SocketAddr, more: &str) -> Broker {
    let url = format!("http://{address}/auth");
    Setup::shards(2).toml(&format!("[access]\nmax_failures = 0\n[access_http]\nurl = {url:?}\n{more}\n")).start()
}

/// Goal: a service is asked with what the client says, and its answer is obeyed and remembered.
#[test]
fn a_service_decides() {
    if !ours() {
        return;
    }
    let (address, bodies) = service(|body| {
        let asked: Value = serde_json::from_str(body).expect("JSON");
        match (asked["username"].as_str(), asked["password"].as_str()) {
            (Some("alice"), Some("pw")) => {
                let rules = json!([{ "permission": "allow", "action": "all", "topic": "a/${claim.room}" }]);
                reply(200, &json!({ "result": "allow", "claims": { "room": 7 }, "acl": rules }).to_string())
            }
            (Some("root"), _) => reply(200, r#"{"result":"allow","is_superuser":true}"#),
            (Some("guest"), None) => "HTTP/1.1 204 X\r\n\r\n".to_owned(),
            _ => reply(403, ""),
        }
    });
    for version in VERSIONS {
        let broker = asking(address, "");
        let of = |user, password| with(broker.client(version, user), Some(user), password);
        let mut alice = of("alice", Some("pw")).connect();
        assert_eq!(alice.publish("a/7", 1, "x"), code(version, 0x10, 0));
        assert_eq!(alice.publish("a/8", 1, "x"), code(version, 0x87, 0));
        let body: Value = serde_json::from_str(&bodies.recv_timeout(DEADLINE).expect("it was asked")).expect("JSON");
        assert_eq!((&body["clientid"], &body["peerhost"]), (&json!("alice"), &json!("127.0.0.1")));
        of("alice", Some("pw")).connect().disconnect();
        assert!(bodies.try_recv().is_err(), "the same credentials are not asked about again");
        assert_eq!(of("root", Some("x")).connect().publish("$SYS", 1, "x"), code(version, 0x87, 0));
        assert_eq!(of("root", Some("x")).connect().subscribe("$SYS/#", 0), 0);
        of("guest", None).connect().disconnect();
        assert_eq!(of("guest", Some("")).refused(), code(version, 0x86, 4), "null is not an empty text");
        assert_eq!(of("eve", Some("pw")).refused(), code(version, 0x86, 4));
        while bodies.try_recv().is_ok() {}
    }
}

/// Goal: a form is a form: what a client says can neither end its field nor add another.
#[test]
fn forms_are_escaped() {
    if !ours() {
        return;
    }
    let (address, bodies) = service(|_| "HTTP/1.1 204 X\r\n\r\n".to_owned());
    let broker =
        asking(address, "body = \"form\"\nfields = [\"u=${username}\", \"p=${password}\", \"k=v ${clientid}\"]");
    with(broker.client(Version::V5, "c&d"), Some("a&p=x"), None).connect().disconnect();
    let body = bodies.recv_timeout(DEADLINE).expect("it was asked");
    assert_eq!(body.replace("%20", "+"), "u=a%26p%3Dx&k=v+c%26d");
}

/// Goal: a service that is down, answers with an error or with nonsense, or does not answer in time: the operator says what
/// becomes of the client, and clients that are connected go on meanwhile.
#[test]
fn a_service_that_is_down() {
    if !ours() {
        return;
    }
    let (refusing, _bodies) = service(|_| reply(500, "{}"));
    let (nonsense, _more) = service(|_| reply(200, "yes"));
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let never = silent.local_addr().expect("it is bound");
    for address in [refusing, nonsense, never] {
        for (word, expected) in [("deny", 0x88), ("allow", 0), ("next", 0x86)] {
            let lines = format!("timeout = \"200ms\"\nwhen_down = {word:?}\n");
            let broker = asking(address, &lines);
            let answer = with(broker.client(Version::V5, "c"), Some("alice"), Some("pw")).answer();
            assert_eq!(answer.code, expected, "{address} {word}");
        }
    }
    let users = path("password_file", &passwords(&["alice"]));
    let url = format!("http://{never}/");
    let both =
        format!("[access]\n{users}\nmax_waiting = 1\n[access_http]\nurl = {url:?}\nthreads = 1\ntimeout = \"60s\"\n");
    let broker = Setup::shards(1).toml(&both).start();
    let mut alice = super::of(&broker, Version::V5, "alice", "alice").connect();
    // One is asked about, one waits, and there is no place for the third; 3.1.1 has no other word for it.
    let stranger = |version, id: &str| with(broker.client(version, id), Some("stranger"), Some("pw"));
    for (version, expected) in [(Version::V5, 0x89), (Version::V311, 3)] {
        let mut waiting: Vec<Client> = (0..3).map(|number| stranger(version, &format!("s{number}")).send()).collect();
        assert_eq!(first_told(&mut waiting), expected);
    }
    assert_eq!(alice.subscribe("t", 0), 0);
    alice.publish("t", 0, "goes on");
    assert_eq!(alice.texts(1), ["goes on"]);
    // Strangers may still be on their way past the password file, which has one place, too.
    let (another, end) = (super::of(&broker, Version::V5, "alice", "another"), Instant::now() + DEADLINE);
    loop {
        match another.answer().code {
            0 => break,
            code => assert!(code == 0x89 && Instant::now() < end, "{code:#x}: {}", broker.log()),
        }
    }
}

/// The code of the first of these clients that is told one.
fn first_told(clients: &mut [Client]) -> u8 {
    let end = Instant::now() + DEADLINE;
    while Instant::now() < end {
        for client in &mut *clients {
            if let Ok(Some(Packet::Connack(_, code, _))) = client.next_within(Duration::from_millis(1)) {
                return code;
            }
        }
    }
    panic!("none of {} clients was told anything", clients.len())
}

/// Goal: keys that are published are fetched, kept while their source is down, and fetched again for a token that names one
/// that is not there.
#[test]
fn published_keys() {
    if !ours() {
        return;
    }
    let pem = include_bytes!("../../../switch/src/access/jwt/keys/rsa.pem");
    let key = EncodingKey::from_rsa_pem(pem).expect("a key");
    let mut jwk = Jwk::from_encoding_key(&key, Algorithm::RS256).expect("a key");
    jwk.common.key_id = Some("one".into());
    let set = serde_json::to_string(&JwkSet { keys: vec![jwk] }).expect("JSON");
    let (address, asked) = service(move |_| reply(200, &set));
    let url = format!("http://{address}/keys");
    let broker =
        Setup::shards(1).toml(&format!("[access]\nmax_failures = 0\n[access_jwt]\njwks_url = {url:?}\n")).start();
    asked.recv_timeout(DEADLINE).expect("keys are fetched at the start");
    let signed = |kid: &str| {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::RS256) };
        encode(&header, &json!({ "sub": "alice", "exp": now() + 1000 }), &key).expect("a token")
    };
    // They may be on their way from the request to where they are used.
    let end = Instant::now() + DEADLINE;
    while bearer(&broker, Version::V5, "c", &signed("one")).answer().code != 0 {
        assert!(Instant::now() < end, "{}", broker.log());
    }
    assert_eq!(bearer(&broker, Version::V5, "c", &signed("two")).refused(), 0x87);
}
