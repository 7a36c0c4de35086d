//! Opening connections: non-blocking, without delay, and from more source addresses than one has ports for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections from one source address, where the number of addresses is not said.
const CONNECTIONS_PER_SOURCE: usize = 10_000;
/// The source ports that are used. They are chosen here: bind(2) searches for a free one, which takes a millisecond
/// where many thousand are taken.
const PORTS: std::ops::Range<u16> = 10_000..60_000;
/// Ports that may be taken, by a listener or in TIME_WAIT, before a connection is given up.
const ATTEMPTS_MAX: usize = 1000;

/// Where connections come from: 127.0.0.2, 127.0.0.3, ... in turn, each with the port that it uses next; or wherever
/// the kernel likes.
pub struct Sources(Vec<u16>);

impl Sources {
    /// As many as asked for, or as many as `connections` need, if the broker is on loopback; the kernel chooses where
    /// one is enough.
    pub fn new(asked: Option<u8>, connections: usize, targets: &[SocketAddr]) -> Sources {
        let loopback = |to: &SocketAddr| matches!(to.ip(), IpAddr::V4(address) if address.is_loopback());
        let wanted = asked.map_or(connections.div_ceil(CONNECTIONS_PER_SOURCE), usize::from).clamp(1, 250);
        if wanted == 1 || !targets.iter().all(loopback) {
            return Sources(Vec::new());
        }
        // Runs that follow each other begin at different ports, since those of the last one are in TIME_WAIT.
        let offset = (std::process::id() % 10 * 5000) as u16;
        Sources(vec![PORTS.start + offset; wanted])
    }

    /// The source of the connection with this index.
    fn next(&mut self, index: usize) -> Option<SocketAddr> {
        let at = index.checked_rem(self.0.len())?;
        let port = self.0[at];
        self.0[at] = if port + 1 == PORTS.end { PORTS.start } else { port + 1 };
        Some(SocketAddr::from((Ipv4Addr::new(127, 0, 0, at as u8 + 2), port)))
    }
}

/// Begins a connection; it is complete when the socket is writable.
///
/// # Errors
/// What the kernel said, with the address and the remedy.
pub fn open(to: SocketAddr, sources: &mut Sources, index: usize) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let mut attempts = 0;
    loop {
        let socket = socket_with(family, SocketType::STREAM, flags, None).map_err(|error| {
            explain(error, &format!("cannot open socket {index}"), "`ulimit -n` says how many a process may have")
        })?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        let from = sources.next(index);
        attempts += 1;
        match begin(&socket, from, to) {
            Ok(()) => return Ok(socket),
            Err(Errno::ADDRINUSE | Errno::ADDRNOTAVAIL) if from.is_some() && attempts < ATTEMPTS_MAX => {}
            Err(error) => return Err(refused(error, to)),
        }
    }
}

fn begin(socket: &OwnedFd, from: Option<SocketAddr>, to: SocketAddr) -> Result<(), Errno> {
    if let Some(from) = from {
        sockopt::set_socket_reuseaddr(socket, true)?;
        bind(socket, &from)?;
    }
    match connect(socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A connect(2) that failed, at once or later.
pub fn refused(error: Errno, to: SocketAddr) -> io::Error {
    let remedy = match error {
        Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => "the ports of the source are used up: --sources gives more addresses",
        _ => "is the broker running there? -h and -p say where",
    };
    explain(error, &format!("cannot connect to {to}"), remedy)
}

/// Raises the soft limit of open descriptors to the hard one, and checks that `connections` fit.
///
/// # Errors
/// They do not fit.
pub fn make_room(connections: usize) -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let reserve = 32;
    match maximum {
        Some(limit) if limit < (connections + reserve) as u64 => Err(io::Error::other(format!(
            "{connections} connections do not fit: a process here may open {limit} descriptors; lower -c, or raise \
             `ulimit -Hn`"
        ))),
        _ => Ok(()),
    }
}

fn explain(error: Errno, what: &str, remedy: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}; {remedy}"))
}
