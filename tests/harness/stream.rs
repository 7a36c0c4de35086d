//! How a client's bytes travel: over TCP or TLS, and there as they are or in the frames of a WebSocket.

use std::env;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::DEADLINE;
use crate::authority;
use crate::tls::{TlsClient, TlsStream};
use crate::websocket::WebSocket;

/// What clients of this run connect by: `RINGMAIN_TEST_TRANSPORT` is `tcp`, or `ws`, `tls` or `wss` to put the suites
/// through those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// WebSocket over TCP.
    Ws,
    /// TLS over TCP.
    Tls,
    /// WebSocket over TLS over TCP.
    Wss,
}

impl Transport {
    /// The transport of this run.
    pub fn tested() -> Self {
        match env::var("RINGMAIN_TEST_TRANSPORT").as_deref() {
            Err(_) | Ok("" | "tcp") => Self::Tcp,
            Ok("ws") => Self::Ws,
            Ok("tls") => Self::Tls,
            Ok("wss") => Self::Wss,
            Ok(other) => panic!("RINGMAIN_TEST_TRANSPORT is {other}; it may be tcp, ws, tls or wss"),
        }
    }

    /// As listeners are configured.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Ws => "ws",
            Self::Tls => "tls",
            Self::Wss => "wss",
        }
    }

    /// What else a listener for it needs.
    pub fn keys(self) -> String {
        match self {
            Self::Tcp | Self::Ws => String::new(),
            Self::Tls | Self::Wss => authority::of_this_run().1.keys(),
        }
    }

    /// Connects.
    pub fn open(self, address: SocketAddr) -> Stream {
        match self {
            Self::Tcp => {
                let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("the broker accepts");
                stream.set_nodelay(true).expect("a TCP socket");
                stream.set_write_timeout(Some(DEADLINE)).expect("a TCP socket");
                Stream::Tcp(stream)
            }
            Self::Ws => Stream::Ws(WebSocket::connect(address)),
            Self::Tls => Stream::Tls(Box::new(TlsClient::of_this_run().connect(address).expect("a handshake"))),
            Self::Wss => {
                let tls = TlsClient::of_this_run().connect(address).expect("a handshake");
                Stream::Ws(WebSocket::connect_over(Carrier::Tls(Box::new(tls))))
            }
        }
    }
}

/// What carries bytes as they are.
#[derive(Debug)]
pub enum Carrier {
    /// TCP.
    Tcp(TcpStream),
    /// TLS.
    Tls(Box<TlsStream>),
}

impl Carrier {
    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(socket) => socket,
            Self::Tls(tls) => tls.socket(),
        }
    }
}

impl Read for Carrier {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(out),
            Self::Tls(tls) => tls.read(out),
        }
    }
}

impl Write for Carrier {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(_) => Ok(()),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over TLS.
    Tls(Box<TlsStream>),
    /// In frames.
    Ws(WebSocket),
}

impl Stream {
    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(socket) => socket,
            Self::Tls(tls) => tls.socket(),
            Self::Ws(web) => web.socket(),
        }
    }

    /// How long a read may wait.
    pub fn set_read_timeout(&self, timeout: Duration) {
        self.socket().set_read_timeout(Some(timeout)).expect("a TCP socket");
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(out),
            Self::Tls(tls) => tls.read(out),
            Self::Ws(web) => web.read(out),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
            Self::Ws(web) => web.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(tls) => tls.flush(),
            Self::Tcp(_) | Self::Ws(_) => Ok(()),
        }
    }
}
