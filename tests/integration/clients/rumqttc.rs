//! rumqttc (crates.io): its clients of 3.1.1 and of 5.0 are two sets of types with the same shape.

use ringmain_tests::broker_tests;

use self::new::of_5;
use self::old::of_311;

broker_tests!(v311: of_311);
broker_tests!(v5: of_5);

/// The whole exchange for one of the two sets of types, which `$import` brings in; `$durable` sets how long a session
/// is kept.
macro_rules! exchange {
    ($module:ident, $test:ident, { $($import:tt)* }, $durable:expr, $will:expr) => {
        mod $module {
            use std::collections::VecDeque;
            use std::time::Instant;

            use ringmain_tests::{Case, DEADLINE};
            $($import)*

            const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

            /// A client with its connection, turned by hand so that each event can be waited for.
            struct Peer {
                client: Client,
                connection: Connection,
                messages: VecDeque<Publish>,
                session_present: bool,
            }

            impl Peer {
                fn connect(case: &Case, name: &str, durable: bool, will: Option<&str>) -> Self {
                    let address = case.broker().tcp();
                    let mut options = MqttOptions::new(case.id(name), address.ip().to_string(), address.port());
                    let keep: fn(&mut MqttOptions, bool) = $durable;
                    let will_of: fn(&str) -> LastWill = $will;
                    keep(&mut options, durable);
                    if let Some(topic) = will {
                        options.set_last_will(will_of(topic));
                    }
                    let (client, connection) = Client::new(options, 64);
                    let mut peer = Self { client, connection, messages: VecDeque::new(), session_present: false };
                    peer.session_present = peer.wait(|event| match event {
                        Event::Incoming(Packet::ConnAck(ack)) => Some(ack.session_present),
                        _ => None,
                    });
                    peer
                }

                /// Turns the connection until `pick` makes something of an event; messages that come meanwhile are
                /// kept.
                fn wait<T>(&mut self, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
                    let end = Instant::now() + DEADLINE;
                    loop {
                        let left = end.saturating_duration_since(Instant::now());
                        let event = self.connection.recv_timeout(left).expect("an event in time");
                        let event = event.expect("the connection stays");
                        if let Event::Incoming(Packet::Publish(message)) = &event {
                            self.messages.push_back(message.clone());
                        }
                        if let Some(found) = pick(&event) {
                            return found;
                        }
                    }
                }

                fn subscribe(&mut self, topic: &str, qos: QoS) {
                    self.client.subscribe(topic, qos).expect("a request");
                    self.wait(|event| matches!(event, Event::Incoming(Packet::SubAck(_))).then_some(()));
                }

                fn publish(&mut self, topic: &str, qos: QoS, retain: bool, payload: &str) {
                    self.client.publish(topic, qos, retain, payload.to_owned()).expect("a request");
                    self.wait(|event| {
                        let done = match event {
                            Event::Outgoing(Outgoing::Publish(_)) => qos == QoS::AtMostOnce,
                            Event::Incoming(Packet::PubAck(_)) => qos == QoS::AtLeastOnce,
                            Event::Incoming(Packet::PubComp(_)) => qos == QoS::ExactlyOnce,
                            _ => false,
                        };
                        done.then_some(())
                    });
                }

                fn expect(&mut self, topic: &str, qos: QoS, retain: bool, payload: &str) {
                    while self.messages.is_empty() {
                        self.wait(|event| matches!(event, Event::Incoming(Packet::Publish(_))).then_some(()));
                    }
                    let message = self.messages.pop_front().expect("one came");
                    let bytes: [&[u8]; 2] = [message.topic.as_ref(), &message.payload];
                    assert_eq!(bytes, [topic.as_bytes(), payload.as_bytes()]);
                    assert_eq!((message.qos, message.retain), (qos, retain));
                }

                fn disconnect(mut self) {
                    self.client.disconnect().expect("a request");
                    self.wait(|event| matches!(event, Event::Outgoing(Outgoing::Disconnect)).then_some(()));
                }
            }

            /// Goal: everything that users of rumqttc do.
            pub fn $test(case: &Case) {
                both_ways(case);
                retained(case);
                will(case);
                session(case);
            }

            fn both_ways(case: &Case) {
                let mut publisher = Peer::connect(case, "publisher", false, None);
                let mut subscriber = Peer::connect(case, "subscriber", false, None);
                let topic = case.topic("both");
                for granted in QOS {
                    subscriber.subscribe(&topic, granted);
                    for qos in QOS {
                        for number in 0..10 {
                            publisher.publish(&topic, qos, false, &number.to_string());
                            let lower = if qos as u8 <= granted as u8 { qos } else { granted };
                            subscriber.expect(&topic, lower, false, &number.to_string());
                        }
                    }
                }
                publisher.disconnect();
                subscriber.disconnect();
            }

            fn retained(case: &Case) {
                let topic = case.topic("retained");
                let mut publisher = Peer::connect(case, "publisher", false, None);
                publisher.publish(&topic, QoS::AtLeastOnce, true, "kept");
                let mut subscriber = Peer::connect(case, "subscriber", false, None);
                subscriber.subscribe(&topic, QoS::ExactlyOnce);
                subscriber.expect(&topic, QoS::AtLeastOnce, true, "kept");
                publisher.publish(&topic, QoS::AtLeastOnce, true, "");
                subscriber.expect(&topic, QoS::AtLeastOnce, false, "");
            }

            fn will(case: &Case) {
                let topic = case.topic("will");
                let mut watcher = Peer::connect(case, "watcher", false, None);
                watcher.subscribe(&topic, QoS::AtLeastOnce);
                Peer::connect(case, "content", false, Some(&topic)).disconnect();
                // Dropped: the socket closes without a DISCONNECT.
                drop(Peer::connect(case, "mortal", false, Some(&topic)));
                watcher.expect(&topic, QoS::AtLeastOnce, false, "gone");
                assert!(watcher.messages.is_empty());
            }

            fn session(case: &Case) {
                let topic = case.topic("session");
                let mut durable = Peer::connect(case, "durable", true, None);
                assert!(!durable.session_present);
                durable.subscribe(&topic, QoS::ExactlyOnce);
                durable.disconnect();
                let mut publisher = Peer::connect(case, "publisher", false, None);
                for number in 0..20 {
                    publisher.publish(&topic, QOS[1 + number % 2], false, &number.to_string());
                }
                let mut durable = Peer::connect(case, "durable", true, None);
                assert!(durable.session_present);
                for number in 0..20 {
                    durable.expect(&topic, QOS[1 + number % 2], false, &number.to_string());
                }
            }
        }
    };
}

exchange!(
    old,
    of_311,
    {
        use rumqttc::{Client, Connection, Event, LastWill, MqttOptions, Outgoing, Packet, Publish, QoS};
    },
    |options, durable| {
        options.set_clean_session(!durable);
    },
    |topic| LastWill::new(topic, "gone", QoS::AtLeastOnce, false)
);

exchange!(
    new,
    of_5,
    {
        use rumqttc::Outgoing;
        use rumqttc::v5::mqttbytes::QoS;
        use rumqttc::v5::mqttbytes::v5::{LastWill, Packet, Publish};
        use rumqttc::v5::{Client, Connection, Event, MqttOptions};
    },
    |options, durable| {
        options.set_clean_start(!durable);
        options.set_session_expiry_interval(Some(if durable { 300 } else { 0 }));
    },
    |topic| LastWill::new(topic, "gone", QoS::AtLeastOnce, false, None)
);
