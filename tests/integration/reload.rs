//! `ringmain reload`: a running node reads its configuration and files again, all or nothing, and who asked is told.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringmain_tests::authority::{Authority, Identity};
use ringmain_tests::process::Process;
use ringmain_tests::program::{self, Program, ringmain, scratch};
use ringmain_tests::{Client, DEADLINE, DataDirectory, Options, TlsClient, Transport, Version};

/// A node with a configuration file that can be changed, and files that it names.
struct Node {
    process: Process,
    data: DataDirectory,
    directory: PathBuf,
    authority: Authority,
}

/// The rules of a node at first: everybody may do everything.
const OPEN: &str = "topic readwrite #\n";

impl Node {
    /// Starts one with a listener for TCP and one for TLS.
    fn start(name: &str) -> Node {
        let (directory, data) = (scratch(&format!("reload-{name}")), DataDirectory::new());
        let authority = Authority::new(&format!("reload-{name}"));
        let first = authority.server("first", &["localhost"]);
        let write = |file: &str, text: &str| fs::write(directory.join(file), text).expect("our own directory");
        write("acl", OPEN);
        write("ringmain.toml", &configuration(&directory, "max_inflight = 10"));
        install(&directory, &first);
        let process = launch(&directory, &data);
        Node { process, data, directory, authority }
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.directory.join(file), text).expect("our own directory");
    }

    /// Where the listener of this kind is.
    fn at(&self, kind: &str) -> std::net::SocketAddr {
        let shown = self.process.printed();
        let line = shown.lines().find(|line| line.contains(&format!("({kind})"))).expect("a line of the banner");
        let address = line.split_whitespace().find_map(|word| word.parse().ok());
        address.unwrap_or_else(|| panic!("no address in {line}"))
    }

    /// The bytes of the certificate that a client is shown.
    fn shown(&self) -> Vec<u8> {
        let client = TlsClient::trusting(&self.authority.file, rustls::ALL_VERSIONS, None);
        let stream = client.connect(self.at("tls, sealed")).expect("a handshake");
        stream.stream.conn.peer_certificates().expect("a certificate")[0].to_vec()
    }

    fn client(&self, client_id: &str) -> Client {
        Options::new(self.at("tcp, plain"), Version::V5, client_id).connect_by(Transport::Tcp)
    }

    /// `ringmain reload`: its exit code and what it says.
    fn reload(&self) -> (Option<i32>, String) {
        program::run(&self.data.environment(), &["reload"])
    }
}

fn launch(directory: &Path, data: &DataDirectory) -> Process {
    let file = directory.join("ringmain.toml").display().to_string();
    let args = ["-c", &file, "--shards", "2"].map(str::to_owned);
    let process = Process::start(&ringmain().display().to_string(), &args, &data.environment());
    process.wait_for("(tls, sealed)", DEADLINE).unwrap_or_else(|printed| panic!("{printed}"));
    process
}

fn configuration(directory: &Path, limit: &str) -> String {
    let file = |name: &str| format!("{:?}", directory.join(name));
    format!(
        "[[listener]]\nname = \"plain\"\nbind = \"127.0.0.1:0\"\nallow_anonymous = true\n\
         [[listener]]\nname = \"sealed\"\nbind = \"127.0.0.1:0\"\ntransport = \"tls\"\nallow_anonymous = true\n\
         certificate = {}\nkey = {}\n[access]\nacl_file = {}\n[limits]\n{limit}\n",
        file("live.crt"),
        file("live.key"),
        file("acl")
    )
}

fn install(directory: &Path, identity: &Identity) {
    fs::copy(&identity.certificate, directory.join("live.crt")).expect("our own directory");
    fs::copy(&identity.key, directory.join("live.key")).expect("our own directory");
}

/// The certificate of an identity, as it is shown.
fn of(identity: &Identity) -> Vec<u8> {
    identity.der().0[0].to_vec()
}

/// Whether the program under test is another one.
fn foreign() -> bool {
    Program::tested() != Program::Ringmain
}

/// Goal: certificates and rules are new at once, for those who are connected, too, and exit code and text say so.
#[test]
fn all_is_read_again() {
    if foreign() {
        return;
    }
    let node = Node::start("all");
    let mut stays = node.client("stays");
    assert_eq!(stays.subscribe("secret", 0), 0);
    let second = node.authority.server("second", &["localhost"]);
    install(&node.directory, &second);
    node.write("acl", "topic read open\n");
    let (code, said) = node.reload();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("certificates were read again: sealed"), "{said}");
    assert!(said.contains("read again: ") && said.contains("acl"), "{said}");
    assert_eq!(node.shown(), of(&second));
    stays.ping();
    assert_eq!(stays.subscribe("secret", 0), 0x87);
    node.process
        .wait_for("ringmain reload: certificates were read again: sealed", DEADLINE)
        .expect("a line of the log");
}

/// Goal: one file that cannot be used leaves all as it was, also those that could: the old certificate stays where the new
/// rules are wrong, and the old rules where the certificate is. Who asked hears the file and the line.
#[test]
fn all_or_nothing() {
    if foreign() {
        return;
    }
    let node = Node::start("nothing");
    let first = node.shown();
    install(&node.directory, &node.authority.server("second", &["localhost"]));
    node.write("acl", "topic read open\ntopic read a/#/b\n");
    let (code, said) = node.reload();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("everything stays as it was") && said.contains("acl:2: "), "{said}");
    assert_eq!(node.shown(), first);

    node.write("live.key", "nothing\n");
    node.write("acl", "topic read open\n");
    let (code, said) = node.reload();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("everything stays as it was: listener sealed: key = "), "{said}");
    assert_eq!(node.client("a").subscribe("secret", 0), 0);
    assert_eq!(node.shown(), first);
}

/// Goal: a key that has another value takes a restart: it is named with its place, both values, and nothing is changed,
/// nor is it by a file that is wrong. Comments and other ways to write the same are no change.
#[test]
fn keys_take_a_restart() {
    if foreign() {
        return;
    }
    let node = Node::start("keys");
    let first = node.shown();
    let same = format!("# A comment.\n{}", configuration(&node.directory, "max_inflight    =    10"));
    node.write("ringmain.toml", &same);
    let (code, said) = node.reload();
    assert_eq!(code, Some(0), "{said}");

    install(&node.directory, &node.authority.server("second", &["localhost"]));
    for (limit, told) in [
        ("max_inflight = 11", ": limits.max_inflight was 10, is 11 now"),
        ("max_inflight = 0", "ringmain.toml:15:1: limits.max_inflight = 0: "),
        ("max_inflght = 10", "max_inflight"),
    ] {
        node.write("ringmain.toml", &configuration(&node.directory, limit));
        let (code, said) = node.reload();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("everything stays as it was: ") && said.contains(told), "{told:?} in {said}");
    }
    // The last reload that worked came before the second certificate.
    assert_eq!(node.shown(), first);
    assert_eq!(node.client("a").subscribe("t", 0), 0);
}

/// Goal: what a listener shows and asks for by TLS is applied, other files and another version, to who connects from then
/// on; and it is what the next reload compares with.
#[test]
fn keys_of_tls_are_applied() {
    if foreign() {
        return;
    }
    let node = Node::start("live");
    let second = node.authority.server("second", &["localhost"]);
    fs::copy(&second.certificate, node.directory.join("new.crt")).expect("our own directory");
    fs::copy(&second.key, node.directory.join("new.key")).expect("our own directory");
    let text = configuration(&node.directory, "max_inflight = 10").replace("live.", "new.");
    let old = TlsClient::trusting(&node.authority.file, &[&rustls::version::TLS12], None);
    let mut stays = old.connect(node.at("tls, sealed")).expect("a handshake of TLS 1.2");
    node.write("ringmain.toml", &text.replace("[access]", "min_tls_version = \"1.3\"\n[access]"));
    let (code, said) = node.reload();
    assert_eq!(code, Some(0), "{said}");
    for applied in
        ["listener[1].certificate was \"", "new.crt\" now", "listener[1].min_tls_version was \"1.2\", is \"1.3\""]
    {
        assert!(said.contains(applied), "{applied} in {said}");
    }
    assert_eq!(node.shown(), of(&second));
    assert!(old.connect(node.at("tls, sealed")).is_err());
    assert!(stays.shake_hands().is_ok());
    let (code, said) = node.reload();
    assert!(code == Some(0) && !said.contains("applied"), "{said}");
    // What cannot be used is not applied, and is not what the next one compares with.
    node.write("ringmain.toml", &text.replace("new.key", "live.key"));
    let (code, said) = node.reload();
    assert!(code == Some(1) && said.contains("does not belong to the certificate"), "{said}");
    node.write("ringmain.toml", &text);
    let (code, said) = node.reload();
    assert!(code == Some(0) && said.contains("min_tls_version was \"1.3\", is \"1.2\""), "{said}");
    assert_eq!(node.shown(), of(&second));
}

/// Goal: without a node there is one clear error, also where one was killed and left its socket; the next start uses it
/// again, and a stop in good order removes it.
#[test]
fn nobody_answers() {
    if foreign() {
        return;
    }
    let mut node = Node::start("nobody");
    let socket = node.data.path().join("control.sock");
    assert!(fs::symlink_metadata(&socket).is_ok());
    node.process.kill();
    for _ in 0..2 {
        let (code, said) = node.reload();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("no node answers at ") && said.contains("control.sock"), "{said}");
        // A stale one, and then none.
        let _ = fs::remove_file(&socket);
    }
    fs::write(&socket, "not a socket").expect("the directory is ours");
    node.process = launch(&node.directory, &node.data);
    node.process.wait_for("no control socket at ", DEADLINE).expect("a warning");
    node.process.kill();
    fs::remove_file(&socket).expect("the file is left alone");
    node.process = launch(&node.directory, &node.data);
    assert_eq!(node.reload().0, Some(0));
    node.process.signal("TERM");
    node.process.exit(DEADLINE).expect("it stops");
    assert!(fs::symlink_metadata(&socket).is_err());
}

/// Goal: a node without a journal answers at `node.control_socket`, and to nobody but its own user and root, whatever the
/// permissions of the file.
#[test]
fn a_socket_of_its_own() {
    if foreign() {
        return;
    }
    let directory = scratch("reload-own");
    let socket = directory.join("asked.sock");
    let file = directory.join("ringmain.toml");
    let text = format!("[[listener]]\nbind = \"127.0.0.1:0\"\n[node]\ncontrol_socket = {socket:?}\n");
    fs::write(&file, text).expect("our own directory");
    let args = ["-c", &file.display().to_string(), "--no-persistence"].map(str::to_owned);
    let process = Process::start(&ringmain().display().to_string(), &args, &[]);
    process.wait_for("listening on", DEADLINE).unwrap_or_else(|printed| panic!("{printed}"));
    let ask = ["reload", "-c", file.to_str().expect("a path of text")];
    let (code, said) = program::run(&[], &ask);
    assert_eq!(code, Some(0), "{said}");
    let whoever = Command::new("id").arg("-u").output().expect("coreutils");
    if whoever.stdout == b"0\n" {
        let open = Command::new("chmod").args(["777", &socket.display().to_string()]).status();
        assert!(open.is_ok_and(|status| status.success()));
        let program = ringmain().display().to_string();
        let words = [&["--reuid=65534", "--clear-groups", "--", program.as_str()], &ask[..]].concat();
        let (status, said) = Process::run("setpriv", &words, DEADLINE);
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("only its own user and root may ask"), "{said}");
    }
}
