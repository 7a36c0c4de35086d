//! The switch inside the test's own process, its shards watched by the counting allocator.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use ringmain_tests::{DEADLINE, DataDirectory, Options, Version};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};
use switch::config::source::{self, Source};
use switch::config::{Configuration, Flags};
use switch::node::switches;
use switch::program::failure::Failure;
use switch::program::journals::Journals;
use switch::program::plan::Plan;
use switch::program::reload::Origins;
use switch::program::serve;
use switch::program::stop::StopFlag;
use switch::routing::parcel::rank_specs;

use crate::counting::{self, Counts};

/// `$SYS` is made anew once in an interval, by design with allocations: it has no part in what a message costs.
const SETTINGS: &str = "[sys]\ninterval = \"0s\"\n[log]\nlevel = \"warn\"\n";

/// A running switch.
pub struct Node {
    address: SocketAddr,
    stop: StopFlag,
    thread: JoinHandle<Result<(), Failure>>,
    /// Keeps the port ours.
    _port: OwnedFd,
    /// Keeps the directory of the journal.
    _data: DataDirectory,
}

impl Node {
    /// Starts a switch of `shards` shards, with a journal or without; `counts` sees what their threads allocate.
    pub fn start(shards: u16, journal: bool, counts: &'static Counts) -> Node {
        let (port, address) = reserve_port();
        let data = DataDirectory::new();
        let flags = Flags {
            bind: vec![address.to_string()],
            shards: Some(shards.to_string()),
            data_dir: Some(data.path().display().to_string()),
            journal: Some(journal.to_string()),
            ..Flags::default()
        };
        let staging = format!("[journal]\nstaging_dir = {:?}\n", data.staging());
        let file = source::from_file("settings", &format!("{SETTINGS}{staging}"));
        let configuration = Configuration::merge(file, Source::default(), &flags).expect("settings that work");
        let plan = Plan::new(&configuration).expect("cores and descriptors");
        let (tell, started) = mpsc::channel();
        let thread = thread::spawn(move || {
            let settings = &configuration.settings;
            let journals = plan.storage.as_ref().map(|storage| {
                let journals = Journals::open(storage, &settings.journal, &[], shards).expect("a new directory");
                let seed = journals.seed;
                let (shards, keeping) = journals.into_parts();
                ((seed, shards), keeping)
            });
            let (recovered, keeping) = journals.unzip();
            let (_, make) = switches(settings, shards, recovered, None).expect("no rules");
            let ranks = rank_specs(&settings.limits, shards);
            let origins = Origins { file: None, flags, in_effect: configuration };
            serve::until_stopped(origins, &plan, &ranks, keeping, None, move |seat| {
                // Nobody listens any more where another shard was first.
                let _ = tell.send(seat.stop.clone());
                counting::watch_this_thread(counts);
                make(seat)
            })
            .map(drop)
        });
        // Handlers are made after all listeners are open.
        match started.recv_timeout(DEADLINE) {
            Ok(stop) => Node { address, stop, thread, _port: port, _data: data },
            Err(_) => panic!("the switch does not start: {:?}", thread.is_finished().then(|| thread.join())),
        }
    }

    /// A clean connection to be made.
    pub fn client(&self, version: Version, id: &str) -> Options {
        Options::new(self.address, version, id)
    }

    /// Stops it; clients that leave meanwhile wake its shards.
    pub fn stop<T>(self, clients: T) {
        self.stop.request();
        drop(clients);
        self.thread.join().expect("no panic").expect("a clean end");
    }
}

/// A free port of the loopback address, ours as long as the descriptor is open. It does not listen: connections go to
/// the switch's sockets, which share the port (SO_REUSEADDR and SO_REUSEPORT, socket(7)).
fn reserve_port() -> (OwnedFd, SocketAddr) {
    let held = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a TCP socket");
    sockopt::set_socket_reuseaddr(&held, true).expect("a TCP socket");
    sockopt::set_socket_reuseport(&held, true).expect("Linux shares ports");
    bind(&held, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = getsockname(&held).expect("a bound socket").try_into().expect("an Internet address");
    (held, address)
}
