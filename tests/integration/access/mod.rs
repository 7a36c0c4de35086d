//! Who may connect, and who may publish and subscribe: files, clients and services as operators have them.

mod backends;
mod bypass;
mod crowds;
mod enhanced;
mod listeners;
mod own;
mod recall;
mod reload;
mod rules;
mod sessions;
mod topics;

use std::fs;
use std::path::PathBuf;

use ringmain_tests::program::Program;
use ringmain_tests::{Broker, Client, DataDirectory, Options, Setup, Version};
use switch::access::hash::{Hash, Kind};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

/// A file that is gone when the tests are.
fn file(text: &str) -> PathBuf {
    let place = DataDirectory::place();
    fs::write(&place, text).expect("the directory of the tests can be written");
    place
}

/// A password file: each user's password is the name and `-pw`.
fn passwords(users: &[&str]) -> PathBuf {
    let line = |user: &&str| {
        let hash = Hash::make(Kind::Scram, format!("{user}-pw").as_bytes()).expect("randomness");
        format!("{user}:{hash}\n")
    };
    file(&users.iter().map(line).collect::<String>())
}

/// The table `[access]` with these lines.
fn table(lines: &[String]) -> String {
    format!("[access]\n{}\n", lines.join("\n"))
}

/// A key with a path.
fn path(key: &str, path: &std::path::Path) -> String {
    format!("{key} = {path:?}")
}

/// Whether the broker under test is ours: others have no such tables.
fn ours() -> bool {
    Program::tested() == Program::Ringmain
}

/// A broker of `shards` with these users and this ACL file, and more lines of `[access]`.
fn guarded(shards: u32, users: &[&str], acl: &str, more: &[&str]) -> Broker {
    let mut lines = vec![path("password_file", &passwords(users)), path("acl_file", &file(acl))];
    lines.extend(more.iter().map(|&line| line.to_owned()));
    Setup::shards(shards).toml(&table(&lines)).start()
}

/// A connection of a user to be made, with the password of [`passwords`].
fn of(broker: &Broker, version: Version, user: &str, client_id: &str) -> Options {
    with(broker.client(version, client_id), Some(user), Some(&format!("{user}-pw")))
}

fn with(mut options: Options, user: Option<&str>, password: Option<&str>) -> Options {
    options.packet.user_name = user.map(str::to_owned);
    options.packet.password = password.map(|password| password.as_bytes().to_vec());
    options
}

fn connect(broker: &Broker, version: Version, user: &str) -> Client {
    of(broker, version, user, &format!("{user}-{version:?}")).connect()
}

/// What a client is told that is not let in: as 5.0 has it, and as 3.1.1.
fn code(version: Version, v5: u8, v311: u8) -> u8 {
    if version == Version::V5 { v5 } else { v311 }
}
