//! The real program over real sockets, one process for each case: it starts in some 3 ms, and no case sees another.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use ringmain_tests::stream::Stream;
use ringmain_tests::{Broker as Process, Setup, Transport};
use rustix::net::sockopt::set_socket_linger;

use crate::broker::{Arrival, Broker, Goodbye};

/// How long expected bytes may take: generous, as test machines are busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running broker and the connections to it.
pub struct Live {
    process: Process,
    /// `None` after a reset.
    connections: Vec<Option<Stream>>,
}

impl Live {
    /// Starts a broker with this many shards and these lines of its configuration.
    pub fn start(shards: u32, settings: &str) -> Self {
        Self { process: Setup::shards(shards).toml(settings).start(), connections: Vec::new() }
    }
}

impl Broker for Live {
    fn open(&mut self) -> usize {
        let stream = Transport::tested().open(self.process.address());
        stream.set_read_timeout(PATIENCE);
        self.connections.push(Some(stream));
        self.connections.len() - 1
    }

    fn send(&mut self, connection: usize, bytes: &[u8]) {
        if let Some(stream) = &mut self.connections[connection] {
            // An error only shows that the broker has closed, which the reading side will see.
            let _ = stream.write_all(bytes);
            // Gives the broker a chance to see these bytes apart from the next.
            thread::yield_now();
        }
    }

    fn receive(&mut self, connection: usize, into: &mut Vec<u8>) -> Arrival {
        let Some(stream) = &mut self.connections[connection] else { return Arrival::End };
        let mut chunk = [0; 16 * 1024];
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => return Arrival::End,
                Ok(len) => {
                    into.extend_from_slice(&chunk[..len]);
                    return Arrival::Bytes;
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Arrival::Nothing,
                    _ => return Arrival::End,
                },
            }
        }
    }

    fn hang_up(&mut self, connection: usize, goodbye: Goodbye) {
        match goodbye {
            // Errors only say that the connection has ended already.
            Goodbye::Fin => {
                let _ = self.connections[connection].as_ref().map(|stream| stream.socket().shutdown(Shutdown::Write));
            }
            Goodbye::Reset => {
                let stream = self.connections[connection].take();
                let _ = stream.map(|stream| set_socket_linger(stream.socket(), Some(Duration::ZERO)));
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        thread::sleep(time);
    }

    fn log(&self) -> String {
        match self.process.log() {
            nothing if nothing.is_empty() => nothing,
            log => format!("the broker's log:\n{log}"),
        }
    }
}
