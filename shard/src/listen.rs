//! Listening sockets: one for each shard at every address (SO_REUSEPORT), so that the kernel deals out connections.
//!
//! What accepted sockets need is set here, once: they inherit it from the listener.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::driver::Errno;
use crate::error::ListenError;

/// Where a listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An address and a port of TCP.
    Tcp(SocketAddr),
    /// A Unix socket in the file system.
    Unix(PathBuf),
}

impl Endpoint {
    /// Whether only this machine reaches it.
    pub fn is_local(&self) -> bool {
        match self {
            Endpoint::Tcp(address) => address.ip().is_loopback(),
            Endpoint::Unix(_) => true,
        }
    }

    /// The address, if it is one of TCP.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Endpoint::Tcp(address) => Some(*address),
            Endpoint::Unix(_) => None,
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Endpoint::Tcp(address) => address.fmt(f),
            Endpoint::Unix(path) => path.display().fmt(f),
        }
    }
}

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

/// The listening sockets of one endpoint.
#[derive(Debug)]
pub struct ListenerSet {
    /// The endpoint, with the port that was chosen where port 0 was asked for.
    pub endpoint: Endpoint,
    /// One socket for each shard.
    pub sockets: Vec<OwnedFd>,
    /// The backlog that the kernel uses, if net.core.somaxconn is below the one asked for.
    pub backlog_clamped: Option<u32>,
}

/// Binds and listens at an endpoint, for `shards` shards (at least one).
pub fn listen(endpoint: &Endpoint, shards: u16, options: &ListenOptions) -> Result<ListenerSet, ListenError> {
    assert!(shards > 0, "a listener needs a shard");
    match endpoint {
        Endpoint::Tcp(address) => listen_tcp(*address, shards, options),
        Endpoint::Unix(path) => listen_unix(path, shards, options),
    }
}

/// A Unix socket has no SO_REUSEPORT: all shards accept from one queue, each by a descriptor of its own. A socket that a
/// process left behind, which nobody listens on, is replaced; any other file is not touched.
fn listen_unix(path: &Path, shards: u16, options: &ListenOptions) -> Result<ListenerSet, ListenError> {
    let endpoint = Endpoint::Unix(path.to_owned());
    let failed = |step: &'static str| {
        let endpoint = endpoint.clone();
        move |error: io::Error| ListenError {
            endpoint,
            step,
            errno: Errno(error.raw_os_error().unwrap_or(libc::EINVAL)),
        }
    };
    let left_behind = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if left_behind {
        fs::remove_file(path).map_err(failed("unlink"))?;
    }
    let listener = UnixListener::bind(path).map_err(failed("bind"))?;
    let backlog = i32::try_from(options.backlog).unwrap_or(i32::MAX);
    // SAFETY: takes a descriptor that we own, and an integer; listening again changes the backlog alone.
    if unsafe { libc::listen(listener.as_raw_fd(), backlog) } < 0 {
        return Err(failed("listen")(io::Error::last_os_error()));
    }
    set(&listener, &endpoint, "SO_SNDBUF", libc::SOL_SOCKET, libc::SO_SNDBUF, options.send_buffer_bytes)?;
    let first = OwnedFd::from(listener);
    let mut sockets = Vec::with_capacity(usize::from(shards));
    for _ in 1..shards {
        sockets.push(first.try_clone().map_err(failed("dup"))?);
    }
    sockets.push(first);
    Ok(ListenerSet { endpoint, sockets, backlog_clamped: backlog_clamped(options) })
}

/// Binds and listens at an address.
///
/// An address that any other socket listens on is an error, although SO_REUSEPORT would let two processes of one user
/// share it and each lose half of the connections: so a first bind is tried without it.
fn listen_tcp(address: SocketAddr, shards: u16, options: &ListenOptions) -> Result<ListenerSet, ListenError> {
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
        address = listener.local_addr().map_err(|error| failed(Endpoint::Tcp(address), "getsockname", &error))?;
        sockets.push(OwnedFd::from(listener));
    }
    Ok(ListenerSet { endpoint: Endpoint::Tcp(address), sockets, backlog_clamped: backlog_clamped(options) })
}

/// The backlog that the kernel uses, if it is not the one asked for.
fn backlog_clamped(options: &ListenOptions) -> Option<u32> {
    let somaxconn: Option<u32> =
        fs::read_to_string("/proc/sys/net/core/somaxconn").ok().and_then(|text| text.trim().parse().ok());
    somaxconn.filter(|most| *most < options.backlog)
}

fn listening_socket(address: SocketAddr, options: &ListenOptions) -> Result<OwnedFd, ListenError> {
    let socket = socket(address)?;
    let at = &Endpoint::Tcp(address);
    set(&socket, at, "SO_REUSEPORT", libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    set(&socket, at, "SO_SNDBUF", libc::SOL_SOCKET, libc::SO_SNDBUF, options.send_buffer_bytes)?;
    set(&socket, at, "TCP_NODELAY", libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    set(&socket, at, "TCP_NOTSENT_LOWAT", libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, options.unsent_bytes)?;
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
    let at = &Endpoint::Tcp(address);
    set(&socket, at, "SO_REUSEADDR", libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if address.is_ipv6() {
        set(&socket, at, "IPV6_V6ONLY", libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
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
    socket: &impl AsRawFd,
    endpoint: &Endpoint,
    step: &'static str,
    level: i32,
    option: i32,
    value: u32,
) -> Result<(), ListenError> {
    // SAFETY: the option takes an int, which outlives the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), size_of_val(&value) as u32)
    };
    if result < 0 { Err(failed(endpoint.clone(), step, &io::Error::last_os_error())) } else { Ok(()) }
}

fn check(address: SocketAddr, step: &'static str, result: i32) -> Result<(), ListenError> {
    if result < 0 { Err(failed(Endpoint::Tcp(address), step, &io::Error::last_os_error())) } else { Ok(()) }
}

fn failed(endpoint: Endpoint, step: &'static str, error: &io::Error) -> ListenError {
    ListenError { endpoint, step, errno: Errno(error.raw_os_error().unwrap_or(libc::EIO)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv6Addr, TcpStream};

    const LOOPBACK: Endpoint = Endpoint::Tcp(SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0));

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
        let mut set = listen(&LOOPBACK, 1, &options).expect("a free port");
        let listener = TcpListener::from(set.sockets.pop().expect("one socket"));
        let _client = TcpStream::connect(set.endpoint.tcp().expect("TCP")).expect("it listens");
        let (accepted, _) = listener.accept().expect("a connection waits");
        assert_ne!(option(&accepted, libc::IPPROTO_TCP, libc::TCP_NODELAY), 0);
        assert_eq!(option(&accepted, libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT), 16 * 1024);
        assert_eq!(option(&accepted, libc::SOL_SOCKET, libc::SO_SNDBUF), 2 * 64 * 1024);
    }

    /// All shards share the port that the first one chose.
    #[test]
    fn shards_share_the_chosen_port() {
        let set = listen(&LOOPBACK, 3, &ListenOptions::default()).expect("a free port");
        let address = set.endpoint.tcp().expect("TCP");
        assert_ne!(address.port(), 0);
        for socket in set.sockets {
            assert_eq!(TcpListener::from(socket).local_addr().expect("bound"), address);
        }
    }

    /// A second set at the same address is refused, and the message helps.
    #[test]
    fn an_address_in_use_is_refused() {
        let first = listen(&LOOPBACK, 1, &ListenOptions::default()).expect("a free port");
        let error = listen(&first.endpoint, 1, &ListenOptions::default()).expect_err("it is in use");
        assert_eq!(error.errno, Errno(libc::EADDRINUSE));
        let message = error.to_string();
        assert!(message.contains(&first.endpoint.to_string()) && message.contains("ss -ltnp"), "{message}");
    }

    /// IPv4 and IPv6 of one port are two listeners.
    #[test]
    fn ipv6_leaves_ipv4_alone() {
        let v6 =
            match listen(&Endpoint::Tcp(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))), 1, &ListenOptions::default()) {
                Err(ListenError { errno: Errno(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL), .. }) => return,
                result => result.expect("a free port"),
            };
        let port = v6.endpoint.tcp().expect("TCP").port();
        let v4 = SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, port));
        listen(&Endpoint::Tcp(v4), 1, &ListenOptions::default()).expect("IPV6_V6ONLY leaves the port to IPv4");
    }

    /// A Unix socket is shared by all shards; one that nobody listens on any more is replaced, a file is not.
    #[test]
    fn unix_sockets() {
        let folder = std::env::temp_dir().join(format!("ringmain-listen-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder of our own");
        let endpoint = Endpoint::Unix(folder.join("mqtt.sock"));
        let Endpoint::Unix(path) = &endpoint else { unreachable!() };
        let set = listen(&endpoint, 2, &ListenOptions::default()).expect("it is new");
        assert_eq!(set.sockets.len(), 2);
        UnixStream::connect(path).expect("it listens");
        let error = listen(&endpoint, 1, &ListenOptions::default()).expect_err("it is in use");
        assert!(error.to_string().contains("in use"), "{error}");
        drop(set);
        listen(&endpoint, 1, &ListenOptions::default()).expect("nobody listens");
        fs::remove_file(path).expect("it is there");
        fs::write(path, "precious").expect("written");
        assert!(listen(&endpoint, 1, &ListenOptions::default()).is_err());
        assert_eq!(fs::read(path).expect("untouched"), b"precious");
        fs::remove_dir_all(&folder).expect("it was ours");
    }
}
