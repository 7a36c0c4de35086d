//! A browser: MQTT.js in a page of headless Chromium, over `ws` and `wss`, through restarts of the broker.
//!
//! The page (`tests/clients/browser`) is served from here, and tells here what it sees; Chromium is given its address and
//! nothing else. So there is no driver, and no version of one that has to fit the browser.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ringmain_tests::authority;
use ringmain_tests::process::Process;
use ringmain_tests::program::{Program, root, scratch};
use ringmain_tests::{Broker, DataDirectory, Publish, Setup, Transport, Version};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};

/// What a browser may take for anything: it has to start, on a machine that runs other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// The clients of the page.
const CLIENTS: [&str; 4] = ["ws-4", "ws-5", "wss-4", "wss-5"];

/// Goal: in a browser clients of 3.1.1 and 5.0 over `ws` and `wss` publish, subscribe, see the server stop, see it die, and
/// come back by themselves to their sessions, with messages of every QoS and of lengths at which frames grow. A page of
/// another origin than a listener allows is turned away.
#[test]
fn a_page_stays_connected() {
    if Program::tested() != Program::Ringmain {
        return;
    }
    let site = Site::open();
    let data = DataDirectory::new();
    // The first two keep their addresses from one start to the next.
    let mut broker = start(&site, &data, [0; 3]);
    let ports = ["ws, page", "wss, sealed page", "ws, elsewhere"].map(|kind| broker.listening(kind).port());
    let url = format!("{}/?ws={}&wss={}&elsewhere={}", site.origin, ports[0], ports[1], ports[2]);
    let browser = browse(&url);
    site.hears(&browser, "exchanged, new", &["elsewhere turned away".to_owned()]);
    for end in ["TERM", "KILL"] {
        broker.process().signal(end);
        site.hears(&browser, "closed", &[]);
        drop(broker);
        broker = start(&site, &data, ports);
        // It comes at once, or waits in a session.
        let mut publisher = broker.client(Version::V5, "publisher").connect();
        for client in CLIENTS {
            let qos = u8::from(end == "TERM") + 1;
            publisher.publish_packet(&Publish::new(&format!("{client}/news"), qos, &*format!("of {end}")));
        }
        site.hears(&browser, &format!("heard of {end}"), &CLIENTS.map(|client| format!("{client} exchanged, resumed")));
    }
}

/// A broker for the page, and for pages of elsewhere, at these ports.
fn start(site: &Site, data: &DataDirectory, ports: [u16; 3]) -> Broker {
    let allow = |origin: &str| format!("allowed_origins = [{origin:?}]\n");
    let bind = |port: u16| format!("bind = \"127.0.0.1:{port}\"\n");
    let identity = Transport::Wss.keys();
    let own = |name: &str| format!("name = \"{name}\"\n{}", allow(&site.origin));
    let setup = Setup::shards(2).on(data);
    let setup = setup.listener(&format!("{}transport = \"ws\"\n{}", bind(ports[0]), own("page")));
    let setup = setup.listener(&format!("{}transport = \"wss\"\n{identity}{}", bind(ports[1]), own("sealed page")));
    let other = allow("https://live.example");
    setup.listener(&format!("{}transport = \"ws\"\nname = \"elsewhere\"\n{other}", bind(ports[2]))).start()
}

/// Chromium with this page, killed when dropped.
fn browse(url: &str) -> Process {
    let names = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).flat_map(|directory| names.map(|name| directory.join(name)));
    let program: PathBuf = found.into_iter().find(|file| file.is_file()).expect("Chromium: make test installs it");
    let profile = scratch("browser");
    let mut arguments = vec![
        format!("--user-data-dir={}", profile.display()),
        format!("--ignore-certificate-errors-spki-list={}", public_key_hash()),
    ];
    // The only page is our own, and its sandbox does not start for root nor in most containers.
    let more = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --no-proxy-server \
                --disable-background-networking --disable-component-update --disable-default-apps --disable-extensions \
                --disable-sync --metrics-recording-only --mute-audio --password-store=basic";
    arguments.extend(more.split_whitespace().map(str::to_owned));
    arguments.push(url.to_owned());
    Process::start(program.to_str().expect("a path in UTF-8"), &arguments, &[])
}

/// What Chromium knows a certificate's key by that it is to trust: SHA-256 of it, in base64.
fn public_key_hash() -> String {
    let (_, identity) = authority::of_this_run();
    let certificate = CertificateDer::from_pem_file(&identity.certificate).expect("it was issued");
    let certificate = rustls::server::ParsedCertificate::try_from(&certificate).expect("it can be read");
    let key: SubjectPublicKeyInfoDer<'_> = certificate.subject_public_key_info();
    BASE64_STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key))
}

/// The web site with the page, and what the page has told.
struct Site {
    origin: String,
    told: Receiver<String>,
}

impl Site {
    fn open() -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let (teller, told) = channel();
        // It ends with the test process.
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let teller = teller.clone();
                thread::spawn(move || answer(socket, &teller));
            }
        });
        Site { origin, told }
    }

    /// Waits until each client has told this, and the page these lines besides.
    #[track_caller]
    fn hears(&self, browser: &Process, what: &str, besides: &[String]) {
        let end = Instant::now() + PATIENCE;
        let mut missing: BTreeSet<String> = CLIENTS.iter().map(|client| format!("{client} {what}")).collect();
        missing.extend(besides.iter().cloned());
        while !missing.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.told.recv_timeout(left) else {
                panic!("the page has not told {missing:?}; the browser printed:\n{}", browser.printed());
            };
            assert!(!line.starts_with("failed"), "{line}");
            missing.remove(&line);
        }
    }
}

/// Answers one request; there are few, so each has a connection of its own.
fn answer(mut socket: TcpStream, teller: &Sender<String>) {
    let Some((head, body)) = request(&mut socket) else { return };
    let target = head.split(' ').nth(1).unwrap_or_default();
    let clients = root().join("tests/clients");
    let (status, kind, content) = match target.split('?').next().unwrap_or_default() {
        "/" => ("200 OK", "text/html", fs::read(clients.join("browser/mqttjs_page.html"))),
        "/mqtt.min.js" => ("200 OK", "text/javascript", fs::read(clients.join("node_modules/mqtt/dist/mqtt.min.js"))),
        "/told" => {
            // The test may be over.
            let _ = teller.send(String::from_utf8_lossy(&body).into_owned());
            ("200 OK", "text/plain", Ok(Vec::new()))
        }
        _ => ("404 Not Found", "text/plain", Ok(Vec::new())),
    };
    let content = content.unwrap_or_else(|error| {
        let _ = teller.send(format!("failed: {target}: {error} (make test installs it)"));
        Vec::new()
    });
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        content.len()
    );
    // Who has gone needs no answer.
    let _ = socket.write_all(head.as_bytes()).and_then(|()| socket.write_all(&content));
}

/// The head and the body of a request; `None` for a connection that asks nothing.
fn request(socket: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
            let len = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok();
            let end = at + 4 + head.lines().find_map(len).unwrap_or(0);
            if bytes.len() >= end {
                return Some((head, bytes[at + 4..end].to_vec()));
            }
        }
        match socket.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(len) => bytes.extend_from_slice(&chunk[..len]),
        }
    }
}
