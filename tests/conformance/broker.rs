//! What a script runs against: a broker with connections and a clock.

use std::time::Duration;

/// What a wait brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Bytes were appended.
    Bytes,
    /// The broker has ended the connection, by FIN or RST, and all bytes before that have been taken.
    End,
    /// Nothing will come: nothing can happen any more, or the world gave up waiting.
    Nothing,
}

/// How a client ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goodbye {
    /// FIN: what the broker still sends can be received.
    Fin,
    /// RST: nothing more is received.
    Reset,
}

/// A broker, alone in its world. Connections are numbered from 0 in the order in which they were opened.
pub trait Broker {
    /// Opens a connection.
    fn open(&mut self) -> usize;

    /// Sends bytes, apart from those sent before: as one segment. On a connection that has ended they are lost.
    fn send(&mut self, connection: usize, bytes: &[u8]);

    /// Lets the world run until something comes on this connection, and appends all of it.
    fn receive(&mut self, connection: usize, into: &mut Vec<u8>) -> Arrival;

    /// Ends a connection from the client's side.
    fn hang_up(&mut self, connection: usize, goodbye: Goodbye);

    /// Lets this much time pass.
    fn pass(&mut self, time: Duration);

    /// Lets everything happen that needs no time to pass; nothing where that cannot be known.
    fn settle(&mut self) {}

    /// What else there is to know about this world, for the message of a failure.
    fn log(&self) -> String {
        String::new()
    }
}
