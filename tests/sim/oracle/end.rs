//! The end of a run. Nothing is unkind any more, all clients read and answer: what is owed must come, retained messages
//! must be the last ones, the ledger must add up, and when all have gone nothing may be left behind.

use std::collections::BTreeMap;
use std::time::Duration;

use switch::audit::Holdings;
use switch::counters::{Counter, DROPPED};

use crate::kernel::Faults;
use crate::model::{MessageId, Stage, number_of};
use crate::packet::{self, Packet, Version};
use crate::topics::TOPICS;
use crate::trace::trace;
use crate::world::{Check, TURNS_MAX, World, fail};

impl World {
    /// Brings the run to its end.
    pub(crate) fn end(&mut self) -> Check {
        trace!(self, "the end begins");
        self.swarm.plan.faults = Faults::default();
        self.machine.kernel_mut().faults = Faults::default();
        self.swarm.manners.withheld = 0;
        self.swarm.manners.wills = 0;
        self.come_back_with_kind_disks()?;
        self.everybody_is_prompt()?;
        // Accepts that failed for want of descriptors are tried again; CONNECTs that raced are decided.
        self.pass(Duration::from_secs(2))?;
        self.everybody_is_prompt()?;
        self.look()?;
        self.come_back()?;
        self.ending = true;
        self.look()?;
        self.retained_is_the_last()?;
        self.everybody_goes()?;
        self.nothing_is_left()?;
        self.machine.stop();
        if self.machine.pass(Duration::from_secs(1), TURNS_MAX).is_none() || !self.machine.finished() {
            fail!("the switch does not stop");
        }
        Ok(())
    }

    fn everybody_is_prompt(&mut self) -> Check {
        for conn in self.live.clone() {
            self.conns[conn].paused = false;
            self.release_owing(conn);
        }
        self.rest()
    }

    /// Clients whose session may last come back for what they are owed.
    fn come_back(&mut self) -> Check {
        for client in 0..self.clients.len() {
            let name = &self.clients[client];
            if name.conns.is_empty() && name.session.epoch > 0 && name.session.expiry > 0 {
                let expiry = name.session.expiry;
                self.connect_as(client, false, expiry, 0, false);
                self.rest()?;
            }
        }
        Ok(())
    }

    /// Somebody new subscribes to everything: each topic's retained message is one that may be its last.
    fn retained_is_the_last(&mut self) -> Check {
        let kept = self.ask_for_retained()?;
        for (topic, name) in TOPICS.iter().enumerate() {
            let found = kept.get(name.as_bytes()).copied();
            let all = &self.retained[topic];
            let surely_replaced = |older: MessageId| {
                all.iter().any(|newer| {
                    *newer != older
                        && self.messages[*newer as usize].accepted.is_some()
                        && !self.messages[*newer as usize].will
                        && self.follows(*newer, older)
                })
            };
            match found {
                Some(found) if surely_replaced(found) => {
                    fail!("{name} has m{found} as its retained message, which was replaced")
                }
                Some(found) if !all.contains(&found) => {
                    fail!("{name} has m{found} as its retained message, which was not published so")
                }
                Some(_) => {}
                None => {
                    let may_be_none = |last: &MessageId| {
                        let message = &self.messages[*last as usize];
                        message.bytes == 0 || message.expiry > 0 || message.accepted.is_none() || message.refused
                    };
                    let mut last = all.iter().filter(|message| !surely_replaced(**message));
                    if !all.is_empty() && !last.any(may_be_none) && self.machine.total(Counter::RetainedRefused) == 0 {
                        fail!("{name} has lost its retained message, one of {all:?}");
                    }
                }
            }
        }
        Ok(())
    }

    fn ask_for_retained(&mut self) -> Check<BTreeMap<Vec<u8>, MessageId>> {
        let mut bytes = Vec::new();
        packet::connect(&mut bytes, &packet::Connect::plain("auditor"));
        packet::subscribe(&mut bytes, Version::V5, 1, 0, &[("#", 0), ("$x/#", 0)]);
        let socket = self.machine.kernel_mut().connect(0);
        self.machine.kernel_mut().client_sends(socket, &bytes);
        let mut input = Vec::new();
        // Retained messages come in slices.
        let (mut quiet, mut before) = (0, 0);
        while quiet < 10 {
            self.pass(Duration::from_millis(50))?;
            self.machine.kernel_mut().client_reads(socket, usize::MAX, &mut input);
            quiet = if input.len() == before { quiet + 1 } else { 0 };
            before = input.len();
        }
        let mut kept = BTreeMap::new();
        let mut at = 0;
        while let Some((packet, len)) = packet::parse(&input[at..], Version::V5).map_err(crate::world::Violation)? {
            at += len;
            trace!(self, "auditor < {packet:?}");
            let Packet::Publish(delivery) = packet else { continue };
            let Some(number) = number_of(delivery.payload).filter(|_| delivery.retain) else { continue };
            if kept.insert(delivery.topic.to_vec(), number).is_some() {
                fail!("{:?} has two retained messages", String::from_utf8_lossy(delivery.topic));
            }
        }
        self.machine.kernel_mut().client_resets(socket);
        Ok(kept)
    }

    /// All clients end their sessions.
    fn everybody_goes(&mut self) -> Check {
        for client in 0..self.clients.len() {
            if let Some(conn) = self.open_conn(client) {
                let expiry = (self.speaks_v5(client) && self.conns[conn].expiry > 0).then_some(0);
                self.disconnect_as(client, conn, 0, expiry);
            }
        }
        self.pass(Duration::from_secs(3))?;
        for client in 0..self.clients.len() {
            // What may be left of an old session ends with a clean one.
            self.connect_as(client, true, 0, 0, false);
        }
        self.rest()?;
        for client in 0..self.clients.len() {
            let Some(conn) = self.open_conn(client) else { fail!("c{client} cannot connect at the end") };
            self.disconnect_as(client, conn, 0, None);
        }
        // Interest lingers, feeds grow old, wills are fired.
        self.pass(Duration::from_secs(90))?;
        match self.live.iter().find(|conn| self.conns[**conn].stage != Stage::Over) {
            Some(conn) => fail!("#{conn} is not closed at the end: {:?}", self.conns[*conn].stage),
            None => Ok(()),
        }
    }

    /// Memory, rings and books are as they were before anybody came.
    fn nothing_is_left(&mut self) -> Check {
        for shard in 0..self.machine.shards() {
            let holdings = self.machine.holdings(shard);
            if holdings != Holdings::default() {
                fail!("shard {shard} holds {holdings:?} when all have gone");
            }
            if !self.machine.buffers_home(shard) {
                fail!("shard {shard} has not given all receive buffers back");
            }
        }
        // What a journal tells of is matched again by the next start.
        let matched = self.machine.total_of_start(Counter::MessagesMatched);
        let delivered = self.machine.total_of_start(Counter::MessagesDelivered);
        let dropped: u64 = DROPPED.iter().map(|counter| self.machine.total_of_start(*counter)).sum();
        if matched != delivered + dropped {
            fail!("the ledger does not add up: {matched} matched, {delivered} delivered, {dropped} dropped");
        }
        Ok(())
    }
}
