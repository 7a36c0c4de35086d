//! Opening connections: non-blocking, without delay, and from more source addresses than one has ports for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections from one source address to one destination. Linux has 28,232 ephemeral ports by default, of which bind(2)
/// prefers one half, and those of an earlier run linger in TIME_WAIT.
const CONNECTIONS_PER_SOURCE: usize = 10_000;

/// Where connections come from.
#[derive(Clone, Copy)]
pub struct Sources(u8);

impl Sources {
    /// As many as asked for, or as many as `connections` need.
    pub fn new(asked: Option<u8>, connections: usize) -> Sources {
        let needed = connections.div_ceil(CONNECTIONS_PER_SOURCE);
        Sources(asked.unwrap_or(needed.clamp(1, 200) as u8))
    }

    /// The source address of the connection with this index, where it has to be bound: 127.0.0.1, 127.0.0.2, ...
    fn of(self, index: usize, to: SocketAddr) -> Option<SocketAddr> {
        let loopback = matches!(to.ip(), IpAddr::V4(address) if address.is_loopback());
        let last = (index % usize::from(self.0)) as u8 + 1;
        (self.0 > 1 && loopback).then(|| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))
    }
}

/// Begins a connection; it is complete when the socket is writable.
///
/// # Errors
/// What the kernel said, with the address and the remedy.
pub fn open(to: SocketAddr, sources: Sources, index: usize) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None).map_err(|error| {
        explain(
            error,
            &format!("cannot open socket {index}"),
            "`ulimit -n` says how many descriptors a process may open",
        )
    })?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    let from = sources.of(index, to);
    if let Some(from) = from {
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &from).map_err(|error| {
            explain(error, &format!("cannot bind connection {index} to {}", from.ip()), "--sources gives more of them")
        })?;
    }
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(refused(error, to)),
    }
}

/// A connect(2) that failed, at once or later.
pub fn refused(error: Errno, to: SocketAddr) -> io::Error {
    let remedy = match error {
        Errno::ADDRNOTAVAIL => "the ports of the source address are used up: --sources gives more addresses",
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
