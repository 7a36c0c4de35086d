//! A run under access control: users with rules that change while they are connected.
//!
//! ```text
//!   act     ─▶ somebody connects, subscribes, publishes, goes; or other rules are put in force, on every shard in its turn
//!   advance ─▶ some shards take turns, verdicts about clients come, clients read
//!   rest    ─▶ nothing is under way: rules of before are not in force any more, and what is allowed must have come
//! ```
//! The oracle asks for no more than is certain. Rules are in force from the moment at which they were given to the switch
//! to the first rest behind those that followed: nothing comes to who may not read it by any that were in force between
//! its publish and its delivery, nor from who may not write it by any since it was published; a will, since its client
//! has gone; a retained message, since it was asked for. At a rest all that the only rules in force allow has come.

mod heard;
mod rules;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use switch::access::desk::{Desk, News, Question, Request};
use switch::access::identity::Particulars;
use switch::access::{Identity, Policy, Verdict, mosquitto};
use switch::config::Settings;
use switch::routing::parcel::rank_specs;

use self::rules::Rules;
use crate::kernel::{Faults, Sizes, SocketId};
use crate::machine::{Machine, Plan, Step};
use crate::model::{MessageId, PAYLOAD_MIN, Tick, payload};
use crate::packet::{self, Connect, Publish, Version, Will};
use crate::topics::matches;
use crate::trace::{Trace, trace};
use crate::world::{Check, Report, TURNS_MAX, fail};

const TOPICS: [&str; 7] = ["a", "a/b", "a/c", "b", "b/c", "w/1", "w/2"];
/// Of which the last are for wills.
const WILLS: usize = 2;
const FILTERS: [&str; 8] = ["#", "a/#", "a/+", "a/b", "+/c", "b", "w/#", "$SYS/#"];
/// The filter of what the switch says of itself, which is for the operator.
const SYS: usize = FILTERS.len() - 1;
/// Users: the first one is an operator.
const USERS: [&str; 3] = ["u0", "u1", "u2"];
const VERSION: Version = Version::V5;

/// A message that a client published, or left as its will.
struct Message {
    topic: usize,
    qos: u8,
    client: usize,
    /// When it was published; a will: when its connection has ended.
    sent: Tick,
    /// Who must have got it at the next rest.
    owed: Vec<usize>,
    /// It was acknowledged as taken.
    taken: bool,
}

/// A client and its connection.
struct Client {
    name: String,
    user: usize,
    socket: Option<SocketId>,
    input: Vec<u8>,
    open: bool,
    /// When CONNECT was sent.
    asked: Tick,
    durable: bool,
    will: Option<MessageId>,
    packet_id: u16,
    /// SUBSCRIBE packets that are not answered: identifier, filter, whether shared.
    requests: Vec<(u16, usize, bool)>,
    /// Filters, not shared, that were granted.
    subs: Vec<usize>,
    /// PUBLISH packets that are not answered.
    outstanding: Vec<(u16, MessageId)>,
    /// When it asked for retained messages first since the last rest.
    fetches: Option<Tick>,
    got: HashSet<MessageId>,
}

/// A run under access control.
pub struct Guarded {
    machine: Machine,
    desk: Arc<Desk>,
    rng: Rng,
    trace: Trace,
    tick: Tick,
    rules: Vec<Rules>,
    /// When everything was at rest last.
    rested: Tick,
    clients: Vec<Client>,
    messages: Vec<Message>,
    /// Who waits for a verdict.
    waiting: Vec<Request>,
    deliveries: u64,
    out: Vec<u8>,
}

impl Guarded {
    /// The run of a seed, at its beginning.
    pub fn new(seed: u64, print: bool) -> Guarded {
        let mut rng = Rng::with_seed(seed ^ 0x6761_7465);
        let shards = rng.u16(1..4);
        let mut settings = Settings::default();
        settings.sys.interval = Duration::ZERO;
        // Nobody is there: this run answers in place of the service.
        settings.access.http.url = Some("http://service.invalid/".to_owned());
        settings.access.operators = vec![USERS[0].to_owned()];
        let desk = Desk::open(&settings, shards).expect("it reads no files").expect("clients are judged");
        let ranks = rank_specs(&settings.limits, shards).to_vec();
        let rate = |rng: &mut Rng, most: u16| if rng.bool() { 0 } else { rng.u16(1..most) };
        let faults = Faults { split: rate(&mut rng, 30_000), late: rate(&mut rng, 20_000), ..Faults::default() };
        let sizes = Sizes { slots: 4096, buffers: 16, buffer_bytes: 512, send_bytes: 16 << 10 };
        let plan = Plan { shards, settings, sizes, faults, ranks, stalls: rate(&mut rng, 2_000), disk: None };
        let machine = Machine::guarded(&plan, rng.u64(..), Arc::clone(&desk));
        let client = |index: usize| Client {
            name: format!("g{index}"),
            user: index % USERS.len(),
            socket: None,
            input: Vec::new(),
            open: false,
            asked: 0,
            durable: false,
            will: None,
            packet_id: 0,
            requests: Vec::new(),
            subs: Vec::new(),
            outstanding: Vec::new(),
            fetches: None,
            got: HashSet::new(),
        };
        let clients = (0..rng.usize(3..8)).map(client).collect();
        let mut guarded = Guarded {
            machine,
            desk,
            rng,
            trace: Trace::new(print),
            tick: 0,
            rules: Vec::new(),
            rested: 0,
            clients,
            messages: Vec::new(),
            waiting: Vec::new(),
            deliveries: 0,
            out: Vec::new(),
        };
        guarded.reload();
        guarded.machine.kernel_mut().print = print;
        trace!(guarded, "seed {seed}, guarded: {} shards, {faults:?}", plan.shards);
        guarded
    }

    /// Runs until the switch has handled that many events, and then to the end.
    ///
    /// # Errors
    /// The first promise that was not kept.
    pub fn run(&mut self, events: u64) -> Check<Report> {
        self.rest()?;
        while self.machine.handled() < events {
            self.act()?;
            for _ in 0..self.rng.u32(1..12) {
                if matches!(self.machine.step(), Step::Idle(_)) {
                    break;
                }
            }
            self.answer(3);
            self.read_all()?;
        }
        self.rest()?;
        Ok(Report {
            events: self.machine.handled(),
            turns: self.machine.turns,
            messages: self.messages.len() as u64,
            deliveries: self.deliveries,
            crashes: 0,
            fingerprint: self.trace.fingerprint(),
        })
    }

    fn act(&mut self) -> Check {
        let client = self.rng.usize(..self.clients.len());
        let open = self.clients[client].open;
        match self.rng.u32(..100) {
            0..3 => self.reload(),
            3..13 => return self.rest(),
            13..20 if open => self.leave(client),
            20..45 if open => self.subscribe(client),
            _ if open => self.publish(client),
            _ if self.clients[client].socket.is_none() => self.connect(client),
            _ => {}
        }
        Ok(())
    }

    fn tick(&mut self) -> Tick {
        self.tick += 1;
        self.tick
    }

    /// Other rules, for one user or all.
    fn reload(&mut self) {
        const WORDS: [&str; 6] = ["read", "read", "write", "write", "readwrite", "deny"];
        const FILTERS: [&str; 9] = ["#", "a/#", "a/+", "a", "a/b", "b/#", "w/#", "w/1", "+/c"];
        let rng = &mut self.rng;
        let mut lines = self.rules.last().map_or_else(Default::default, |rules| rules.lines.clone());
        let one = (!self.rules.is_empty()).then(|| rng.usize(..USERS.len()));
        for (user, lines) in lines.iter_mut().enumerate() {
            if one.is_none_or(|one| one == user) {
                let count = rng.usize(..6);
                let line = |_| (WORDS[rng.usize(..WORDS.len())], FILTERS[rng.usize(..FILTERS.len())]);
                *lines = (0..count).map(line).collect();
            }
        }
        let rules = Rules { lines, until: None };
        trace!(self, "rules {}", rules.text().replace('\n', "; "));
        let mut policy = Policy::default();
        mosquitto::parse(&rules.text(), &mut policy).expect("good rules");
        policy.operators = [USERS[0].into()].into();
        let book = self.desk.book();
        self.desk.replace(switch::access::desk::Book { policy: Arc::new(policy), ..book });
        self.machine.wake_all();
        self.rules.push(rules);
        // What is owed was owed by rules that may not be in force any more.
        self.messages.iter_mut().for_each(|message| message.owed.clear());
    }

    fn connect(&mut self, client: usize) {
        let shard = self.rng.u16(..self.machine.shards());
        let socket = self.machine.kernel_mut().connect(shard);
        let tick = self.tick();
        let will = self.rng.bool().then(|| {
            let (topic, qos) = (TOPICS.len() - 1 - self.rng.usize(..WILLS), self.rng_qos());
            self.message(client, topic, qos)
        });
        let (clean, durable, retain) = (self.rng.bool(), self.rng.bool(), self.rng.u8(..4) == 0);
        let body = will.map(|will| payload(will, PAYLOAD_MIN));
        let state = &mut self.clients[client];
        (state.socket, state.asked, state.durable, state.will) = (Some(socket), tick, durable, will);
        state.input.clear();
        if clean {
            state.subs.clear();
        }
        let will = will.zip(body.as_deref()).map(|(will, payload)| {
            let Message { topic, qos, .. } = self.messages[will as usize];
            Will { topic: TOPICS[topic], payload, qos, retain, delay: 0 }
        });
        let expiry = if durable { 3600 } else { 0 };
        trace!(self, "{} CONNECT clean {clean} expiry {expiry} will {:?}", state.name, state.will);
        packet::connect(&mut self.out, &Connect { clean, expiry, will, ..Connect::plain(&state.name) });
        self.send(client);
    }

    fn rng_qos(&mut self) -> u8 {
        self.rng.u8(..2)
    }

    fn message(&mut self, client: usize, topic: usize, qos: u8) -> MessageId {
        let sent = self.tick();
        self.messages.push(Message { topic, qos, client, sent, owed: Vec::new(), taken: qos == 0 });
        (self.messages.len() - 1) as MessageId
    }

    fn send(&mut self, client: usize) {
        let Some(socket) = self.clients[client].socket else { return self.out.clear() };
        self.trace.fold(client as u64, &self.out);
        self.machine.kernel_mut().client_sends(socket, &self.out);
        self.out.clear();
    }

    fn next_id(&mut self, client: usize) -> u16 {
        let state = &mut self.clients[client];
        state.packet_id = state.packet_id.wrapping_add(1).max(1);
        state.packet_id
    }

    fn subscribe(&mut self, client: usize) {
        let filter = self.rng.usize(..FILTERS.len());
        let shared = filter != SYS && self.rng.u8(..4) == 0;
        let (id, tick) = (self.next_id(client), self.tick());
        let text = if shared { format!("$share/g/{}", FILTERS[filter]) } else { FILTERS[filter].to_owned() };
        trace!(self, "{} SUBSCRIBE {id} {text}", self.clients[client].name);
        let qos = self.rng_qos();
        packet::subscribe(&mut self.out, VERSION, id, 0, &[(&text, qos)]);
        let state = &mut self.clients[client];
        state.fetches.get_or_insert(tick);
        state.requests.push((id, filter, shared));
        self.send(client);
    }

    fn publish(&mut self, client: usize) {
        let (topic, qos, retain) = (self.rng.usize(..TOPICS.len() - WILLS), self.rng_qos(), self.rng.u8(..6) == 0);
        let message = self.message(client, topic, qos);
        let id = if qos == 0 { 0 } else { self.next_id(client) };
        if qos > 0 {
            self.clients[client].outstanding.push((id, message));
        }
        let sole = self.sole_rules();
        let topic_name = TOPICS[topic];
        if sole.is_some_and(|rules| rules.allow(self.clients[client].user, "write", topic_name)) {
            let owed = |name: &Client| {
                name.open
                    && name.asked < self.rested
                    && name.subs.iter().any(|filter| matches(FILTERS[*filter], topic_name))
                    && name.requests.is_empty()
                    && sole.is_some_and(|rules| rules.allow(name.user, "read", topic_name))
            };
            let owed = self.clients.iter().enumerate().filter(|(_, name)| owed(name)).map(|(index, _)| index);
            self.messages[message as usize].owed = owed.collect();
        }
        trace!(self, "{} PUBLISH m{message} {topic_name} qos {qos} id {id} retain {retain}", self.clients[client].name);
        let payload = payload(message, PAYLOAD_MIN);
        let publish = Publish { dup: false, qos, retain, topic: topic_name, id, expiry: 0, payload: &payload };
        packet::publish(&mut self.out, VERSION, &publish);
        self.send(client);
    }

    /// A client goes, with a goodbye or without.
    fn leave(&mut self, client: usize) {
        let tick = self.tick();
        let goodbye = self.rng.bool();
        trace!(self, "{} {}", self.clients[client].name, if goodbye { "DISCONNECT" } else { "goes" });
        if goodbye {
            packet::disconnect(&mut self.out, VERSION, 0, None);
            self.send(client);
        }
        if let Some(will) = self.clients[client].will.filter(|_| !goodbye) {
            self.messages[will as usize].sent = tick;
        }
        if let Some(socket) = self.clients[client].socket {
            self.machine.kernel_mut().client_closes(socket);
        }
        self.gone(client);
    }

    fn gone(&mut self, client: usize) {
        let state = &mut self.clients[client];
        (state.socket, state.open, state.fetches) = (None, false, None);
        state.requests.clear();
        state.outstanding.clear();
        if !state.durable {
            state.subs.clear();
        }
        for message in &mut self.messages {
            // What was on its way from it may be lost.
            message.owed.retain(|owed| *owed != client && message.client != client);
        }
    }

    /// Verdicts about clients that wait: of four, so many come now.
    fn answer(&mut self, of_four: u8) {
        self.waiting.extend(self.desk.requests_to(0).try_iter());
        for Request { shard, connection, question } in std::mem::take(&mut self.waiting) {
            let Question::Connect(credentials, _) = &question else { continue };
            if self.rng.u8(..4) >= of_four {
                self.waiting.push(Request { shard, connection, question });
                continue;
            }
            let user = self.clients.iter().find(|client| *client.name == *credentials.client_id);
            let user = USERS[user.expect("all clients are ours").user];
            let identity =
                Identity::new(Some(user), &credentials.client_id, &credentials.origin, Particulars::default());
            let verdict = Verdict::Accepted(Arc::new(identity.expect("no rules of its own")));
            self.desk.tell(shard, News::Verdict(connection, verdict, None));
            self.machine.wake_all();
        }
    }

    /// Everything comes to rest, and is looked at.
    fn rest(&mut self) -> Check {
        loop {
            if self.machine.settle(TURNS_MAX).is_none() {
                fail!("the switch does not come to rest within {TURNS_MAX} turns");
            }
            self.answer(4);
            if !self.read_all()? && self.machine.is_idle() {
                break;
            }
        }
        self.rested = self.tick();
        let count = self.rules.len();
        for rules in &mut self.rules[..count - 1] {
            rules.until.get_or_insert(self.tick);
        }
        for (number, message) in self.messages.iter_mut().enumerate() {
            let missing = message.owed.iter().find(|owed| !self.clients[**owed].got.contains(&(number as MessageId)));
            if let Some(missing) = missing.filter(|_| message.taken) {
                let (name, topic) = (&self.clients[*missing].name, TOPICS[message.topic]);
                fail!("m{number} on {topic} did not come to {name}, who may read it");
            }
            message.owed.clear();
        }
        for client in &mut self.clients {
            client.fetches = None;
            if let Some((id, ..)) = client.requests.first() {
                fail!("{} has no answer to SUBSCRIBE {id}", client.name);
            }
            if let Some((id, message)) = client.outstanding.first() {
                fail!("{} has no answer to PUBLISH {id}, m{message}", client.name);
            }
            if client.socket.is_some() && !client.open {
                fail!("{} has no answer to CONNECT", client.name);
            }
        }
        Ok(())
    }
}
