//! What records make of the state.

use super::*;
use wire::entry::{Identifiers, Owners};
use wire::frame::FrameHeader;

const FRAME: Frame<'_> = Frame {
    header: FrameHeader {
        arrived: 0,
        expires: u64::MAX,
        publisher: 5,
        connection: 0,
        number: 3 << 32,
        topic_hash: 0,
        topic_len: 9 << 16 | 1,
        properties_len: 0,
        payload_len: 2,
        qos: 2,
        flags: FrameHeader::MARKED,
        class: 0,
        version: FrameHeader::VERSION,
    },
    topic: "t",
    properties: &[],
    payload: b"hi",
};

fn session(uid: u64, client_id: &str) -> Entry<'_> {
    Entry::Session(entry::Session { uid, client_id, expiry: 60, connections: 1, left_ms: 0 })
}

fn owner(uid: u64, group: u64, qos: QoS) -> Owner<'static> {
    Owner { uid, group, qos, retain: false, identifiers: Identifiers::default() }
}

fn owed<'a>(message: u64, owners: &[Owner<'_>], bytes: &'a mut Vec<u8>) -> Entry<'a> {
    owners.iter().for_each(|owner| Owners::push(bytes, owner));
    Entry::Owed { message, owners: Owners::new(bytes), frame: FRAME }
}

/// A message is kept as long as a session is owed it, and its mark longer.
#[test]
fn messages_live_while_they_are_owed() {
    let mut state = State::default();
    state.apply(&session(1, "a"));
    state.apply(&session(2, "b"));
    let mut bytes = Vec::new();
    let owners = [owner(1, 0, QoS::AtLeastOnce), owner(2, 0, QoS::ExactlyOnce)];
    state.apply(&owed(7, &owners, &mut bytes));
    state.apply(&Entry::Sent { uid: 1, message: 7, group: 0, packet_id: 1 });
    state.apply(&Entry::Done { uid: 1, packet_id: 1 });
    assert_eq!(state.messages[&7].references, 1);
    state.apply(&Entry::Sent { uid: 2, message: 7, group: 0, packet_id: 4 });
    state.apply(&Entry::Received { uid: 2, packet_id: 4 });
    assert_eq!(state.sessions[&2].owed[&(7, 0)].stage, Stage::Received);
    state.apply(&Entry::Done { uid: 2, packet_id: 4 });
    assert!(state.messages.is_empty());
    assert_eq!(state.marks, [Mark { publisher: 5, packet_id: 9, count: 3 }]);
    assert_eq!(state.ignored, 0);
    state.apply(&Entry::Done { uid: 2, packet_id: 4 });
    assert_eq!(state.ignored, 1);
}

/// What a group's member was owed is handed on when its session ends, but for QoS 2 that was sent.
#[test]
fn groups_hand_on() {
    let mut state = State::default();
    state.apply(&session(1, "a"));
    for (message, qos) in [(1, QoS::AtLeastOnce), (2, QoS::ExactlyOnce), (3, QoS::ExactlyOnce)] {
        let mut bytes = Vec::new();
        state.apply(&owed(message, &[owner(1, 8, qos)], &mut bytes));
    }
    state.apply(&Entry::Sent { uid: 1, message: 1, group: 8, packet_id: 1 });
    state.apply(&Entry::Sent { uid: 1, message: 2, group: 8, packet_id: 2 });
    state.apply(&Entry::SessionEnded { uid: 1 });
    assert!(state.handing.iter().eq(&[(1, 8), (3, 8)]));
    assert_eq!(state.messages.len(), 2);
    state.apply(&Entry::HandedOn { message: 1, group: 8 });
    state.apply(&Entry::HandedOn { message: 3, group: 8 });
    assert!(state.messages.is_empty() && state.handing.is_empty());
}

/// A log that begins in the middle of what was, as a checkpoint leaves it, comes to the same: a sweep holds bodies
/// until their owners have followed.
#[test]
fn a_sweep_is_enough() {
    let mut state = State::default();
    state.apply(&Entry::Sweep { end: false });
    state.apply(&Entry::Done { uid: 1, packet_id: 3 });
    state.apply(&Entry::Body { message: 4, frame: FRAME });
    state.apply(&Entry::Body { message: 5, frame: FRAME });
    state.apply(&session(1, "a"));
    let of = owner(1, 0, QoS::ExactlyOnce);
    state.apply(&Entry::Owing { message: 4, owner: of, stage: Stage::Sent, packet_id: 6 });
    state.apply(&Entry::Owing {
        message: 4,
        owner: owner(2, 0, QoS::AtLeastOnce),
        stage: Stage::Waiting,
        packet_id: 0,
    });
    state.apply(&Entry::Sweep { end: true });
    state.complete();
    assert_eq!((state.messages.len(), state.messages[&4].references, state.ignored), (1, 1, 2));
}

/// A release that compaction says again releases nothing: what has come under the identifier since stays.
#[test]
fn a_release_said_again_is_none() {
    let mut state = State::default();
    let released = |count| Entry::Released { uid: 1, packet_id: 7, count };
    state.apply(&session(1, "a"));
    state.apply(&released(5));
    state.apply(&Entry::Inbound { uid: 1, packet_id: 7 });
    state.apply(&released(5));
    assert_eq!((&state.sessions[&1].inbound[..], state.sessions[&1].counts[&7]), (&[7][..], 5));
    state.apply(&released(6));
    assert!(state.sessions[&1].inbound.is_empty());
}

/// Wills outlive their sessions until they are published; subscriptions are replaced; of two sessions of a client
/// the later one counts.
#[test]
fn sessions_and_wills() {
    let mut state = State::default();
    state.apply(&session(1, "a"));
    let will = entry::Will {
        uid: 1,
        number: 1,
        publisher: 8,
        delay: 0,
        expiry: None,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: "w",
        properties: &[],
        payload: &[],
    };
    state.apply(&Entry::Will(will));
    let subscription = entry::Subscription {
        uid: 1,
        filter: "f",
        group: "",
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        told: false,
        identifier: 1,
    };
    state.apply(&Entry::Subscribed(subscription));
    state.apply(&Entry::Subscribed(entry::Subscription { identifier: 2, ..subscription }));
    assert_eq!(state.sessions[&1].subscriptions.len(), 1);
    assert_eq!(state.sessions[&1].subscriptions[0].identifier, 2);
    state.apply(&Entry::Unsubscribed { uid: 1, filter: "f", group: "" });
    assert!(state.sessions[&1].subscriptions.is_empty());
    state.apply(&session(2, "a"));
    state.complete();
    assert!(state.sessions.keys().eq(&[2]));
    assert_eq!(state.wills[&(1, 1)].publisher, 8);
    state.apply(&Entry::WillDone { uid: 1, number: 1 });
    assert!(state.wills.is_empty());
}
