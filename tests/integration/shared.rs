//! Shared subscriptions (4.8.2).

use std::collections::BTreeSet;

use ringmain_tests::packet::{ack, subscribe};
use ringmain_tests::{Case, Client, Packet, broker_tests};

broker_tests!(both: one_member_gets_it, groups_are_apart, beside_plain_subscriptions, lower_qos, members_come_and_go);
broker_tests!(both: queues_for_a_member_that_is_away);
broker_tests!(both ours: online_members_first, unacknowledged_goes_to_another, sent_qos_2_stays);
broker_tests!(v5: no_local_is_an_error, one_client_in_two_groups);

/// The filter of a group of this test over all its topics.
fn group(case: &Case, name: &str) -> String {
    format!("$share/{}/{}", case.id(name).replace(['/', '+', '#'], "-"), case.topic("#"))
}

/// What each client has received, until `count` have come to all of them together.
fn collect(clients: &mut [Client], count: usize) -> Vec<Vec<String>> {
    let mut got = vec![Vec::new(); clients.len()];
    let end = std::time::Instant::now() + ringmain_tests::DEADLINE;
    while got.iter().map(Vec::len).sum::<usize>() < count {
        assert!(std::time::Instant::now() < end, "{got:?} of {count}");
        for (client, got) in clients.iter_mut().zip(&mut got) {
            while let Some(message) = client.message_within(std::time::Duration::from_millis(2)) {
                got.push(message.text().to_owned());
            }
        }
    }
    clients.iter_mut().for_each(Client::silent);
    got
}

fn members(case: &Case, count: usize, filter: &str, qos: u8) -> Vec<Client> {
    let member = |number| {
        let mut client = case.connect(&format!("m{number}"));
        assert_eq!(client.subscribe(filter, qos), qos);
        client
    };
    (0..count).map(member).collect()
}

fn all(got: &[Vec<String>]) -> BTreeSet<String> {
    got.iter().flatten().cloned().collect()
}

/// Goal: each message goes to exactly one member, each member gets a part, and the order of what it gets is kept
/// `[MQTT-4.6.0-5]`.
fn one_member_gets_it(case: &Case) {
    let mut members = members(case, 4, &group(case, "g"), 1);
    let mut publisher = case.connect("publisher");
    for number in 0..200 {
        publisher.publish(&case.topic("t"), number % 3, format!("{number:03}"));
    }
    let got = collect(&mut members, 200);
    assert_eq!(got.iter().map(Vec::len).sum::<usize>(), 200);
    assert_eq!(all(&got).len(), 200);
    assert!(got.iter().all(|part| part.len() >= 10), "{:?}", got.iter().map(Vec::len).collect::<Vec<_>>());
}

/// Goal: each group gets each message once.
fn groups_are_apart(case: &Case) {
    let mut one = members(case, 2, &group(case, "one"), 1);
    let mut other = case.connect("other");
    other.subscribe(&group(case, "other"), 1);
    let mut publisher = case.connect("publisher");
    for number in 0..20 {
        publisher.publish(&case.topic("t"), 1, format!("{number}"));
    }
    assert_eq!(all(&collect(&mut one, 20)).len(), 20);
    assert_eq!(other.texts(20), (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
    other.silent();
}

/// Goal: a client in two groups with the same filter gets a copy for each.
fn one_client_in_two_groups(case: &Case) {
    let (mut client, mut publisher) = (case.connect("client"), case.connect("publisher"));
    client.subscribe(&group(case, "one"), 1);
    client.subscribe(&group(case, "other"), 1);
    publisher.publish(&case.topic("t"), 1, "x");
    assert_eq!(client.texts(2), ["x", "x"]);
    client.unsubscribe(&[&group(case, "one")]);
    publisher.publish(&case.topic("t"), 1, "y");
    assert_eq!(client.texts(1), ["y"]);
    client.silent();
}

/// Goal: a group takes nothing from subscribers outside it.
fn beside_plain_subscriptions(case: &Case) {
    let mut members = members(case, 2, &group(case, "g"), 0);
    let mut plain = case.connect("plain");
    plain.subscribe(&case.topic("t"), 1);
    let mut publisher = case.connect("publisher");
    for number in 0..20 {
        publisher.publish(&case.topic("t"), 1, format!("{number}"));
    }
    assert_eq!(plain.texts(20).len(), 20);
    assert_eq!(all(&collect(&mut members, 20)).len(), 20);
}

/// Goal: the member's QoS and the message's: the lower of the two `[MQTT-4.8.2-3]`.
fn lower_qos(case: &Case) {
    let mut publisher = case.connect("publisher");
    for granted in 0..=2 {
        let mut member = case.connect("member");
        member.subscribe(&group(case, &format!("g{granted}")), granted);
        for qos in 0..=2 {
            publisher.publish(&case.topic("t"), qos, "x");
            assert_eq!(member.message().qos, qos.min(granted));
        }
    }
}

/// Goal: the group goes on with whoever is in it; with the last member it ends.
fn members_come_and_go(case: &Case) {
    let filter = group(case, "g");
    let mut members = members(case, 3, &filter, 1);
    let mut publisher = case.connect("publisher");
    let mut publish = |count: usize| {
        (0..count).for_each(|number| assert!(publisher.publish(&case.topic("t"), 1, format!("{number}")) < 0x80))
    };
    publish(12);
    collect(&mut members, 12);
    members.remove(0).disconnect();
    members[0].unsubscribe(&[&filter]);
    publish(12);
    let got = collect(&mut members, 12);
    assert_eq!((got[0].len(), got[1].len()), (0, 12));
    members[1].unsubscribe(&[&filter]);
    publish(3);
    members.iter_mut().for_each(Client::silent);
    members[0].subscribe(&filter, 1);
    publish(3);
    assert_eq!(collect(&mut members, 3)[0].len(), 3);
}

/// Goal: with no member online the messages wait in a session of one of them.
fn queues_for_a_member_that_is_away(case: &Case) {
    let mut member = case.client("member").durable().connect();
    member.subscribe(&group(case, "g"), 2);
    member.disconnect();
    let mut publisher = case.connect("publisher");
    for number in 0..10 {
        publisher.publish(&case.topic("t"), 1 + number % 2, format!("{number}"));
    }
    let mut member = case.client("member").durable().connect();
    assert_eq!(member.texts(10), (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
    member.silent();
}

/// Goal: our choice: a member that is away gets nothing while another is there.
fn online_members_first(case: &Case) {
    let filter = group(case, "g");
    let mut away = case.client("away").durable().connect();
    away.subscribe(&filter, 1);
    let mut here = case.connect("here");
    here.subscribe(&filter, 1);
    away.disconnect();
    let mut publisher = case.connect("publisher");
    for number in 0..20 {
        publisher.publish(&case.topic("t"), 1, format!("{number}"));
    }
    assert_eq!(here.texts(20).len(), 20);
    case.client("away").durable().connect().silent();
}

/// Goal: our choice: a QoS 1 message that a member left without PUBACK, its session ended, goes to another member.
fn unacknowledged_goes_to_another(case: &Case) {
    let filter = group(case, "g");
    let mut leaving = case.connect("leaving");
    leaving.subscribe(&filter, 1);
    let mut publisher = case.connect("publisher");
    for number in 0..5 {
        publisher.publish(&case.topic("t"), 1, format!("{number}"));
        leaving.delivery();
    }
    let mut staying = case.connect("staying");
    staying.subscribe(&filter, 1);
    leaving.abort();
    let got = staying.texts(5);
    assert_eq!(got.iter().collect::<BTreeSet<_>>().len(), 5, "{got:?}");
}

/// Goal: a QoS 2 message that has been sent to a member is that member's `[MQTT-4.8.2-4]` `[MQTT-4.8.2-5]`.
fn sent_qos_2_stays(case: &Case) {
    let filter = group(case, "g");
    let mut first = case.client("first").durable().connect();
    first.subscribe(&filter, 2);
    let mut publisher = case.connect("publisher");
    publisher.publish(&case.topic("t"), 2, "x");
    let sent = first.delivery();
    let mut second = case.connect("second");
    second.subscribe(&filter, 2);
    first.abort();
    second.silent();
    let mut first = case.client("first").durable().connect();
    let again = first.delivery();
    assert_eq!((again.id, again.dup, again.text()), (sent.id, true, "x"));
    first.send(&ack(0x50, again.id, 0));
    first.pubrel(again.id);
    first.send(&ack(0x70, again.id, 0));
    second.silent();
}

/// Goal: No Local with a shared subscription is a protocol error `[MQTT-3.8.3-4]`.
fn no_local_is_an_error(case: &Case) {
    let mut client = case.connect("a");
    client.send(&subscribe(case.version, 1, &[(&group(case, "g"), 4)], &[]));
    if case.ours() {
        client.dropped(&[0x82]);
    } else {
        client.wait_for(|packet| matches!(packet, Packet::Suback(..) | Packet::Disconnect(..)).then_some(()));
    }
}
