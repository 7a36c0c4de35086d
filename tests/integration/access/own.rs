//! Back ends and services of one listener alone: whose users are whose, and who is asked.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use ringmain_tests::{Broker, Client, DEADLINE, Options, Setup, Transport, Version};
use serde_json::{Value, json};

use super::backends::{now, reply, service};
use super::{VERSIONS, code, file, ours, passwords, path, with};

const OUTER: &str = "a secret of the outer listener, of 32 bytes or more";
const INNER: &str = "a secret of the inner listener, of 32 bytes or more";

/// A listener of this name with these keys besides.
fn listener(name: &str, keys: &str) -> String {
    format!("bind = \"127.0.0.1:0\"\nname = {name:?}\n{keys}\n")
}

/// Where the listener of this name is.
fn place(broker: &Broker, name: &str) -> SocketAddr {
    broker.listening(&format!("tcp, {name}"))
}

fn at(address: SocketAddr, options: &Options) -> Client {
    let mut client = Client::over(Transport::Tcp.open(address), options.packet.version);
    client.send(&options.packet.bytes());
    client.connack();
    client
}

fn signed(secret: &str, issuer: &str) -> String {
    let claims = json!({ "sub": "alice", "iss": issuer, "exp": now() + 1000 });
    let key = EncodingKey::from_secret(secret.as_bytes()).expect("a secret");
    encode(&Header::new(Algorithm::HS256), &claims, &key).expect("a token")
}

fn bearing(broker: &Broker, version: Version, id: &str, token: &str) -> Options {
    with(broker.client(version, id), Some("whoever"), Some(token))
}

/// Goal: a token that is good at one listener is none at another with other keys, and who is called the same there is
/// somebody else: neither the session nor the rank is theirs. A listener that has another's users knows them. A reload
/// reads keys.
#[test]
fn tokens_of_listeners() {
    if !ours() {
        return;
    }
    let secret = file(INNER);
    let all = path("secret_file", &file(OUTER));
    let inner = listener("inner", &path("jwt_secret_file", &secret));
    let (other, issued) = (listener("other", "users_of = \"inner\""), listener("issued", "jwt_issuers = [\"b\"]"));
    let access =
        format!("[access]\noperators = [\"alice\"]\nno_match = \"allow\"\nmax_failures = 0\n[access_jwt]\n{all}\n");
    let setup = Setup::shards(2).listener(&inner).listener(&other).listener(&issued).toml(&access);
    let mut broker = setup.start();
    let [inner, other, issued] = ["inner", "other", "issued"].map(|name| place(&broker, name));
    for version in VERSIONS {
        let bearing = |id: &str, secret| bearing(&broker, version, id, &signed(secret, "a"));
        let refused = code(version, 0x87, 5);
        assert_eq!(bearing("c", INNER).refused(), refused);
        assert_eq!(at(inner, &bearing("c", OUTER)).code, refused);
        let mut mine = bearing("mine", OUTER).connect();
        assert_eq!(mine.subscribe("$SYS/#", 0), 0);
        assert_eq!(at(inner, &bearing("mine", INNER)).code, refused, "it is another alice's");
        let mut theirs = at(inner, &bearing("theirs", INNER));
        assert_eq!((theirs.code, theirs.subscribe("$SYS/#", 0)), (0, code(version, 0x87, 0x80)));
        assert_eq!(bearing("theirs", OUTER).refused(), refused);
        // The same alice comes by another way.
        assert_eq!(at(other, &bearing("theirs", INNER)).code, 0);
        theirs.dropped(&[0x8e]);
        assert_eq!(at(other, &bearing("c", OUTER)).code, refused);
        // The keys are those of all, and the alice of another issuer is not that of all.
        assert_eq!(at(issued, &bearing("c", OUTER)).code, refused);
        let of_b = super::own::bearing(&broker, version, "mine", &signed(OUTER, "b"));
        assert_eq!(at(issued, &of_b).code, refused);
        let of_b = super::own::bearing(&broker, version, "b's", &signed(OUTER, "b"));
        assert_eq!(at(issued, &of_b).code, 0);
    }
    std::fs::write(&secret, OUTER).expect("it can be written");
    broker.process().signal("HUP");
    broker.process_log("SIGHUP: read again");
    assert_eq!(at(inner, &bearing(&broker, Version::V5, "c", &signed(INNER, "a"))).code, 0x87);
    for address in [inner, other] {
        assert_eq!(at(address, &bearing(&broker, Version::V5, "c", &signed(OUTER, "a"))).code, 0);
    }
}

/// Goal: keys that are published for one listener are not another's, even under one name, and a source that is down is
/// its own listener's matter.
#[test]
fn published_keys_of_listeners() {
    if !ours() {
        return;
    }
    let pem = include_bytes!("../../../switch/src/access/jwt/keys/rsa.pem");
    let rsa = EncodingKey::from_rsa_pem(pem).expect("a key");
    let ec = EncodingKey::from_ec_pem(include_bytes!("../../../switch/src/access/jwt/keys/ec.pem")).expect("a key");
    let publish = |key: &EncodingKey, algorithm| {
        let mut jwk = Jwk::from_encoding_key(key, algorithm).expect("a key");
        jwk.common.key_id = Some("one".into());
        let set = serde_json::to_string(&JwkSet { keys: vec![jwk] }).expect("JSON");
        let (address, asked) = service(move |_| reply(200, &set));
        (format!("http://{address}/keys"), asked)
    };
    let ((outer, outer_asked), (inner, inner_asked)) =
        (publish(&rsa, Algorithm::RS256), publish(&ec, Algorithm::ES256));
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
    let setup = Setup::shards(1)
        .listener(&listener("inner", &format!("jwt_jwks_url = {inner:?}")))
        .listener(&listener("down", &format!("jwt_jwks_url = \"http://{closed}/keys\"")))
        .toml(&format!("[access]\nmax_failures = 0\n[access_jwt]\njwks_url = {outer:?}\n"));
    let broker = setup.start();
    for asked in [outer_asked, inner_asked] {
        asked.recv_timeout(DEADLINE).expect("keys are fetched at the start");
    }
    // Over other transports there is one listener more before it.
    broker.process_log("].jwt_jwks_url: ");
    let [inner, down] = ["inner", "down"].map(|name| place(&broker, name));
    let bearing = |key: &EncodingKey, algorithm| {
        let header = Header { kid: Some("one".to_owned()), ..Header::new(algorithm) };
        let token = encode(&header, &json!({ "sub": "alice", "exp": now() + 1000 }), key).expect("a token");
        super::own::bearing(&broker, Version::V5, "c", &token)
    };
    let (rsa, ec) = (bearing(&rsa, Algorithm::RS256), bearing(&ec, Algorithm::ES256));
    // They may be on their way from the request to where they are used.
    let end = std::time::Instant::now() + DEADLINE;
    while rsa.answer().code != 0 || at(inner, &ec).code != 0 {
        assert!(std::time::Instant::now() < end, "{}", broker.log());
    }
    assert_eq!((ec.refused(), at(inner, &rsa).code, at(down, &rsa).code), (0x87, 0x87, 0x87));
}

/// A service that lets in whose password is `word`, and denies everybody else.
fn knowing(word: &'static str) -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
    service(move |body| {
        let asked: Value = serde_json::from_str(body).expect("JSON");
        if asked["password"] == word { reply(204, "") } else { reply(403, "") }
    })
}

/// Goal: each listener asks its own service, and nobody else's is told a password; one that does not answer holds up no
/// other; sessions go by the service that knows the user.
#[test]
fn services_of_listeners() {
    if !ours() {
        return;
    }
    let ((outer, outer_asked), (inner, inner_asked)) = (knowing("outer-pw"), knowing("inner-pw"));
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = |address: SocketAddr| format!("http_url = \"http://{address}/auth\"");
    let broker = Setup::shards(2)
        .listener(&listener("inner", &url(inner)))
        .listener(&listener("silent", &url(silent.local_addr().expect("it is bound"))))
        .toml(&format!(
            "[access]\nmax_failures = 0\nno_match = \"allow\"\n[access_http]\nurl = \"http://{outer}/auth\"\n\
             threads = 1\ntimeout = \"60s\"\n"
        ))
        .start();
    let [inner, silent] = ["inner", "silent"].map(|name| place(&broker, name));
    // Its one thread waits; the other services have theirs.
    let mut held = Client::over(Transport::Tcp.open(silent), Version::V5);
    held.send(&with(broker.client(Version::V5, "held"), Some("alice"), Some("pw")).packet.bytes());
    for version in VERSIONS {
        let of = |id: &str, password| with(broker.client(version, id), Some("alice"), Some(password));
        let refused = code(version, 0x86, 4);
        assert_eq!((of("c", "inner-pw").refused(), at(inner, &of("c", "outer-pw")).code), (refused, refused));
        let mut mine = of("mine", "outer-pw").connect();
        let mut theirs = at(inner, &of("theirs", "inner-pw"));
        assert_eq!(at(inner, &of("mine", "inner-pw")).code, code(version, 0x87, 5), "it is another alice's");
        assert_eq!(of("theirs", "outer-pw").refused(), code(version, 0x87, 5));
        [&mut mine, &mut theirs].into_iter().for_each(Client::ping);
    }
    let told = |asked: &std::sync::mpsc::Receiver<String>| asked.try_iter().collect::<Vec<String>>();
    for (asked, ids) in [(outer_asked, ["c", "mine", "theirs"]), (inner_asked, ["c", "theirs", "mine"])] {
        let bodies = told(&asked);
        assert!(ids.iter().all(|id| bodies.iter().any(|body| body.contains(&format!("\"{id}\"")))), "{bodies:?}");
        assert!(bodies.iter().all(|body| !body.contains("held")), "{bodies:?}");
    }
    drop(held);
}

/// Goal: a service for topics of a listener's own decides about who came in there and about nobody else, and what it leaves
/// to rules that there are not is denied; a listener without one asks nobody.
#[test]
fn services_for_topics_of_listeners() {
    if !ours() {
        return;
    }
    let only = |topic: &'static str| {
        service(move |body| {
            let asked: Value = serde_json::from_str(body).expect("JSON");
            match asked["topic"].as_str() {
                Some("left") => reply(404, ""),
                Some(asked) if asked == topic => reply(200, r#"{"result":"allow"}"#),
                _ => reply(403, ""),
            }
        })
    };
    let ((first, first_asked), (second, second_asked)) = (only("one"), only("two"));
    let url = |address: SocketAddr| format!("acl_http_url = \"http://{address}/acl\"");
    let broker = Setup::shards(2)
        .listener(&listener("first", &url(first)))
        .listener(&listener("second", &url(second)))
        .toml(&format!("[access]\n{}\n", path("password_file", &passwords(&["alice"]))))
        .start();
    let [first, second] = ["first", "second"].map(|name| place(&broker, name));
    for version in VERSIONS {
        let of = |id: &str| with(broker.client(version, id), Some("alice"), Some("alice-pw"));
        let denied = code(version, 0x87, 0x80);
        let mut nobodys = of("nobodys").connect();
        assert_eq!((nobodys.subscribe("one", 0), nobodys.subscribe("left", 0)), (0, 0));
        for (address, [mine, other]) in [(first, ["one", "two"]), (second, ["two", "one"])] {
            // One session, which is asked about where its client comes in.
            let mut alice = at(address, &of("alice"));
            assert_eq!([mine, other, "left"].map(|topic| alice.subscribe(topic, 0)), [0, denied, denied]);
            assert_eq!(alice.publish(other, 1, "x"), code(version, 0x87, 0));
            alice.publish(mine, 0, "mine");
            assert_eq!(alice.texts(1), ["mine"]);
            alice.disconnect();
        }
    }
    assert!(first_asked.try_iter().count() > 0 && second_asked.try_iter().count() > 0);
}

/// Goal: what leads nowhere is refused with the key, its value and what helps.
#[test]
fn what_cannot_be_is_refused() {
    if !ours() {
        return;
    }
    let users = path("password_file", &passwords(&["alice"]));
    for (keys, told) in [
        ("jwt_issuers = [\"a\"]", "listener[1].jwt_issuers = [\"a\"]: no tokens are looked at here"),
        ("jwt_secret_file = \"/nowhere/secret\"", "/nowhere/secret"),
        ("jwt_jwks_url = \"keys\"", "listener[1].jwt_jwks_url = \"keys\": names no host"),
        ("http_url = \"auth.example\"", "listener[1].http_url = \"auth.example\": names no host"),
        ("http_headers = [\"A: secret\"]", "listener[1].http_headers: http_url is not written"),
        ("acl_http_headers = [\"A: secret\"]", "listener[1].acl_http_headers: acl_http_url is not written"),
        ("acl_http_url = \"http://${username}/\"", "names no host"),
        ("acl_http_url = \"http://h/\"\nacl_http = false", "acl_http = false says that nobody is asked here"),
        ("acl_http = true", "neither acl_http_url nor access_acl_http.url is written"),
        ("users_of = \"nobody\"", "listener[1].users_of = \"nobody\": no other listener has this name"),
        ("users_of = \"inner\"", "listener[1].users_of = \"inner\": no other listener has this name"),
        ("users_of = \"bare\"", "that listener has no back end of its own"),
        ("users_of = \"own\"\nhttp_url = \"http://h/\"", "back ends are written here, too"),
    ] {
        let text = format!(
            "[[listener]]\n{}[[listener]]\n{}[[listener]]\n{}",
            listener("bare", ""),
            listener("inner", keys),
            listener("own", &users)
        );
        let (status, printed) = checked(&file(&text));
        assert!(status == Some(2) || told.starts_with('/'), "{keys}: {printed}");
        assert!(printed.contains(told) && !printed.contains("secret\"]"), "{keys}: {printed}");
    }
}

fn checked(config: &Path) -> (Option<i32>, String) {
    let place = config.display().to_string();
    ringmain_tests::program::run(&[], &["-t", "--no-persistence", "-c", &place])
}
