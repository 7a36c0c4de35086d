//! Many clients at once, and an exact account of every message: `ringload` beside the real program.

mod bundles;

use std::process::Command;

use ringmain_tests::program::{Program, ringload};
use ringmain_tests::{Setup, Version};
use rustix::process::{Resource, getrlimit};

/// Clients, where the limit on open files allows.
const CLIENTS: u64 = 10_000;
/// Open files of the load generator besides its connections, generously.
const FILES_BESIDE: u64 = 256;

/// Goal: 10,000 clients on two shards, each with its own topic and all with a common one, at QoS 1 and 2, get every
/// message once, in order and whole; in both versions of the protocol.
#[test]
fn nothing_is_lost_among_ten_thousand() {
    if Program::tested() != Program::Ringmain {
        return; // Mosquitto takes minutes.
    }
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let clients = CLIENTS.min(files.saturating_sub(FILES_BESIDE)).to_string();
    let broker = Setup::shards(2).start();
    let port = broker.address().port().to_string();
    for version in [Version::V311, Version::V5] {
        let protocol = if version == Version::V5 { "5" } else { "4" };
        let args = ["common", "-c", &clients, "-V", protocol, "-p", &port, "--stall", "60"];
        let run = Command::new(ringload()).args(args).output().expect("ringload starts");
        let said = [run.stdout, run.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(run.status.success(), "{args:?}: {}\n{said}\n{}", run.status, broker.log());
    }
}

/// Goal: an idle client costs little memory in user space, on one shard and on two. The bound leaves half as much again as
/// the budget of 512 bytes, as there are fewer clients here than it is meant for to share what is there once.
#[test]
fn idle_clients_cost_little() {
    const BYTES_MAX: f64 = 768.0;
    if Program::tested() != Program::Ringmain {
        return;
    }
    for shards in [1, 2] {
        let mut broker = Setup::shards(shards).start();
        let (port, pid) = (broker.address().port().to_string(), broker.process().id().to_string());
        let args = ["idle", "-c", "4000", "-p", &port, "--broker-pid", &pid, "--stall", "60", "--json"];
        let run = Command::new(ringload()).args(args).output().expect("ringload starts");
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success(), "{args:?}: {}\n{said}\n{}", run.status, broker.log());
        let (_, rest) = said.split_once("\"anonymous_per_connection\":").expect("ringload tells the memory");
        let number = rest.trim_start().split([',', '}']).next().expect("there is a first part");
        let bytes: f64 = number.trim().parse().expect("a number of bytes");
        assert!(bytes > 0.0 && bytes <= BYTES_MAX, "{bytes} bytes for each idle client on {shards} shards");
    }
}
