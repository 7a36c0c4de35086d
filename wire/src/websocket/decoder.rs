//! What a client sends, byte by byte: frames in, the MQTT stream out.

use alloc::vec::Vec;

use super::close::{CloseCode, Violation};
use super::frame::{CONTROL_BYTES_MAX, FIN, LENGTH_16, LENGTH_64, MASK, Opcode, RESERVED};
use super::mask::unmask;

/// Reads the frames of one client.
///
/// It decides by the bytes alone, so any split of a stream gives the same payload and the same events, and a rule that is
/// broken shows at the first byte that breaks it. It holds no payload but that of a control frame at hand, and never
/// trusts a length: a frame of 2^63 bytes is as good as many small ones, since its bytes pass through as they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoder {
    state: State,
    /// A message has begun whose last fragment has not (section 5.4).
    fragmented: bool,
    /// What has come of the control frame at hand.
    control: Vec<u8>,
}

/// Where in the stream of frames it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a header, of which so many bytes have come.
    Header { bytes: [u8; HEADER_BYTES_MAX], len: u8 },
    /// In a payload: bytes left, the key as of the next one, and what it is.
    Payload { left: u64, key: [u8; 4], kind: Kind },
    /// Behind a close frame or a violation: nothing counts any more (section 5.5.1).
    Ended,
}

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Data = 0,
    Ping = 1,
    Pong = 2,
    Close = 3,
}

/// Bytes of a client's header at most: two, a length of eight, a key of four.
const HEADER_BYTES_MAX: usize = 14;

/// How far a call has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes taken from the input.
    pub consumed: usize,
    /// Bytes of the MQTT stream written.
    pub written: usize,
    /// What ended the call before the end of the input; `None`: all was taken.
    pub event: Option<Event>,
}

/// What is no part of the MQTT stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A pong with this payload is due (section 5.5.2).
    Ping(Vec<u8>),
    /// The client closes; with this code, if it gave one. A close frame is due in answer (section 5.5.1).
    Closed(Option<CloseCode>),
    /// The client broke a rule: a close frame with the violation's code is due, and nothing more is read.
    Violated(Violation),
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder { state: State::BETWEEN_FRAMES, fragmented: false, control: Vec::new() }
    }
}

impl State {
    const BETWEEN_FRAMES: State = State::Header { bytes: [0; HEADER_BYTES_MAX], len: 0 };
}

impl Decoder {
    /// Reads on, up to the next event or the end of `input`. Payload goes to the front of `out`, which must have room
    /// for as many bytes as `input` has.
    pub fn decode(&mut self, input: &[u8], out: &mut [u8]) -> Progress {
        let (mut consumed, mut written) = (0, 0);
        loop {
            let rest = &input[consumed..];
            let event = match &mut self.state {
                State::Ended => {
                    consumed = input.len();
                    None
                }
                State::Header { .. } if rest.is_empty() => None,
                State::Header { .. } => {
                    let (taken, begun) = self.header(rest);
                    consumed += taken;
                    match begun {
                        Ok(()) => continue,
                        Err(violation) => Some(self.end(Event::Violated(violation))),
                    }
                }
                State::Payload { left, key, kind } => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    match kind {
                        Kind::Data => {
                            *key = unmask(*key, &rest[..take], &mut out[written..written + take]);
                            written += take;
                        }
                        Kind::Pong => {}
                        Kind::Ping | Kind::Close => {
                            let start = self.control.len();
                            self.control.resize(start + take, 0);
                            *key = unmask(*key, &rest[..take], &mut self.control[start..]);
                        }
                    }
                    consumed += take;
                    *left -= take as u64;
                    if *left > 0 {
                        None
                    } else {
                        let kind = *kind;
                        self.state = State::BETWEEN_FRAMES;
                        match self.frame_ended(kind) {
                            None => continue,
                            event => event,
                        }
                    }
                }
            };
            return Progress { consumed, written, event };
        }
    }

    /// Whether a close frame or a violation has ended the stream.
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Takes bytes of a header, as many as tell something new. Each is judged as soon as it is there.
    fn header(&mut self, input: &[u8]) -> (usize, Result<(), Violation>) {
        let State::Header { bytes, len } = &mut self.state else { unreachable!("called within a header") };
        let mut taken = 0;
        while taken < input.len() {
            bytes[usize::from(*len)] = input[taken];
            (*len, taken) = (*len + 1, taken + 1);
            let have = usize::from(*len);
            let judged = match have {
                1 => judge_first(bytes[0], self.fragmented),
                2 => judge_second(bytes[0], bytes[1]),
                _ => Ok(()),
            };
            if let Err(violation) = judged {
                return (taken, Err(violation));
            }
            let length_bytes = if have < 2 { 0 } else { extended_length_bytes(bytes[1]) };
            if have >= 2
                && have == 2 + length_bytes
                && let Err(violation) = judge_length(&bytes[1..have])
            {
                return (taken, Err(violation));
            }
            if have >= 2 && have == 2 + length_bytes + 4 {
                let left = payload_len(&bytes[1..2 + length_bytes]);
                let key = [bytes[have - 4], bytes[have - 3], bytes[have - 2], bytes[have - 1]];
                let opcode = Opcode::of(bytes[0]).expect("the first byte was judged");
                let kind = match opcode {
                    Opcode::Ping => Kind::Ping,
                    Opcode::Pong => Kind::Pong,
                    Opcode::Close => Kind::Close,
                    Opcode::Binary | Opcode::Continuation | Opcode::Text => Kind::Data,
                };
                if kind == Kind::Data {
                    self.fragmented = bytes[0] & FIN == 0;
                }
                self.state = State::Payload { left, key, kind };
                return (taken, Ok(()));
            }
        }
        (taken, Ok(()))
    }

    fn frame_ended(&mut self, kind: Kind) -> Option<Event> {
        match kind {
            Kind::Data | Kind::Pong => None,
            Kind::Ping => Some(Event::Ping(core::mem::take(&mut self.control))),
            Kind::Close => {
                let payload = core::mem::take(&mut self.control);
                let event = match judge_close(&payload) {
                    Ok(code) => Event::Closed(code),
                    Err(violation) => Event::Violated(violation),
                };
                Some(self.end(event))
            }
        }
    }

    fn end(&mut self, event: Event) -> Event {
        self.state = State::Ended;
        event
    }

    /// Appends its state, for a connection that goes to another shard in the middle of a frame.
    pub fn save(&self, out: &mut Vec<u8>) {
        let mut fixed = [0; SAVED_BYTES];
        fixed[0] = u8::from(self.fragmented);
        match self.state {
            State::Header { bytes, len } => {
                (fixed[1], fixed[2]) = (0, len);
                fixed[3..].copy_from_slice(&bytes);
            }
            State::Payload { left, key, kind } => {
                (fixed[1], fixed[2]) = (1, kind as u8);
                fixed[3..11].copy_from_slice(&left.to_le_bytes());
                fixed[11..15].copy_from_slice(&key);
            }
            State::Ended => fixed[1] = 2,
        }
        out.extend_from_slice(&fixed);
        out.push(self.control.len() as u8);
        out.extend_from_slice(&self.control);
    }

    /// Takes a state that [`Decoder::save`] wrote off the front of `bytes`. `None`: it did not.
    pub fn restore(bytes: &mut &[u8]) -> Option<Decoder> {
        let (fixed, rest) = bytes.split_first_chunk::<SAVED_BYTES>()?;
        let (control_len, rest) = rest.split_first()?;
        let (control, rest) = rest.split_at_checked(usize::from(*control_len))?;
        let state = match fixed[1] {
            0 => State::Header { bytes: fixed[3..].try_into().ok()?, len: fixed[2] },
            1 => State::Payload {
                left: u64::from_le_bytes(fixed[3..11].try_into().ok()?),
                key: fixed[11..15].try_into().ok()?,
                kind: *[Kind::Data, Kind::Ping, Kind::Pong, Kind::Close].get(usize::from(fixed[2]))?,
            },
            2 => State::Ended,
            _ => return None,
        };
        *bytes = rest;
        Some(Decoder { state, fragmented: fixed[0] != 0, control: control.to_vec() })
    }
}

/// Bytes of a saved state, without what has come of a control frame.
const SAVED_BYTES: usize = 3 + HEADER_BYTES_MAX;
const _: () = assert!(CONTROL_BYTES_MAX <= u8::MAX as usize, "its length fits a byte");

/// FIN, reserved bits and opcode.
fn judge_first(first: u8, fragmented: bool) -> Result<(), Violation> {
    if first & RESERVED != 0 {
        return Err(Violation::ReservedBits);
    }
    match Opcode::of(first) {
        None => Err(Violation::ReservedOpcode(first & 0x0f)),
        Some(Opcode::Text) => Err(Violation::Text),
        Some(Opcode::Binary) if fragmented => Err(Violation::MessageUnfinished),
        Some(Opcode::Continuation) if !fragmented => Err(Violation::NothingToContinue),
        Some(opcode) if opcode.is_control() && first & FIN == 0 => Err(Violation::ControlFragmented),
        Some(_) => Ok(()),
    }
}

/// The mask bit, and the length of a control frame.
fn judge_second(first: u8, second: u8) -> Result<(), Violation> {
    let control = Opcode::of(first).is_some_and(Opcode::is_control);
    if second & MASK == 0 {
        Err(Violation::Unmasked)
    } else if control && usize::from(second & !MASK) > CONTROL_BYTES_MAX {
        Err(Violation::ControlTooLong)
    } else {
        Ok(())
    }
}

/// The second byte of a header and the length behind it, which must be in its shortest form.
fn judge_length(bytes: &[u8]) -> Result<(), Violation> {
    let len = payload_len(bytes);
    let least = match bytes[0] & !MASK {
        LENGTH_16 => u64::from(LENGTH_16),
        LENGTH_64 => 1 << 16,
        _ => 0,
    };
    if len > i64::MAX as u64 {
        Err(Violation::LengthTooLarge)
    } else if len < least {
        Err(Violation::LengthForm)
    } else {
        Ok(())
    }
}

/// Bytes of the length behind the second byte.
fn extended_length_bytes(second: u8) -> usize {
    match second & !MASK {
        LENGTH_16 => 2,
        LENGTH_64 => 8,
        _ => 0,
    }
}

/// The length that the second byte of a header and what follows it tell.
fn payload_len(bytes: &[u8]) -> u64 {
    match bytes {
        [second] => u64::from(second & !MASK),
        [_, long @ ..] => long.iter().fold(0, |len, byte| len << 8 | u64::from(*byte)),
        [] => 0,
    }
}

/// The payload of a close frame (section 5.5.1): nothing, or a code and a reason.
fn judge_close(payload: &[u8]) -> Result<Option<CloseCode>, Violation> {
    match payload {
        [] => Ok(None),
        [_] => Err(Violation::CloseTruncated),
        [high, low, reason @ ..] => {
            let code = CloseCode(u16::from_be_bytes([*high, *low]));
            if !code.may_be_sent() {
                Err(Violation::CloseCodeInvalid(code.0))
            } else if core::str::from_utf8(reason).is_err() {
                Err(Violation::CloseReasonNotUtf8)
            } else {
                Ok(Some(code))
            }
        }
    }
}

#[cfg(test)]
mod tests;
