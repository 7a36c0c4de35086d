//! `floor`: what the kernel costs for the same bytes to the same sockets.
//!
//! A pinned thread with one io_uring, set up as a shard's is, and around it the least that lets an MQTT client connect,
//! subscribe to a topic name and publish at QoS 0: no sessions, no matching, no retained messages, no limits worth the
//! name. A PUBLISH is forwarded as it came, so publishers and subscribers of a run use one protocol version. What a
//! broker costs above this is the broker's; what this costs is Linux's.
//!
//! Read next: `server.rs`, the loop; `outbox.rs` and `log.rs`, the two ways to deliver; `ring.rs`, the kernel.

mod delivery;
mod log;
mod mqtt;
mod outbox;
mod ring;
mod server;

use std::error::Error;
use std::io::{self, Write};
use std::net::TcpListener;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Connections that may wait to be accepted; Linux cuts it to `net.core.somaxconn`.
const LISTEN_BACKLOG: i32 = 4096;

/// Bare io_uring loops that speak just enough MQTT to be measured by ringload.
#[derive(Parser)]
struct Args {
    /// Port on 127.0.0.1; 0 lets the kernel choose.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// How messages reach the sockets.
    #[arg(long, value_enum, default_value = "fanout-send")]
    mode: Mode,
    /// The core to run on; all allowed ones where absent.
    #[arg(long)]
    core: Option<usize>,
}

/// How messages reach the sockets.
#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// A copy for each socket, one SEND a socket and turn.
    FanoutSend,
    /// One log for each topic, a cursor for each socket, one SEND a socket and turn.
    FanoutLog,
    /// Many publishers, one subscriber: the subscriber's copy gathers, one SEND a turn (the loop of fanout-send).
    Fanin,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    if let Some(core) = args.core {
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set).map_err(|error| format!("cannot run on core {core}: {error}"))?;
    }
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let slots = maximum.unwrap_or(1 << 20).min(1 << 20) as u32;

    let listener = TcpListener::bind(("127.0.0.1", args.port))
        .map_err(|error| format!("cannot listen on 127.0.0.1:{}: {error}; --port 0 chooses a free port", args.port))?;
    // The standard library asks for 128, which a storm of connections overflows.
    rustix::net::listen(&listener, LISTEN_BACKLOG)?;
    // Accepted sockets inherit it.
    rustix::net::sockopt::set_tcp_nodelay(&listener, true)?;
    writeln!(io::stdout(), "floor: listening on {}", listener.local_addr()?)
        .map_err(|error| format!("cannot write to standard output: {error}"))?;
    match args.mode {
        Mode::FanoutSend | Mode::Fanin => server::run(listener.into(), slots, outbox::Outboxes::default())?,
        Mode::FanoutLog => server::run(listener.into(), slots, log::Logs::default())?,
    }
    Ok(())
}
