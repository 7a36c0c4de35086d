//! The keys of `[access]`, `[access_jwt]`, `[access_http]` and `[access_acl_http]`.

use super::{DAY, Key, SettingsKey};
use crate::config::access::{BodyForm, DenyAction, Method, NoMatch, Takeover, TokenFrom, WhenDown};
use crate::config::field::{Field, Kind};
use crate::config::settings::Settings;

/// What the section is about.
pub const DOC: &str = "Who may connect, and who may publish and subscribe; [access](access.md) tells how. Without \
                       any back end and rules there is no access control.";
/// What the section of tokens is about.
pub const JWT_DOC: &str =
    "JSON Web Tokens as a proof of who a client is: on with `key_file`, `secret_file` or `jwks_url`.";
/// What the section of the service is about.
pub const HTTP_DOC: &str = "A service that knows who a client is, asked over HTTP: on with `url`.";

/// What the section of the service that decides about topics is about.
pub const ACL_HTTP_DOC: &str = "A service that decides what each client may publish and subscribe to, asked over HTTP: on \
                                with `url`. [Access](access.md#a-service-for-topics) tells when it is asked.";

/// The keys of `[access]`, in the order of the reference.
pub const KEYS: &[Key<Settings>] = &[
    SettingsKey::new(
        "backends",
        Kind::Words(3),
        |s| Field::Words(&mut s.access.backends),
        "The order in which back ends are asked: `\"password_file\"`, `\"jwt\"`, `\"http\"`. The first one that knows the \
         client decides. Empty: those that are configured, in this order.",
    ),
    SettingsKey::new(
        "password_file",
        Kind::File,
        |s| Field::MaybePath(&mut s.access.password_file),
        "Users and hashes of their passwords, as mosquitto has them; `ringmain passwd` writes it. Read again at SIGHUP.",
    )
    .absent("no such back end"),
    SettingsKey::new(
        "acl_file",
        Kind::File,
        |s| Field::MaybePath(&mut s.access.acl_file),
        "Rules in mosquitto's form. Read again at SIGHUP. An empty file denies everything.",
    )
    .absent("no such rules"),
    SettingsKey::new(
        "rules_file",
        Kind::File,
        |s| Field::MaybePath(&mut s.access.rules_file),
        "Rules in our own form, a TOML file, asked after those of `acl_file`. Read again at SIGHUP.",
    )
    .absent("no such rules"),
    SettingsKey::new(
        "ban_file",
        Kind::File,
        |s| Field::MaybePath(&mut s.access.ban_file),
        "Who is not let in (0x8A, 3.1.1: 5), whatever it proves: lines `user NAME`, `client IDENTIFIER`, `address ADDRESS` \
         or `address NETWORK/BITS`. Read again at SIGHUP, which disconnects those who are there.",
    )
    .absent("nobody"),
    SettingsKey::new(
        "no_match",
        Kind::Choice(NoMatch::WORDS, &[]),
        |s| Field::Choice(&mut s.access.no_match),
        "What becomes of a topic that no rule matches. `auto`: denied where there are rules, or where other machines reach \
         a listener; else allowed.",
    ),
    SettingsKey::new(
        "deny_action",
        Kind::Choice(DenyAction::WORDS, &[]),
        |s| Field::Choice(&mut s.access.deny_action),
        "What a denial does beside that nothing is published or subscribed to. `reason`: MQTT 5.0 clients are told (0x87 \
         in PUBACK, PUBREC, SUBACK), 3.1.1 clients in SUBACK (0x80). `ignore`: a publish is acknowledged as if it had been \
         passed on. `disconnect`: the connection ends (5.0: 0x87).",
    ),
    SettingsKey::new(
        "takeover",
        Kind::Choice(Takeover::WORDS, &[]),
        |s| Field::Choice(&mut s.access.takeover),
        "Who may connect with a client identifier that a session of another user has: nobody (`same_user`: refused with \
         0x87, 3.1.1: 5), or `anybody`, who takes that session over.",
    ),
    SettingsKey::new(
        "check_retain_source",
        Kind::Switch,
        |s| Field::Switch(&mut s.access.check_retain_source),
        "Whether a retained message is delivered only as long as its publisher may still publish it: it is not banned, and \
         the rules of the files allow it, where these had allowed it (and not its client's own rules, or a service).",
    ),
    SettingsKey::new(
        "operators",
        Kind::Words(1000),
        |s| Field::Words(&mut s.access.operators),
        "User names that may subscribe below `$SYS`. Others need a rule that names it.",
    ),
    SettingsKey::new(
        "threads",
        Kind::Count(1..=64),
        |s| Field::U16(&mut s.access.threads),
        "Threads that hash passwords and check tokens, on the service cores. One Argon2id hash takes some 20 MiB \
         and 20 ms.",
    ),
    SettingsKey::new(
        "max_waiting",
        Kind::Count(1..=1_000_000),
        |s| Field::U32(&mut s.access.max_waiting),
        "Clients that may wait for their verdict: for these threads, and for each service. Further ones are refused (0x89, \
         3.1.1: 3), counted.",
    ),
    SettingsKey::new(
        "max_failures",
        Kind::Count(0..=1_000_000),
        |s| Field::U32(&mut s.access.max_failures),
        "Failed attempts of one address (IPv6: of one /64) that cost it nothing. With each further one it is refused \
         (0x9F, 3.1.1: 3) for twice as long, from 1 s up to `max_backoff`, whoever it says it is. 0: no such bound.",
    ),
    SettingsKey::new(
        "max_backoff",
        Kind::Duration(1000..=DAY),
        |s| Field::Duration(&mut s.access.max_backoff),
        "How long an address that fails all the time is refused at most. When it has not tried for as long again its \
         failures are forgotten.",
    ),
];

/// The keys of `[access_jwt]`, in the order of the reference.
pub const JWT_KEYS: &[Key<Settings>] = &[
    SettingsKey::new(
        "key_file",
        Kind::File,
        |s| Field::MaybePath(&mut s.access.jwt.key_file),
        "A public key as PEM: RSA, EC (P-256, P-384) or Ed25519. Read again at SIGHUP.",
    )
    .absent("none"),
    SettingsKey::new(
        "secret_file",
        Kind::File,
        |s| Field::MaybePath(&mut s.access.jwt.secret_file),
        "A secret that is shared with who makes the tokens; the bytes of the file as they are, but for a line break at \
         its end. Read again at SIGHUP.",
    )
    .absent("none"),
    SettingsKey::new(
        "jwks_url",
        Kind::Url,
        |s| Field::MaybeText(&mut s.access.jwt.jwks_url),
        "Where public keys are published (RFC 7517). They are fetched in the background and kept: a source that is down \
         changes nothing.",
    )
    .absent("none"),
    SettingsKey::new(
        "jwks_refresh",
        Kind::Duration(1000..=DAY),
        |s| Field::Duration(&mut s.access.jwt.jwks_refresh),
        "How often they are fetched.",
    ),
    SettingsKey::new(
        "algorithms",
        Kind::Words(16),
        |s| Field::Words(&mut s.access.jwt.algorithms),
        "Algorithms that are accepted, of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and \
         EdDSA. Empty: all that the keys are for. A public key never serves as a secret.",
    ),
    SettingsKey::new(
        "issuers",
        Kind::Words(64),
        |s| Field::Words(&mut s.access.jwt.issuers),
        "Accepted values of `iss`. Empty: any, or none.",
    ),
    SettingsKey::new(
        "audiences",
        Kind::Words(64),
        |s| Field::Words(&mut s.access.jwt.audiences),
        "Accepted values of `aud`. Empty: any, or none.",
    ),
    SettingsKey::new(
        "from",
        Kind::Choice(TokenFrom::WORDS, &[]),
        |s| Field::Choice(&mut s.access.jwt.from),
        "Where the token stands in CONNECT.",
    ),
    SettingsKey::new(
        "user_claim",
        Kind::Text,
        |s| Field::Text(&mut s.access.jwt.user_claim),
        "The claim that is the user name. A token without it is refused.",
    ),
    SettingsKey::new(
        "acl_claim",
        Kind::Text,
        |s| Field::Text(&mut s.access.jwt.acl_claim),
        "The claim that has rules of its own; a token need not have it.",
    ),
    SettingsKey::new(
        "leeway",
        Kind::Duration(0..=3_600_000),
        |s| Field::Duration(&mut s.access.jwt.leeway),
        "How far the clock of who makes the tokens may be apart from ours.",
    ),
];

/// The keys of `[access_http]`, in the order of the reference.
pub const HTTP_KEYS: &[Key<Settings>] = &[
    SettingsKey::new("url", Kind::Url, |s| Field::MaybeText(&mut s.access.http.url), "Whom to ask, by POST.")
        .absent("no such back end"),
    SettingsKey::new(
        "body",
        Kind::Choice(BodyForm::WORDS, &[]),
        |s| Field::Choice(&mut s.access.http.body),
        "How the request is written: a JSON object, or a form of HTML.",
    ),
    SettingsKey::new(
        "fields",
        Kind::Words(32),
        |s| Field::Words(&mut s.access.http.fields),
        "`KEY=VALUE` of the request; `${username}`, `${password}`, `${clientid}`, `${peerhost}` and `${subject}` stand for \
         what the client says. A field whose only placeholder has no value is null (JSON) or left out (form). Empty: \
         `username`, `password`, `clientid` and `peerhost`, each with the placeholder of its name.",
    ),
    SettingsKey::new(
        "headers",
        Kind::Words(32),
        |s| Field::Words(&mut s.access.http.headers),
        "`NAME: VALUE` of headers to send, an `Authorization` for example.",
    ),
    SettingsKey::new(
        "timeout",
        Kind::Duration(10..=60_000),
        |s| Field::Duration(&mut s.access.http.timeout),
        "How long an answer may take, from the connection to the last byte.",
    ),
    SettingsKey::new(
        "cache",
        Kind::Duration(0..=DAY),
        |s| Field::Duration(&mut s.access.http.cache),
        "How long an answer about the same credentials is used again; `0s`: not at all.",
    ),
    SettingsKey::new(
        "when_down",
        Kind::Choice(WhenDown::WORDS, &[]),
        |s| Field::Choice(&mut s.access.http.when_down),
        "What becomes of a client where the service does not answer in time, or with an error: `deny`, `allow` (it is let \
         in as who it says it is), or `next` (the next back end is asked).",
    ),
    SettingsKey::new(
        "threads",
        Kind::Count(1..=256),
        |s| Field::U16(&mut s.access.http.threads),
        "Threads that wait for answers of one service: so many requests to it may be under way.",
    ),
    SettingsKey::new(
        "ca_file",
        Kind::File,
        |s| Field::MaybePath(&mut s.access.http.ca_file),
        "Certificates that are trusted as issuers, as PEM; also for `access_jwt.jwks_url`.",
    )
    .absent("`/etc/ssl/certs/ca-certificates.crt`"),
];

/// The keys of `[access_acl_http]`, in the order of the reference.
pub const ACL_HTTP_KEYS: &[Key<Settings>] = &[
    SettingsKey::new(
        "url",
        Kind::Url,
        |s| Field::MaybeText(&mut s.access.acl_http.url),
        "Whom to ask. The placeholders of `fields` may stand behind the host; what they stand for is percent-encoded.",
    )
    .absent("nobody is asked"),
    SettingsKey::new(
        "method",
        Kind::Choice(Method::WORDS, &[]),
        |s| Field::Choice(&mut s.access.acl_http.method),
        "How: by `post` (the fields are the body), or by `get` (they are the query).",
    ),
    SettingsKey::new(
        "body",
        Kind::Choice(BodyForm::WORDS, &[]),
        |s| Field::Choice(&mut s.access.acl_http.body),
        "How the body of a POST is written: a JSON object, or a form of HTML.",
    ),
    SettingsKey::new(
        "fields",
        Kind::Words(32),
        |s| Field::Words(&mut s.access.acl_http.fields),
        "`KEY=VALUE` of the request; `${username}`, `${clientid}`, `${peerhost}`, `${subject}`, `${claim.NAME}`, \
         `${action}` (`publish` or `subscribe`), `${topic}`, `${qos}` and `${retain}` stand for who does what. A field \
         whose only placeholder has no value is null (JSON) or left out. Empty: `username`, `clientid`, `peerhost`, \
         `action`, `topic`, `qos` and `retain`, each with the placeholder of its name. An answer counts for every QoS \
         where the request does not tell it, and likewise for RETAIN.",
    ),
    SettingsKey::new(
        "headers",
        Kind::Words(32),
        |s| Field::Words(&mut s.access.acl_http.headers),
        "`NAME: VALUE` of headers to send, an `Authorization` for example.",
    ),
    SettingsKey::new(
        "timeout",
        Kind::Duration(10..=60_000),
        |s| Field::Duration(&mut s.access.acl_http.timeout),
        "How long an answer may take. A packet waits for at most three times as long, whatever waits before it, and its \
         connection with it; when an answer did not come nobody is asked for a second.",
    ),
    SettingsKey::new(
        "cache",
        Kind::Duration(0..=DAY),
        |s| Field::Duration(&mut s.access.acl_http.cache),
        "How long an answer counts for the same connection, topic and action; `0s`: for one packet. SIGHUP forgets all.",
    ),
    SettingsKey::new(
        "cache_size",
        Kind::Count(1..=4096),
        |s| Field::U32(&mut s.access.acl_http.cache_size),
        "Answers that are remembered for each connection, rounded up to a power of two. The oldest gives way. Topics of \
         more than 256 bytes are not remembered.",
    ),
    SettingsKey::new(
        "max_waiting",
        Kind::Count(1..=1_000_000),
        |s| Field::U32(&mut s.access.acl_http.max_waiting),
        "Packets that may wait for an answer of one service on the whole node, one for each connection. There is no answer \
         for further ones, counted.",
    ),
    SettingsKey::new(
        "when_down",
        Kind::Choice(WhenDown::WORDS, &[]),
        |s| Field::Choice(&mut s.access.acl_http.when_down),
        "What becomes of a publish or a subscription where the service does not answer in time, or with an error: `deny`, \
         `allow`, or `next` (the rules decide). It is not remembered.",
    ),
    SettingsKey::new(
        "threads",
        Kind::Count(1..=256),
        |s| Field::U16(&mut s.access.acl_http.threads),
        "Threads that wait for answers of one service: so many requests to it may be under way.",
    ),
    SettingsKey::new(
        "ca_file",
        Kind::File,
        |s| Field::MaybePath(&mut s.access.acl_http.ca_file),
        "Certificates that are trusted as issuers, as PEM.",
    )
    .absent("`/etc/ssl/certs/ca-certificates.crt`"),
];
