//! All connections of the load generator, on one thread around one epoll instance.
//!
//! Sockets are registered once, edge-triggered, for reading and writing; a read that does not fill the buffer has
//! emptied the socket. What a pass queues is sent at its end, so that acknowledgements of a burst leave together.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv, sockopt};

use crate::client::{Client, Heard, Phase};
use crate::histogram::Latencies;
use crate::packet::{self, Connect, Malformed, Publish, Version};
use crate::socket::{self, Sources};

/// Connections that may be under way at once: fewer than the listen backlog of any broker (mosquitto: 100), as a SYN
/// that overflows it is sent again only after a second.
const CONNECTING_MAX: usize = 64;
const EVENTS_MAX: usize = 1024;

/// How to connect.
pub struct Dial {
    pub targets: Vec<SocketAddr>,
    pub sources: Sources,
    pub version: Version,
    pub keep_alive: u16,
    /// Client ids are this and a number.
    pub prefix: String,
    pub user_name: Option<String>,
    pub password: Option<String>,
    /// Connections begun in a second; none: as fast as they are answered.
    pub rate: Option<f64>,
    /// Never sleep while waiting for events.
    pub spin: bool,
}

/// Who hears what the connections receive.
pub trait Sink {
    /// `client` received a message at `now`.
    fn message(&mut self, client: u32, message: &Publish<'_>, now: u64);
    /// A publish of `client` is complete, with its reason code.
    fn acknowledged(&mut self, client: u32, reason: u8);
    /// The unsent bytes of `client` are gone.
    fn writable(&mut self, client: u32);
    /// The broker closed the connection of `client`, and why.
    fn closed(&mut self, client: u32, why: &str);
}

/// The connections.
pub struct Swarm {
    pub clients: Vec<Client>,
    /// From connect(2) until ready.
    pub connect_times: Latencies,
    dial: Dial,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
    listed: Vec<u32>,
    ready: usize,
    origin: Instant,
    pinged: u64,
}

impl Swarm {
    /// No connections yet; `packet_bytes_max` is the largest packet that they will receive.
    ///
    /// # Errors
    /// epoll_create(2) failed.
    pub fn new(dial: Dial, packet_bytes_max: usize) -> io::Result<Swarm> {
        Ok(Swarm {
            clients: Vec::new(),
            connect_times: Latencies::new(),
            dial,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS_MAX),
            buffer: vec![0; (2 * packet_bytes_max).max(256 * 1024)],
            listed: Vec::new(),
            ready: 0,
            origin: Instant::now(),
            pinged: 0,
        })
    }

    /// Nanoseconds since the run began.
    pub fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// Connects one client for each item, and waits until all have what they subscribed to.
    ///
    /// # Errors
    /// A connection failed, was refused or was closed; `stop` said so; or nothing moved for `patience`.
    pub fn connect(
        &mut self,
        subscriptions: Vec<Vec<(String, u8)>>,
        patience: Duration,
        stop: &dyn Fn() -> bool,
    ) -> io::Result<()> {
        let wanted = self.clients.len() + subscriptions.len();
        let mut waiting = VecDeque::from(subscriptions);
        let mut closed = FirstClosed(None);
        let begun = self.now();
        let (mut moved, mut last_ready) = (begun, self.ready);
        let mut opened = 0_u64;
        while self.ready < wanted {
            let now = self.now();
            let allowed = self.dial.rate.map_or(u64::MAX, |rate| ((now - begun) as f64 * rate / 1e9) as u64 + 1);
            while opened < allowed && self.clients.len() - self.ready < CONNECTING_MAX {
                let Some(subscriptions) = waiting.pop_front() else { break };
                self.open(subscriptions)?;
                opened += 1;
            }
            self.flush(&mut closed);
            let timeout = if self.dial.rate.is_some() { Duration::from_millis(1) } else { Duration::from_millis(100) };
            self.poll(timeout, &mut closed)?;
            if let Some((client, why)) = closed.0 {
                return Err(io::Error::other(format!("client {client} could not connect and subscribe: {why}")));
            }
            if stop() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if self.ready > last_ready {
                (moved, last_ready) = (self.now(), self.ready);
            }
            if self.now() - moved > patience.as_nanos() as u64 {
                return Err(io::Error::other(format!(
                    "{} of {wanted} clients are connected and none more for {} s; --stall says how long to wait",
                    self.ready,
                    patience.as_secs()
                )));
            }
        }
        Ok(())
    }

    /// Queues a message. Only where the client has room.
    pub fn publish(&mut self, client: u32, qos: u8, topic: &[u8], payload: &[u8]) {
        self.clients[client as usize].publish(qos, topic, payload);
        self.list(client);
    }

    /// Sends what is queued.
    pub fn flush<S: Sink>(&mut self, sink: &mut S) {
        let mut listed = std::mem::take(&mut self.listed);
        for index in listed.drain(..) {
            let client = &mut self.clients[index as usize];
            client.listed = false;
            if client.phase == Phase::Closed {
                continue;
            }
            if let Err(error) = client.flush() {
                self.end(index, &format!("cannot send: {error}"), sink);
            }
        }
        self.listed = listed;
    }

    /// Waits for events for at most `timeout`, and hands what they bring to `sink`.
    ///
    /// # Errors
    /// epoll_wait(2) failed.
    pub fn poll<S: Sink>(&mut self, timeout: Duration, sink: &mut S) -> io::Result<()> {
        let timeout = if self.dial.spin { Duration::ZERO } else { timeout };
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let (index, flags) = (event.data.u64() as u32, event.flags);
            if flags.contains(epoll::EventFlags::OUT) {
                self.writable(index, sink);
            }
            let readable = epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
            if flags.intersects(readable) && !self.clients[index as usize].paused {
                self.read(index, sink);
            }
        }
        self.events = events;
        self.keep_alive();
        self.flush(sink);
        Ok(())
    }

    /// Makes a client read nothing, or read again.
    pub fn pause<S: Sink>(&mut self, client: u32, paused: bool, sink: &mut S) {
        self.clients[client as usize].paused = paused;
        if !paused {
            self.read(client, sink);
        }
    }

    /// Queues a PINGREQ for every client. Its answer comes after all that the broker had sent before.
    pub fn ping(&mut self) {
        self.pinged = self.now();
        for index in 0..self.clients.len() as u32 {
            if self.clients[index as usize].phase == Phase::Ready {
                self.clients[index as usize].ping();
                self.list(index);
            }
        }
    }

    /// Whether every publish of every client has been acknowledged, and every PINGREQ answered.
    pub fn settled(&self) -> bool {
        self.clients.iter().all(Client::settled)
    }

    /// Says goodbye on every connection; what cannot be sent at once is not.
    pub fn disconnect(&mut self) {
        for client in self.clients.iter_mut().filter(|client| client.phase != Phase::Closed) {
            client.disconnect();
            let _ = client.flush();
            client.phase = Phase::Closed;
        }
    }

    fn open(&mut self, subscriptions: Vec<(String, u8)>) -> io::Result<()> {
        let index = self.clients.len();
        let started = self.now();
        let to = self.dial.targets[index % self.dial.targets.len()];
        let socket = socket::open(to, &mut self.dial.sources, index)?;
        let mut connect = Vec::new();
        Connect {
            version: self.dial.version,
            client_id: &format!("{}{index}", self.dial.prefix),
            keep_alive: self.dial.keep_alive,
            user_name: self.dial.user_name.as_deref(),
            password: self.dial.password.as_deref(),
        }
        .write(&mut connect);
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(index as u64), flags)?;
        let mut client = Client::new(socket, self.dial.version, connect, subscriptions);
        client.started = started;
        self.clients.push(client);
        Ok(())
    }

    fn writable<S: Sink>(&mut self, index: u32, sink: &mut S) {
        let client = &mut self.clients[index as usize];
        if client.phase == Phase::Closed || !client.has_unsent() {
            return;
        }
        if let Ok(Err(error)) = sockopt::socket_error(&client.socket) {
            let to = self.dial.targets[index as usize % self.dial.targets.len()];
            let why = if client.phase == Phase::Connecting {
                socket::refused(error, to).to_string()
            } else {
                format!("{error}")
            };
            return self.end(index, &why, sink);
        }
        match client.flush() {
            Ok(true) => sink.writable(index),
            Ok(false) => {}
            Err(error) => self.end(index, &format!("cannot send: {error}"), sink),
        }
    }

    fn read<S: Sink>(&mut self, index: u32, sink: &mut S) {
        loop {
            let client = &mut self.clients[index as usize];
            if client.phase == Phase::Closed {
                return;
            }
            let carried = client.partial.len();
            self.buffer[..carried].copy_from_slice(&client.partial);
            client.partial.clear();
            let space = &mut self.buffer[carried..];
            let room = space.len();
            let got = match recv(&client.socket, space, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return self.end(index, "closed by the broker", sink),
                Ok((bytes, _)) => bytes,
                Err(Errno::INTR) => 0,
                Err(Errno::AGAIN) => {
                    client.partial.extend_from_slice(&self.buffer[..carried]);
                    return;
                }
                Err(error) => return self.end(index, &format!("broken: {error}"), sink),
            };
            if let Err(Malformed(what)) = self.packets(index, carried + got, sink) {
                return self.end(index, &format!("the broker sent {what}"), sink);
            }
            if got < room && got > 0 {
                return;
            }
        }
    }

    /// Takes whole packets off the front of the buffer and keeps the rest with the client.
    fn packets<S: Sink>(&mut self, index: u32, len: usize, sink: &mut S) -> Result<(), Malformed> {
        let now = self.now();
        let mut used = 0;
        let client = &mut self.clients[index as usize];
        let mut answered = false;
        while let Some(packet) = packet::front(&self.buffer[used..len])? {
            used += packet.len;
            match client.hear(&packet)? {
                Heard::Message(message) => {
                    answered |= message.qos > 0;
                    sink.message(index, &message, now);
                }
                Heard::Acknowledged(reason) => sink.acknowledged(index, reason),
                Heard::Nothing => answered = true,
                Heard::Ready => {
                    self.ready += 1;
                    self.connect_times.record(now - client.started);
                }
                Heard::End(why) => {
                    self.end(index, &why, sink);
                    return Ok(());
                }
            }
        }
        if used == 0 && len == self.buffer.len() {
            return Err(Malformed("a packet that is larger than any published"));
        }
        client.partial.extend_from_slice(&self.buffer[used..len]);
        if answered {
            self.list(index);
        }
        Ok(())
    }

    /// Pings once in half the keep alive.
    fn keep_alive(&mut self) {
        let now = self.now();
        if self.dial.keep_alive > 0 && now - self.pinged >= u64::from(self.dial.keep_alive) * 500_000_000 {
            self.ping();
        }
    }

    fn list(&mut self, index: u32) {
        let client = &mut self.clients[index as usize];
        if !client.listed {
            client.listed = true;
            self.listed.push(index);
        }
    }

    fn end<S: Sink>(&mut self, index: u32, why: &str, sink: &mut S) {
        self.clients[index as usize].phase = Phase::Closed;
        let _ = epoll::delete(&self.epoll, &self.clients[index as usize].socket);
        sink.closed(index, why);
    }
}

/// While connecting, only a connection that ends is of interest.
struct FirstClosed(Option<(u32, String)>);

impl Sink for FirstClosed {
    fn message(&mut self, _: u32, _: &Publish<'_>, _: u64) {}
    fn acknowledged(&mut self, _: u32, _: u8) {}
    fn writable(&mut self, _: u32) {}
    fn closed(&mut self, client: u32, why: &str) {
        self.0.get_or_insert_with(|| (client, why.to_owned()));
    }
}
