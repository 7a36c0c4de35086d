//! All connections of the load generator, on one thread around one epoll instance.
//!
//! Sockets are registered once, edge-triggered, for reading and writing; a read that does not fill the buffer has
//! emptied the socket. What a pass queues is sent at its end, so that acknowledgements of a burst leave together.

mod reading;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::sockopt;

use crate::client::{Client, Phase};
use crate::histogram::Latencies;
use crate::layers::Carriage;
use crate::packet::{Connect, Publish, Version};
use crate::socket::{self, Sources};

/// Connections that may be under way at once: fewer than the listen backlog of any broker (mosquitto: 100), as a SYN
/// that overflows it is sent again only after a second.
const CONNECTING_MAX: usize = 64;
/// Connections begun in one pass: those that are ready are not to wait for more than a few.
const OPENS_PER_PASS_MAX: usize = 4;
/// Sockets read in one pass, so that the acknowledgements of a burst leave together.
const EVENTS_MAX: usize = 1024;
/// The same where messages are due by the clock and are not to wait for a long pass: 64 reads take 0.1 ms.
const EVENTS_MAX_PACED: usize = 64;

/// How to connect.
pub struct Dial {
    pub targets: Vec<SocketAddr>,
    pub sources: Sources,
    /// What lies between sockets and MQTT.
    pub carriage: Carriage,
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
    /// From the end of the wait that found a socket readable until it had been read: what reading one after the other
    /// may have added to the latencies of messages.
    pub read_lags: Latencies,
    /// Whether passes are short, for messages that are due by the clock.
    pub paced: bool,
    dial: Dial,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    buffer: Vec<u8>,
    /// What was received, and what was in it, where something lies between.
    raw: Vec<u8>,
    opened_bytes: Vec<u8>,
    listed: Vec<u32>,
    /// What those subscribe to that are yet to be connected.
    waiting: VecDeque<Vec<(String, u8)>>,
    /// When connecting began, and how many connections since.
    opening: (u64, u64),
    /// Connections ever begun: the number of the next one.
    opened: usize,
    /// Connections that have begun and are not ready.
    unready: usize,
    /// Steps toward being ready, of all: a connection that is ready, or a SUBSCRIBE that is granted.
    steps: u64,
    /// Publishes unacknowledged and PINGREQs unanswered, of all.
    owed: usize,
    origin: Instant,
    /// When the last wait ended.
    woken: u64,
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
            read_lags: Latencies::new(),
            paced: false,
            dial,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: vec![
                epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
                EVENTS_MAX
            ],
            buffer: vec![0; (2 * packet_bytes_max).max(256 * 1024)],
            raw: vec![0; 64 * 1024],
            opened_bytes: Vec::new(),
            listed: Vec::new(),
            waiting: VecDeque::new(),
            opening: (0, 0),
            opened: 0,
            unready: 0,
            steps: 0,
            owed: 0,
            origin: Instant::now(),
            woken: 0,
            pinged: 0,
        })
    }

    /// Nanoseconds since the run began.
    pub fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// Begins to connect one client for each item; [`Swarm::poll`] goes on with it.
    pub fn enlist(&mut self, subscriptions: Vec<Vec<(String, u8)>>) {
        self.opening = (self.now(), 0);
        self.waiting.extend(subscriptions);
    }

    /// Whether some are not connected or do not have what they subscribe to.
    pub fn connecting(&self) -> bool {
        !self.waiting.is_empty() || self.unready > 0
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
        self.enlist(subscriptions);
        let mut closed = FirstClosed(None);
        let mut moved = (self.now(), self.steps);
        while self.connecting() {
            self.poll(Duration::from_millis(100), &mut closed)?;
            if let Some((client, why)) = closed.0 {
                return Err(io::Error::other(format!("client {client} could not connect and subscribe: {why}")));
            }
            if stop() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if self.steps > moved.1 {
                moved = (self.now(), self.steps);
            }
            if self.now() - moved.0 > patience.as_nanos() as u64 {
                return Err(io::Error::other(format!(
                    "{} of {wanted} clients are connected and none more for {} s; --stall says how long to wait",
                    self.clients.len() - self.unready,
                    patience.as_secs()
                )));
            }
        }
        Ok(())
    }

    /// Says goodbye on the connections from this index on, and forgets them.
    pub fn leave(&mut self, from: usize) {
        self.waiting.clear();
        for client in &mut self.clients[from..] {
            self.owed -= client.owed();
            self.unready -= usize::from(matches!(client.phase, Phase::Connecting | Phase::Subscribing));
            if client.phase != Phase::Closed {
                client.disconnect();
                let _ = client.flush();
            }
        }
        self.listed.retain(|index| (*index as usize) < from);
        self.clients.truncate(from);
    }

    /// Queues a message. Only where the client has room.
    pub fn publish(&mut self, client: u32, qos: u8, retain: bool, topic: &[u8], payload: &[u8]) {
        self.clients[client as usize].publish(qos, retain, topic, payload);
        self.owed += usize::from(qos > 0);
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

    /// Goes on connecting, waits for events for at most `timeout`, and hands what they bring to `sink`.
    ///
    /// # Errors
    /// epoll_wait(2) failed, or a connection could not begin.
    pub fn poll<S: Sink>(&mut self, timeout: Duration, sink: &mut S) -> io::Result<()> {
        let timeout = timeout.min(self.open_waiting()?);
        let timeout = if self.dial.spin { Duration::ZERO } else { timeout };
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        let mut events = std::mem::take(&mut self.events);
        let room = if self.paced { EVENTS_MAX_PACED } else { EVENTS_MAX };
        let ready = match epoll::wait(&self.epoll, &mut events[..room], Some(&timeout)) {
            Ok(count) => count,
            Err(Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        self.woken = self.now();
        for event in &events[..ready] {
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
                self.owed += 1;
                self.list(index);
            }
        }
    }

    /// Whether every publish of every client has been acknowledged, and every PINGREQ answered.
    pub fn settled(&self) -> bool {
        self.owed == 0
    }

    /// Says goodbye on every connection; what cannot be sent at once is not.
    pub fn disconnect(&mut self) {
        for client in self.clients.iter_mut().filter(|client| client.phase != Phase::Closed) {
            client.disconnect();
            let _ = client.flush();
            client.phase = Phase::Closed;
        }
    }

    /// Begins as many connections as may begin now; returns how long until more may.
    fn open_waiting(&mut self) -> io::Result<Duration> {
        if self.waiting.is_empty() {
            return Ok(Duration::MAX);
        }
        let (begun, mut opened) = self.opening;
        let since = (self.now() - begun) as f64;
        let allowed = self.dial.rate.map_or(u64::MAX, |rate| (since * rate / 1e9) as u64 + 1);
        for _ in 0..OPENS_PER_PASS_MAX {
            if opened >= allowed {
                break;
            }
            if self.unready >= CONNECTING_MAX {
                return Ok(Duration::MAX);
            }
            let Some(subscriptions) = self.waiting.pop_front() else { break };
            self.open(subscriptions)?;
            opened += 1;
            self.opening.1 = opened;
        }
        Ok(if opened < allowed { Duration::ZERO } else { Duration::from_millis(1) })
    }

    fn open(&mut self, subscriptions: Vec<(String, u8)>) -> io::Result<()> {
        let index = self.clients.len();
        let number = self.opened;
        self.opened += 1;
        let started = self.now();
        let to = self.target(number);
        let socket = socket::open(to, &mut self.dial.sources, number)?;
        let mut connect = Vec::new();
        Connect {
            version: self.dial.version,
            client_id: &format!("{}{number}", self.dial.prefix),
            clean: true,
            keep_alive: self.dial.keep_alive,
            user_name: self.dial.user_name.as_deref(),
            password: self.dial.password.as_deref(),
        }
        .write(&mut connect);
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(index as u64), flags)?;
        let mut client = Client::new(socket, self.dial.version, connect, subscriptions);
        client.layers = self.dial.carriage.begin(&mut client.wire);
        (client.started, client.number) = (started, number);
        self.clients.push(client);
        self.unready += 1;
        Ok(())
    }

    /// The broker's address that the connection with this number uses.
    fn target(&self, number: usize) -> SocketAddr {
        self.dial.targets[number % self.dial.targets.len()]
    }

    fn writable<S: Sink>(&mut self, index: u32, sink: &mut S) {
        let client = &mut self.clients[index as usize];
        if client.phase == Phase::Closed || !client.has_unsent() {
            return;
        }
        if let Ok(Err(error)) = sockopt::socket_error(&client.socket) {
            let why = if client.phase == Phase::Connecting {
                let number = client.number;
                socket::refused(error, self.target(number)).to_string()
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
        let client = &mut self.clients[index as usize];
        self.owed -= client.owed();
        self.unready -= usize::from(matches!(client.phase, Phase::Connecting | Phase::Subscribing));
        client.phase = Phase::Closed;
        let _ = epoll::delete(&self.epoll, &client.socket);
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
