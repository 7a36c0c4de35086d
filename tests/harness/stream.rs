//! How a client's bytes travel: over TCP, or in the frames of a WebSocket.

use std::env;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::DEADLINE;
use crate::websocket::WebSocket;

/// What clients of this run connect by: `RINGMAIN_TEST_TRANSPORT` is `tcp`, or `ws` to put the suites through WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// WebSocket over TCP.
    Ws,
}

impl Transport {
    /// The transport of this run.
    pub fn tested() -> Self {
        match env::var("RINGMAIN_TEST_TRANSPORT").as_deref() {
            Err(_) | Ok("" | "tcp") => Self::Tcp,
            Ok("ws") => Self::Ws,
            Ok(other) => panic!("RINGMAIN_TEST_TRANSPORT is {other}; it may be tcp or ws"),
        }
    }

    /// As listeners are configured.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Ws => "ws",
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
        }
    }
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// In frames.
    Ws(WebSocket),
}

impl Stream {
    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(socket) => socket,
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
            Self::Ws(web) => web.read(out),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Ws(web) => web.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
