//! The keys of each `[[listener]]`.

use super::super::field::{Field, Kind};
use super::super::settings::{CertificateName, ClientCertificates, Listener, TlsVersion, Transport};
use super::Key;

/// The name of the section that may come many times.
pub const LISTENER: &str = "listener";

/// What `[[listener]]` is about.
pub const LISTENER_DOC: &str = "Where clients connect; one table for each address. Without any, the switch listens on \
                                `127.0.0.1:1883` and `[::1]:1883`.";

/// Listeners at most.
pub const LISTENERS_MAX: usize = 64;

/// Origins of one listener at most.
const ORIGINS_MAX: usize = 256;
/// Ranges of trusted proxies of one listener at most.
const TRUSTED_MAX: usize = 256;
/// Certificates of one listener at most.
const CERTIFICATES_MAX: usize = 256;
/// Revocation lists of one listener at most.
const CRLS_MAX: usize = 64;

type ListenerKey = Key<Listener>;

/// The keys of each `[[listener]]`.
pub const LISTENER_KEYS: &[Key<Listener>] = &[
    ListenerKey::new(
        "bind",
        Kind::Endpoint,
        |listener| Field::Endpoint(&mut listener.bind),
        "Address and port; for `transport = \"unix\"` the path of the socket. Names are not resolved. Port 0 lets the \
         kernel choose one, which the banner tells. An IPv6 address serves IPv6 alone. An address that is not a loopback \
         one is refused unless a back end of `[access]` is configured, or `allow_anonymous = true` is written beside it.",
    )
    .absent("required"),
    ListenerKey::new(
        "name",
        Kind::Text,
        |listener| Field::MaybeText(&mut listener.name),
        "What the listener is called in the banner and the log. No two have the same.",
    )
    .absent("its address"),
    ListenerKey::new(
        "transport",
        Kind::Choice(Transport::WORDS, &[]),
        |listener| Field::Choice(&mut listener.transport),
        "How MQTT travels: `tcp`, `ws` (WebSocket, for browsers: port 8083 by custom), `unix` (a Unix socket), `tls` \
         (port 8883) or `wss` (WebSocket over TLS, port 8084).",
    ),
    ListenerKey::new(
        "allow_anonymous",
        Kind::Switch,
        |listener| Field::MaybeSwitch(&mut listener.allow_anonymous),
        "Whether clients may connect without saying who they are. Where no back end of `[access]` is configured `false` \
         is refused (nobody could connect), and an address that other machines reach needs a written `true`.",
    )
    .absent("`true` on loopback and Unix sockets where no back end is configured, else `false`"),
    ListenerKey::new(
        "backends",
        Kind::Words(3),
        |listener| Field::Words(&mut listener.backends),
        "The back ends of `[access]`, and its own, that are asked here, and in which order. Empty: as `access.backends` \
         says.",
    ),
    ListenerKey::new(
        "password_file",
        Kind::File,
        |listener| Field::MaybePath(&mut listener.password_file),
        "Users and hashes for this listener, in place of `access.password_file`. A listener with a back end of its own \
         (this, keys or issuers of tokens, or a service) has users of its own: the session of one is not that of a user of \
         the same name elsewhere, and none of them is one of `access.operators`. Read again at SIGHUP.",
    )
    .absent("`access.password_file`"),
    ListenerKey::new(
        "jwt_key_file",
        Kind::File,
        |listener| Field::MaybePath(&mut listener.own.jwt_key_file),
        "A public key for the tokens of this listener, as `access_jwt.key_file`. A listener with this, `jwt_secret_file` \
         or `jwt_jwks_url` has keys of its own, in place of all those of `[access_jwt]`; what else stands there counts for \
         it, too. Read again at SIGHUP.",
    )
    .absent("as `[access_jwt]` says"),
    ListenerKey::new(
        "jwt_secret_file",
        Kind::File,
        |listener| Field::MaybePath(&mut listener.own.jwt_secret_file),
        "A secret for the tokens of this listener, likewise. Read again at SIGHUP.",
    )
    .absent("as `[access_jwt]` says"),
    ListenerKey::new(
        "jwt_jwks_url",
        Kind::Url,
        |listener| Field::MaybeText(&mut listener.own.jwt_jwks_url),
        "Where keys for the tokens of this listener are published, likewise.",
    )
    .absent("as `[access_jwt]` says"),
    ListenerKey::new(
        "jwt_issuers",
        Kind::Words(64),
        |listener| Field::Words(&mut listener.own.jwt_issuers),
        "Values of `iss` that are accepted here, in place of `access_jwt.issuers`. Empty: as there.",
    ),
    ListenerKey::new(
        "jwt_audiences",
        Kind::Words(64),
        |listener| Field::Words(&mut listener.own.jwt_audiences),
        "Values of `aud` that are accepted here, in place of `access_jwt.audiences`. Empty: as there.",
    ),
    ListenerKey::new(
        "http_url",
        Kind::Url,
        |listener| Field::MaybeText(&mut listener.own.http_url),
        "A service that knows who the clients of this listener are, in place of `access_http.url`. What else stands in \
         `[access_http]` counts for it, too, but for its headers. It has threads and a cache of its own.",
    )
    .absent("`access_http.url`"),
    ListenerKey::new(
        "http_headers",
        Kind::Words(32),
        |listener| Field::Words(&mut listener.own.http_headers),
        "`NAME: VALUE` of headers for `http_url`. Those of `[access_http]` are not sent there.",
    ),
    ListenerKey::new(
        "users_of",
        Kind::Text,
        |listener| Field::MaybeText(&mut listener.users_of),
        "The name of another listener with back ends of its own: these are asked here, too (`password_file`, `jwt_...` and \
         `http_...`), and a user there is the same here, with the same sessions. For one that is reached by TCP and by \
         WebSocket, say.",
    )
    .absent("none"),
    ListenerKey::new(
        "acl_file",
        Kind::File,
        |listener| Field::MaybePath(&mut listener.acl_file),
        "Rules in mosquitto's form for those who came in here. A listener with this or `rules_file` has rules of its own, \
         in place of those of `[access]`. Read again at SIGHUP.",
    )
    .absent("`access.acl_file`"),
    ListenerKey::new(
        "rules_file",
        Kind::File,
        |listener| Field::MaybePath(&mut listener.rules_file),
        "Rules in our own form for those who came in here, likewise.",
    )
    .absent("`access.rules_file`"),
    ListenerKey::new(
        "acl_http",
        Kind::Switch,
        |listener| Field::MaybeSwitch(&mut listener.acl_http),
        "Whether a service for topics is asked about what those who came in here publish and subscribe to.",
    )
    .absent("`true` where `acl_http_url` or `access_acl_http.url` is written"),
    ListenerKey::new(
        "acl_http_url",
        Kind::Url,
        |listener| Field::MaybeText(&mut listener.own.acl_http_url),
        "A service for topics that is asked about those who came in here, in place of `access_acl_http.url`. What else \
         stands in `[access_acl_http]` counts for it, too, but for its headers. It has threads and a queue of its own.",
    )
    .absent("`access_acl_http.url`"),
    ListenerKey::new(
        "acl_http_headers",
        Kind::Words(32),
        |listener| Field::Words(&mut listener.own.acl_http_headers),
        "`NAME: VALUE` of headers for `acl_http_url`. Those of `[access_acl_http]` are not sent there.",
    ),
    ListenerKey::new(
        "max_packet_size",
        Kind::Bytes(256..=255 << 20),
        |listener| Field::MaybeU32(&mut listener.max_packet_size),
        "Largest packet that a client that came in here may send after CONNECT; not more than `limits.max_packet_size`.",
    )
    .absent("`limits.max_packet_size`"),
    ListenerKey::new(
        "max_connections",
        Kind::Count(1..=16_000_000),
        |listener| Field::MaybeU32(&mut listener.max_connections),
        "Connections at once that came in here, on the whole node. Further clients wait in the listen backlog; one that \
         was accepted in the same moment by another shard is closed.",
    )
    .absent("`limits.max_connections`"),
    ListenerKey::new(
        "max_conn_rate",
        Kind::Rate(0..=1_000_000),
        |listener| Field::U32(&mut listener.max_conn_rate),
        "Connections that may come in here in each second, on the whole node, of which a second's worth may come at once; \
         `0/s`: no such bound. Further clients wait in the listen backlog. Each shard may take one more in the same \
         moment.",
    ),
    ListenerKey::new(
        "max_publish_rate",
        Kind::Rate(0..=1_000_000),
        |listener| Field::MaybeU32(&mut listener.max_publish_rate),
        "Messages that each client that came in here may publish in a second; `0/s`: no bound.",
    )
    .absent("`limits.max_publish_rate`"),
    ListenerKey::new(
        "max_publish_bytes_rate",
        Kind::Bytes(0..=u32::MAX as u64),
        |listener| Field::MaybeU32(&mut listener.max_publish_bytes_rate),
        "Bytes of PUBLISH packets that each client that came in here may send in a second; 0: no bound.",
    )
    .absent("`limits.max_publish_bytes_rate`"),
    ListenerKey::new(
        "path",
        Kind::Text,
        |listener| Field::Text(&mut listener.path),
        "Where WebSocket is spoken; requests for another path are answered with 404. For `ws` and `wss` only.",
    ),
    ListenerKey::new(
        "allowed_origins",
        Kind::Words(ORIGINS_MAX),
        |listener| Field::Words(&mut listener.allowed_origins),
        "Origins that pages may come from, as browsers write them: `https://app.example`, `http://localhost:3000`. A \
         request of any other is answered with 403; one that names no origin comes from no browser and may pass. Empty: \
         pages of all origins. For `ws` and `wss` only.",
    ),
    ListenerKey::new(
        "max_header_size",
        Kind::Bytes(256..=1 << 20),
        |listener| Field::U32(&mut listener.max_header_size),
        "Largest request that opens a WebSocket, headers and all; a larger one is answered with 431. It must be complete \
         within `limits.connect_timeout`, and the CONNECT too. For `ws` and `wss` only.",
    ),
    ListenerKey::new(
        "certificate",
        Kind::File,
        |listener| Field::MaybePath(&mut listener.tls.certificate),
        "The certificate that clients are shown, and behind it those that lead to its authority (PEM). For `tls` and \
         `wss`, which need one. A reload reads all these files again without closing a connection.",
    )
    .absent("`certificates`")
    .live(),
    ListenerKey::new(
        "key",
        Kind::File,
        |listener| Field::MaybePath(&mut listener.tls.key),
        "The private key of `certificate` (PEM: PKCS #8, PKCS #1 or SEC 1, not encrypted). An ECDSA key costs a third \
         of an RSA one in each handshake.",
    )
    .absent("`certificates`")
    .live(),
    ListenerKey::new(
        "certificates",
        Kind::KeyPairs(CERTIFICATES_MAX),
        |listener| Field::KeyPairs(&mut listener.tls.certificates),
        "Certificates for several names: `[{ certificate = \"a.crt\", key = \"a.key\" }, ...]`. The name that a client \
         asks for (SNI) picks one by the names within; who asks for none, or for another one, is shown `certificate`, or \
         else the first of these.",
    )
    .live(),
    ListenerKey::new(
        "client_certificates",
        Kind::Choice(ClientCertificates::WORDS, &[]),
        |listener| Field::Choice(&mut listener.tls.client_certificates),
        "Whether clients must show a certificate: `none` (nobody is asked), `optional` (who shows one must show a good \
         one) or `required`.",
    )
    .live(),
    ListenerKey::new(
        "client_ca",
        Kind::File,
        |listener| Field::MaybePath(&mut listener.tls.client_ca),
        "The authorities whose certificates clients may show (PEM, any number in one file). Needed where clients are \
         asked.",
    )
    .absent("nobody is asked")
    .live(),
    ListenerKey::new(
        "client_crl",
        Kind::Words(CRLS_MAX),
        |listener| Field::Words(&mut listener.tls.client_crl),
        "Lists of certificates that hold no more (PEM or DER). Where there is any, a client's certificate whose issuer has \
         none here is refused. A list that should have been renewed is still used.",
    )
    .live(),
    ListenerKey::new(
        "use_identity_as_username",
        Kind::Choice(CertificateName::WORDS, &[]),
        |listener| Field::Choice(&mut listener.tls.identity),
        "Whether a client's certificate proves who it is, and by which name: `cn` (the Common Name), or the first `dns`, \
         `email` or `uri` of its alternative names. That is its user name, whatever CONNECT says; one without such a name \
         is refused (0x87, 3.1.1: 5). Who shows no certificate is asked as everywhere. `none`: certificates open the \
         connection and say no more.",
    ),
    ListenerKey::new(
        "min_tls_version",
        Kind::Choice(TlsVersion::WORDS, &[]),
        |listener| Field::Choice(&mut listener.tls.min_version),
        "The oldest version of TLS that is spoken. 1.0 and 1.1 never are.",
    )
    .live(),
    ListenerKey::new(
        "proxy_protocol",
        Kind::Switch,
        |listener| Field::Switch(&mut listener.proxy_protocol),
        "Whether a proxy in front tells the address of each client by the PROXY protocol, version 1 or 2. A connection \
         from one of `proxy_trusted` must begin with its header then; all others are taken as they come.",
    ),
    ListenerKey::new(
        "proxy_trusted",
        Kind::Networks(TRUSTED_MAX),
        |listener| Field::Networks(&mut listener.proxy_trusted),
        "Addresses and ranges of the proxies that are believed. On a Unix socket everybody is who may open it.",
    ),
    ListenerKey::new(
        "backlog",
        Kind::Count(1..=1_000_000),
        |listener| Field::U32(&mut listener.options.backlog),
        "Connections that may wait for being accepted, for each shard. The kernel lowers it to net.core.somaxconn, which \
         the log tells.",
    ),
    ListenerKey::new(
        "send_buffer",
        Kind::Bytes(4096..=1 << 30),
        |listener| Field::U32(&mut listener.options.send_buffer_bytes),
        "What the kernel may keep of one connection's unacknowledged bytes (SO_SNDBUF, which the kernel doubles for its \
         overhead and lowers to net.core.wmem_max). A client that stops reading ties up at most this much.",
    ),
];
