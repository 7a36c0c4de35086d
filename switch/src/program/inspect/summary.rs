//! What a record says, in one line for people: no payloads, and names so that no client can forge a line.

use std::fmt::Write;

use wire::entry::{Entry, EntryError, Mark, Stage, name_of};
use wire::frame::Frame;

/// Sessions that one line names; a message may have thousands of owners.
const SHOWN_MAX: usize = 8;

/// What a kind of record is called; the journal's own filler is kind 0.
pub fn kind_name(kind: u16) -> &'static str {
    if kind == persistence::layout::KIND_FILLER { "filler" } else { name_of(kind) }
}

/// One line about a record, or why its body is not what its kind says.
pub fn of(kind: u16, body: &[u8]) -> Result<String, EntryError> {
    if kind == persistence::layout::KIND_FILLER {
        return Ok(String::new());
    }
    Ok(match Entry::read(kind, body)? {
        Entry::Session(session) => {
            let served = match session.left_ms {
                0 => "connected".to_owned(),
                at => format!("left at {at} ms"),
            };
            let (uid, id, expiry) = (session.uid, session.client_id, session.expiry);
            format!("session {uid}, client {id:?}, expiry {expiry} s, connection {}, {served}", session.connections)
        }
        Entry::Left { uid, at_ms, expiry } => format!("session {uid}, at {at_ms} ms, expiry {expiry} s"),
        Entry::SessionEnded { uid } => format!("session {uid}"),
        Entry::Subscribed(subscription) => {
            let filter = filter(subscription.filter, subscription.group);
            format!("session {}, filter {filter}, QoS {}", subscription.uid, subscription.qos as u8)
        }
        Entry::Unsubscribed { uid, filter: name, group } => format!("session {uid}, filter {}", filter(name, group)),
        Entry::Will(will) => {
            let (uid, topic, qos, bytes) = (will.uid, will.topic, will.qos as u8, will.payload.len());
            format!("session {uid}, connection {}, topic {topic:?}, QoS {qos}, {bytes} B", will.number)
        }
        Entry::WillDone { uid, number } => format!("session {uid}, connection {number}"),
        Entry::Owed { message, owners, frame } => {
            let mut line = format!("message {message}, {}, to sessions", shown(&frame));
            numbers(&mut line, owners.into_iter().map(|owner| owner.uid));
            line
        }
        Entry::Body { message, frame } => format!("message {message}, {}", shown(&frame)),
        Entry::Owing { message, owner, stage, packet_id } => {
            let stage = match stage {
                Stage::Waiting => "waiting",
                Stage::Sent => "sent",
                Stage::Received => "received",
            };
            format!("message {message}, session {}, QoS {}, {stage}, packet {packet_id}", owner.uid, owner.qos as u8)
        }
        Entry::Sent { uid, message, packet_id, .. } => format!("message {message}, session {uid}, packet {packet_id}"),
        Entry::Dropped { uid, message, .. } => format!("message {message}, session {uid}"),
        Entry::Received { uid, packet_id } | Entry::Done { uid, packet_id } | Entry::Inbound { uid, packet_id } => {
            format!("session {uid}, packet {packet_id}")
        }
        Entry::Released { uid, packet_id, count } => format!("session {uid}, packet {packet_id}, {count} times"),
        Entry::Handing { message, group } | Entry::HandedOn { message, group } => {
            format!("message {message}, group {group:016x}")
        }
        Entry::Marked(mark) => marked(&mark),
        Entry::Retained { frame } => shown(&frame),
        Entry::RetainedCleared { topic } => format!("topic {topic:?}"),
        Entry::Taken { mark, uids } => {
            let mut line = marked(&mark) + ", sessions";
            numbers(&mut line, uids.iter());
            line
        }
        Entry::Owner { uid, .. } => format!("session {uid}"),
        Entry::Sweep { end } => if end { "end" } else { "begin" }.to_owned(),
    })
}

/// Appends the first of many numbers, and how many more there are.
fn numbers(line: &mut String, numbers: impl Iterator<Item = u64>) {
    let mut count = 0;
    for number in numbers {
        count += 1;
        if count <= SHOWN_MAX {
            // Writing to a String cannot fail.
            let _ = write!(line, " {number}");
        }
    }
    if count > SHOWN_MAX {
        let _ = write!(line, " and {} more", count - SHOWN_MAX);
    }
}

fn marked(mark: &Mark) -> String {
    format!("publisher {:016x}, packet {}, release {}", mark.publisher, mark.packet_id, mark.count)
}

fn filter(filter: &str, group: &str) -> String {
    if group.is_empty() { format!("{filter:?}") } else { format!("{filter:?} of group {group:?}") }
}

fn shown(frame: &Frame<'_>) -> String {
    format!("topic {:?}, QoS {}, {} B", frame.topic, frame.header.qos, frame.header.payload_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(entry: &Entry<'_>) -> Result<String, EntryError> {
        let mut body = vec![0; entry.body_len()];
        entry.write(&mut body);
        of(entry.kind(), &body)
    }

    /// Names are escaped, and what is not an entry of its kind is said to be none.
    #[test]
    fn a_line_a_record() {
        let unsubscribed = Entry::Unsubscribed { uid: 7, filter: "a/\n#", group: "g" };
        assert_eq!(line(&unsubscribed).as_deref(), Ok("session 7, filter \"a/\\n#\" of group \"g\""));
        let released = Entry::Released { uid: 7, packet_id: 2, count: 3 };
        assert_eq!(line(&released).as_deref(), Ok("session 7, packet 2, 3 times"));
        assert_eq!(kind_name(released.kind()), "released");
        assert_eq!(of(released.kind(), b"short"), Err(EntryError::Body(released.kind())));
        assert_eq!(of(9999, b""), Err(EntryError::Kind(9999)));
        assert_eq!((of(0, b""), kind_name(0)), (Ok(String::new()), "filler"));
    }
}
