//! Listening sockets: one for each shard at every address (SO_REUSEPORT), so that the kernel deals out connections.
//!
//! What accepted sockets need is set here, once: they inherit it from the listener.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::driver::Errno;
use crate::error::ListenError;

/// What the sockets of a listener are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections that may wait for being accepted, for each shard (listen(2)); the kernel clamps it to
    /// net.core.somaxconn.
    pub backlog: u32,
    /// Bound on what the kernel keeps of one connection's unacknowledged bytes (SO_SNDBUF; the kernel doubles it for
    /// its own overhead and clamps it to net.core.wmem_max). Without it, a peer that reads nothing absorbs megabytes.
    pub send_buffer_bytes: u32,
    /// Above this many bytes that were not yet sent, a socket takes no more (TCP_NOTSENT_LOWAT): what waits, waits with
    /// us, where it can still be shed.
    pub unsent_bytes: u32,
}

impl Default for ListenOptions {
    fn default() -> ListenOptions {
        ListenOptions { backlog: 4096, send_buffer_bytes: 128 * 1024, unsent_bytes: 16 * 1024 }
    }
}

/// The listening sockets of one address.
#[derive(Debug)]
pub struct ListenerSet {
    /// The address, with the port that was chosen where port 0 was asked for.
    pub address: SocketAddr,
    /// One socket for each shard.
    pub sockets: Vec<OwnedFd>,
    /// The backlog that the kernel uses, if net.core.somaxconn is below the one asked for.
    pub backlog_clamped: Option<u32>,
}

/// Binds and listens, for `shards` shards (at least one).
///
/// An address that any other socket listens on is an error, although SO_REUSEPORT would let two processes of one user
/// share it and each lose half of the connections: so a first bind is tried without it.
pub fn listen(address: SocketAddr, shards: u16, options: &ListenOptions) -> Result<ListenerSet, ListenError> {
    assert!(shards > 0, "a listener needs a shard");
    if address.port() != 0 {
        let probe = socket(address)?;
        bind(&probe, address)?;
    }
    let mut address = address;
    let mut sockets = Vec::with_capacity(usize::from(shards));
    for _ in 0..shards {
        let socket = listening_socket(address, options)?;
        // Port 0: the first socket chooses, and the others share its port.
        let listener = TcpListener::from(socket);
        address = listener.local_addr().map_err(|error| failed(address, "getsockname", &error))?;
        sockets.push(OwnedFd::from(listener));
    }
    let somaxconn: Option<u32> =
        fs::read_to_string("/proc/sys/net/core/somaxconn").ok().and_then(|text| text.trim().parse().ok());
    Ok(ListenerSet { address, sockets, backlog_clamped: somaxconn.filter(|most| *most < options.backlog) })
}

fn listening_socket(address: SocketAddr, options: &ListenOptions) -> Result<OwnedFd, ListenError> {
    let socket = socket(address)?;
    set(&socket, address, "SO_REUSEPORT", libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    set(&socket, address, "SO_SNDBUF", libc::SOL_SOCKET, libc::SO_SNDBUF, options.send_buffer_bytes)?;
    set(&socket, address, "TCP_NODELAY", libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    set(&socket, address, "TCP_NOTSENT_LOWAT", libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, options.unsent_bytes)?;
    bind(&socket, address)?;
    let backlog = i32::try_from(options.backlog).unwrap_or(i32::MAX);
    // SAFETY: takes a descriptor that we own, and an integer.
    check(address, "listen", unsafe { libc::listen(socket.as_raw_fd(), backlog) })?;
    Ok(socket)
}

/// A TCP socket that can be bound to an address with connections in TIME_WAIT; IPv6 only where the address is.
fn socket(address: SocketAddr) -> Result<OwnedFd, ListenError> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: takes integers and makes a descriptor.
    let descriptor = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, libc::IPPROTO_TCP) };
    check(address, "socket", descriptor)?;
    // SAFETY: the descriptor is new, valid, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    set(&socket, address, "SO_REUSEADDR", libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if address.is_ipv6() {
        set(&socket, address, "IPV6_V6ONLY", libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    Ok(socket)
}

fn bind(socket: &OwnedFd, address: SocketAddr) -> Result<(), ListenError> {
    let result = match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: the length is that of the structure, which outlives the call.
            unsafe { libc::bind(socket.as_raw_fd(), (&raw const raw).cast(), size_of_val(&raw) as u32) }
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: the length is that of the structure, which outlives the call.
            unsafe { libc::bind(socket.as_raw_fd(), (&raw const raw).cast(), size_of_val(&raw) as u32) }
        }
    };
    check(address, "bind", result)
}

fn set(
    socket: &OwnedFd,
    address: SocketAddr,
    step: &'static str,
    level: i32,
    option: i32,
    value: u32,
) -> Result<(), ListenError> {
    // SAFETY: the option takes an int, which outlives the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), size_of_val(&value) as u32)
    };
    check(address, step, result)
}

fn check(address: SocketAddr, step: &'static str, result: i32) -> Result<(), ListenError> {
    if result < 0 { Err(failed(address, step, &io::Error::last_os_error())) } else { Ok(()) }
}

fn failed(address: SocketAddr, step: &'static str, error: &io::Error) -> ListenError {
    ListenError { address, step, errno: Errno(error.raw_os_error().unwrap_or(libc::EIO)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv6Addr, TcpStream};

    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    fn option(socket: &impl AsRawFd, level: i32, option: i32) -> i32 {
        let (mut value, mut length) = (0i32, size_of::<i32>() as u32);
        // SAFETY: both out-parameters outlive the call and have the sizes that it is told.
        let result =
            unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut length) };
        assert_eq!(result, 0);
        value
    }

    /// Accepted sockets have what was set on the listener, so that nothing need be set on each.
    #[test]
    fn accepted_sockets_inherit_the_options() {
        let options = ListenOptions { send_buffer_bytes: 64 * 1024, ..ListenOptions::default() };
        let mut set = listen(LOOPBACK, 1, &options).expect("a free port");
        let listener = TcpListener::from(set.sockets.pop().expect("one socket"));
        let _client = TcpStream::connect(set.address).expect("it listens");
        let (accepted, _) = listener.accept().expect("a connection waits");
        assert_ne!(option(&accepted, libc::IPPROTO_TCP, libc::TCP_NODELAY), 0);
        assert_eq!(option(&accepted, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT), 16 * 1024);
        assert_eq!(option(&accepted, libc::SOL_SOCKET, libc::SO_SNDBUF), 2 * 64 * 1024);
    }

    /// All shards share the port that the first one chose.
    #[test]
    fn shards_share_the_chosen_port() {
        let set = listen(LOOPBACK, 3, &ListenOptions::default()).expect("a free port");
        assert_ne!(set.address.port(), 0);
        for socket in set.sockets {
            assert_eq!(TcpListener::from(socket).local_addr().expect("bound"), set.address);
        }
    }

    /// A second set at the same address is refused, and the message helps.
    #[test]
    fn an_address_in_use_is_refused() {
        let first = listen(LOOPBACK, 1, &ListenOptions::default()).expect("a free port");
        let error = listen(first.address, 1, &ListenOptions::default()).expect_err("it is in use");
        assert_eq!(error.errno, Errno(libc::EADDRINUSE));
        let message = error.to_string();
        assert!(message.contains(&first.address.to_string()) && message.contains("ss -ltnp"), "{message}");
    }

    /// IPv4 and IPv6 of one port are two listeners.
    #[test]
    fn ipv6_leaves_ipv4_alone() {
        let v6 = match listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), 1, &ListenOptions::default()) {
            Err(ListenError { errno: Errno(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL), .. }) => return,
            result => result.expect("a free port"),
        };
        let v4 = SocketAddr::new(LOOPBACK.ip(), v6.address.port());
        listen(v4, 1, &ListenOptions::default()).expect("IPV6_V6ONLY leaves the port to IPv4");
    }
}
