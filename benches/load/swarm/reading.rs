//! What connections receive: bytes from sockets, through what lies between, to packets.

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::{Sink, Swarm};
use crate::client::{Heard, Phase};
use crate::packet::{self, Malformed};

impl Swarm {
    /// Reads a socket until it is empty.
    pub(super) fn read<S: Sink>(&mut self, index: u32, sink: &mut S) {
        if self.clients[index as usize].layers.is_some() {
            return self.read_layers(index, sink);
        }
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

    /// The same where something lies between socket and MQTT.
    fn read_layers<S: Sink>(&mut self, index: u32, sink: &mut S) {
        loop {
            let client = &mut self.clients[index as usize];
            if client.phase == Phase::Closed {
                return;
            }
            let got = match recv(&client.socket, &mut *self.raw, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return self.end(index, "closed by the broker", sink),
                Ok((bytes, _)) => bytes,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return,
                Err(error) => return self.end(index, &format!("broken: {error}"), sink),
            };
            let mut opened = std::mem::take(&mut self.opened_bytes);
            opened.clear();
            let layers = client.layers.as_mut().expect("it was asked for");
            let answers = client.wire.len();
            let mut result = layers.open(&self.raw[..got], &mut opened, &mut client.wire);
            if client.wire.len() > answers {
                self.list(index);
            }
            let mut rest = &opened[..];
            while result.is_ok() && !rest.is_empty() && self.clients[index as usize].phase != Phase::Closed {
                let client = &mut self.clients[index as usize];
                let carried = client.partial.len();
                self.buffer[..carried].copy_from_slice(&client.partial);
                client.partial.clear();
                let len = rest.len().min(self.buffer.len() - carried);
                self.buffer[carried..carried + len].copy_from_slice(&rest[..len]);
                rest = &rest[len..];
                result = self.packets(index, carried + len, sink).map_err(|Malformed(what)| what.to_owned());
            }
            self.opened_bytes = opened;
            if let Err(what) = result {
                return self.end(index, &format!("the broker sent {what}"), sink);
            }
            if got < self.raw.len() {
                return;
            }
        }
    }

    /// Takes whole packets off the front of the buffer and keeps the rest with the client.
    fn packets<S: Sink>(&mut self, index: u32, len: usize, sink: &mut S) -> Result<(), Malformed> {
        let now = self.now();
        self.read_lags.record(now - self.woken);
        let mut used = 0;
        let client = &mut self.clients[index as usize];
        let mut answered = false;
        while let Some(packet) = packet::front(&self.buffer[used..len])? {
            used += packet.len;
            let owed = client.owed();
            let heard = client.hear(&packet)?;
            self.owed -= owed - client.owed();
            match heard {
                Heard::Message(message) => {
                    answered |= message.qos > 0;
                    sink.message(index, &message, now);
                }
                Heard::Acknowledged(reason) => sink.acknowledged(index, reason),
                Heard::Nothing => answered = true,
                Heard::Subscribing => {
                    answered = true;
                    self.steps += 1;
                }
                Heard::Ready => {
                    self.unready -= 1;
                    self.steps += 1;
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
}
