//! Another number of shards, or other partition rules: everything is dealt to its new owners before they start.

use std::collections::HashMap;

use wire::entry::{self, Entry, Identifiers, Mark, Owner, Owners, Stage, Uids};

use super::entries::first_count;
use super::state::{self, State};
use crate::frames;
use crate::routing::place::Placement;

/// Deals the states of all shards to the shards of `placement`, of which there are `shards`.
pub fn deal(mut states: Vec<State>, placement: &Placement, shards: u16) -> Vec<State> {
    let marks = unsettled(&states, placement);
    let mut dealt: Vec<State> = std::iter::repeat_with(State::default).take(shards.into()).collect();
    // Which of the sessions that come to a shard lived on which shard before.
    let mut came: Vec<Vec<(usize, u64)>> = vec![Vec::new(); shards.into()];
    for (before, state) in states.iter_mut().enumerate() {
        for (uid, session) in std::mem::take(&mut state.sessions) {
            let home = usize::from(placement.home(&session.client_id).0);
            let to = &mut dealt[home];
            for ((message, _), owed) in &session.owed {
                if owed.stage != Stage::Received {
                    share(state, *message, to);
                }
            }
            came[home].push((before, uid));
            to.sessions.insert(uid, session);
        }
        for ((uid, number), will) in std::mem::take(&mut state.wills) {
            // With its session, if that lives.
            let home = dealt.iter().position(|to| to.sessions.contains_key(&uid)).unwrap_or(0);
            dealt[home].wills.insert((uid, number), will);
        }
        for (message, group) in std::mem::take(&mut state.handing) {
            let to = &mut dealt[before % usize::from(shards)];
            share(state, message, to);
            to.handing.insert((message, group));
        }
        for (topic, frame) in state.retained.drain() {
            let owner = placement.owner(placement.topic_hash(&topic));
            dealt[usize::from(owner.0)].retained.insert(topic, frame);
        }
    }
    for (mark, takers) in marks {
        for (to, came) in dealt.iter_mut().zip(&came) {
            let takes = |(before, uid): &&(usize, u64)| takers.shards.contains(before) || takers.uids.contains(uid);
            let uids: Vec<u64> = came.iter().filter(takes).map(|(_, uid)| *uid).collect();
            if uids.len() == came.len() {
                to.marks.push(mark);
            } else if !uids.is_empty() {
                to.taken.insert(mark, uids);
            }
        }
    }
    dealt
}

/// Who had taken a message: all sessions of these shards, and these sessions, which shards had dealt before.
#[derive(Default)]
struct Takers {
    shards: Vec<usize>,
    uids: Vec<u64>,
}

/// The marks of messages that their publishers' homes do not know yet, and who had taken each. A repeat of any other
/// message never leaves its home.
fn unsettled(states: &[State], placement: &Placement) -> HashMap<Mark, Takers> {
    let mut publishers = HashMap::new();
    for (uid, session) in states.iter().flat_map(|state| &state.sessions) {
        publishers.insert(placement.client_hash(&session.client_id), (*uid, session));
    }
    let open = |mark: &Mark| match publishers.get(&mark.publisher) {
        // A will's, which is fired again until it is resolved.
        _ if mark.packet_id == 0 => true,
        None => false,
        Some((uid, session)) => {
            let count = session.counts.get(&mark.packet_id).copied().unwrap_or_else(|| first_count(*uid));
            count == mark.count && !session.inbound.contains(&mark.packet_id)
        }
    };
    let mut marks: HashMap<Mark, Takers> = HashMap::new();
    for (shard, state) in states.iter().enumerate() {
        for mark in state.marks.iter().filter(|mark| open(mark)) {
            let takers = marks.entry(*mark).or_default();
            if !takers.shards.contains(&shard) {
                takers.shards.push(shard);
            }
        }
        for (mark, uids) in state.taken.iter().filter(|(mark, _)| open(mark)) {
            marks.entry(*mark).or_default().uids.extend(uids);
        }
    }
    marks
}

/// Another state has a reference to a message, too.
fn share(from: &State, message: u64, to: &mut State) {
    let Some(kept) = from.messages.get(&message) else { return };
    let shared =
        to.messages.entry(message).or_insert_with(|| state::Message { frame: kept.frame.clone(), references: 0 });
    shared.references += 1;
}

/// Writes a state as the entries that come to it.
///
/// # Errors
/// The first that `append` returns.
pub fn write<E>(state: &State, mut append: impl FnMut(&Entry<'_>) -> Result<(), E>) -> Result<(), E> {
    append(&Entry::Sweep { end: false })?;
    for (message, kept) in &state.messages {
        append(&Entry::Body { message: *message, frame: frames::read(&kept.frame) })?;
    }
    for (uid, session) in &state.sessions {
        write_session(*uid, session, &mut append)?;
    }
    for ((uid, number), will) in &state.wills {
        append(&Entry::Will(entry::Will {
            uid: *uid,
            number: *number,
            publisher: will.publisher,
            delay: will.delay,
            expiry: will.expiry,
            qos: will.qos,
            retain: will.retain,
            topic: &will.topic,
            properties: &will.properties,
            payload: &will.payload,
        }))?;
    }
    for (message, group) in &state.handing {
        append(&Entry::Handing { message: *message, group: *group })?;
    }
    for mark in &state.marks {
        append(&Entry::Marked(*mark))?;
    }
    let mut bytes = Vec::new();
    for (mark, uids) in &state.taken {
        bytes.clear();
        uids.iter().for_each(|uid| Uids::push(&mut bytes, *uid));
        append(&Entry::Taken { mark: *mark, uids: Uids::new(&bytes) })?;
    }
    for frame in state.retained.values() {
        append(&Entry::Retained { frame: frames::read(frame) })?;
    }
    append(&Entry::Sweep { end: true })
}

fn write_session<E>(
    uid: u64,
    session: &state::Session,
    append: &mut impl FnMut(&Entry<'_>) -> Result<(), E>,
) -> Result<(), E> {
    append(&Entry::Session(entry::Session {
        uid,
        client_id: &session.client_id,
        expiry: session.expiry,
        connections: session.connections,
        left_ms: session.left_ms,
    }))?;
    if let Some(identity) = &session.owner {
        append(&Entry::Owner { uid, identity })?;
    }
    for subscription in &session.subscriptions {
        append(&Entry::Subscribed(entry::Subscription {
            uid,
            filter: &subscription.filter,
            group: &subscription.group,
            qos: subscription.qos,
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
            told: subscription.told,
            identifier: subscription.identifier,
        }))?;
    }
    for (packet_id, count) in &session.counts {
        append(&Entry::Released { uid, packet_id: *packet_id, count: *count })?;
    }
    for packet_id in &session.inbound {
        append(&Entry::Inbound { uid, packet_id: *packet_id })?;
    }
    let mut identifiers = Vec::new();
    for ((message, group), owed) in &session.owed {
        identifiers.clear();
        owed.identifiers.iter().for_each(|identifier| Identifiers::push(&mut identifiers, *identifier));
        let identifiers = Identifiers::new(&identifiers);
        let owner = Owner { uid, group: *group, qos: owed.qos, retain: owed.retain, identifiers };
        append(&Entry::Owing { message: *message, owner, stage: owed.stage, packet_id: owed.packet_id })?;
    }
    Ok(())
}

/// The bytes of owners are made elsewhere; this keeps their layout and that of [`Owner`] together.
const _: () = assert!(Owners::bytes_of(0) == 19);

#[cfg(test)]
mod tests {
    use super::*;
    use wire::frame::{Frame, FrameHeader};
    use wire::mqtt::QoS;

    fn state(entries: &[Entry<'_>]) -> State {
        let mut state = State::default();
        entries.iter().for_each(|entry| state.apply(entry));
        state.complete();
        state
    }

    fn session(uid: u64, client_id: &str) -> Entry<'_> {
        Entry::Session(entry::Session { uid, client_id, expiry: 60, connections: 1, left_ms: 5 })
    }

    fn frame(topic: &str) -> Frame<'_> {
        let header = FrameHeader { topic_len: topic.len() as u32, expires: u64::MAX, qos: 2, ..FrameHeader::default() };
        Frame { header, topic, properties: &[], payload: &[] }
    }

    fn owner(uid: u64) -> Owner<'static> {
        Owner { uid, group: 0, qos: QoS::ExactlyOnce, retain: false, identifiers: Identifiers::default() }
    }

    /// Everything has one new owner, with what it needs; and what is written reads back as what was dealt.
    #[test]
    fn everything_is_dealt_once() {
        let names: Vec<String> = (0..40).map(|n| format!("client-{n}")).collect();
        let before: Vec<State> = (0..2)
            .map(|shard| {
                let mut entries = vec![Entry::Body { message: 1 + shard, frame: frame("t") }];
                for (n, name) in names.iter().enumerate().filter(|(n, _)| *n as u64 % 2 == shard) {
                    entries.push(session(n as u64, name));
                    let owing =
                        Entry::Owing { message: 1 + shard, owner: owner(n as u64), stage: Stage::Sent, packet_id: 3 };
                    entries.push(owing);
                }
                entries.push(Entry::Retained { frame: frame(["a", "b"][shard as usize]) });
                state(&entries)
            })
            .collect();
        let placement = Placement::new(3, [7; 16], &[]).expect("no rules");
        let dealt = deal(before, &placement, 3);
        assert_eq!(dealt.iter().map(|state| state.sessions.len()).sum::<usize>(), 40);
        assert_eq!(dealt.iter().map(|state| state.retained.len()).sum::<usize>(), 2);
        for (shard, dealt) in dealt.iter().enumerate() {
            assert!(dealt.sessions.values().all(|session| usize::from(placement.home(&session.client_id).0) == shard));
            let owed = dealt.sessions.values().map(|session| session.owed.len() as u32).sum::<u32>();
            assert_eq!(dealt.messages.values().map(|message| message.references).sum::<u32>(), owed);
            let mut again = State::default();
            let applied = write(dealt, |entry| {
                again.apply(entry);
                Ok::<(), ()>(())
            });
            assert_eq!(applied, Ok(()));
            again.complete();
            assert_eq!(again.sessions, dealt.sessions);
            assert_eq!(again.retained, dealt.retained);
            assert_eq!((again.messages.len(), again.ignored), (dealt.messages.len(), 0));
        }
    }

    /// A message that one shard had taken and another had not, when the node ended, is known as such for each session.
    #[test]
    fn marks_follow_sessions() {
        let placement = Placement::new(1, [7; 16], &[]).expect("no rules");
        let publisher = placement.client_hash("publisher");
        let mark = Mark { publisher, packet_id: 4, count: first_count(9) };
        let settled = Mark { publisher, packet_id: 5, count: first_count(9) };
        let one = state(&[
            session(1, "a"),
            session(9, "publisher"),
            Entry::Inbound { uid: 9, packet_id: 5 },
            Entry::Marked(mark),
            Entry::Marked(settled),
        ]);
        let other = state(&[session(2, "b")]);
        let dealt = deal(vec![one, other], &placement, 1);
        assert!(dealt[0].marks.is_empty());
        assert_eq!(dealt[0].taken.keys().collect::<Vec<_>>(), [&mark]);
        assert_eq!(dealt[0].taken[&mark], [1, 9]);
    }
}
