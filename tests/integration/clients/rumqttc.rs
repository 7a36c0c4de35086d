//! rumqttc (crates.io): its clients of 3.1.1 and of 5.0 are two sets of types with the same shape.

use std::sync::Arc;

use ringmain_tests::{Case, TlsClient, Transport, broker_tests};
use rumqttc::TlsConfiguration;

use self::new::of_5;
use self::old::of_311;
use super::Via;

broker_tests!(both: over_tcp);
broker_tests!(both ours: over_websocket, over_tls, over_wss);

/// Goal: everything that users of rumqttc do.
fn over_tcp(case: &Case) {
    exchange(case, Transport::Tcp);
}

/// Goal: the same over WebSocket.
fn over_websocket(case: &Case) {
    exchange(case, Transport::Ws);
}

/// Goal: the same over TLS.
fn over_tls(case: &Case) {
    exchange(case, Transport::Tls);
}

/// Goal: the same over WebSocket over TLS.
fn over_wss(case: &Case) {
    exchange(case, Transport::Wss);
}

fn exchange(case: &Case, transport: Transport) {
    let via = Via { case, transport };
    if case.v5() { of_5(via) } else { of_311(via) }
}

/// What a client of rumqttc calls its server, and how it goes there.
fn destination(via: Via<'_>) -> (String, rumqttc::Transport) {
    let address = via.address();
    let trusting = || TlsConfiguration::Rustls(Arc::clone(&TlsClient::of_this_run().config));
    match via.transport {
        Transport::Tcp => (address.ip().to_string(), rumqttc::Transport::tcp()),
        Transport::Tls => (address.ip().to_string(), rumqttc::Transport::tls_with_config(trusting())),
        Transport::Ws => (format!("ws://{address}/mqtt"), rumqttc::Transport::ws()),
        Transport::Wss => (format!("wss://{address}/mqtt"), rumqttc::Transport::wss_with_config(trusting())),
    }
}

/// The whole exchange for one of the two sets of types, which `$import` brings in; `$durable` sets how long a session
/// is kept.
macro_rules! exchange {
    ($module:ident, $test:ident, { $($import:tt)* }, $durable:expr, $will:expr) => {
        mod $module {
            use std::collections::VecDeque;
            use std::time::Instant;

            use ringmain_tests::DEADLINE;

            use super::{Via, destination};
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
                fn connect(via: Via<'_>, name: &str, durable: bool, will: Option<&str>) -> Self {
                    let (host, transport) = destination(via);
                    let mut options = MqttOptions::new(via.case.id(name), host, via.address().port());
                    options.set_transport(transport);
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

            /// Everything that users of rumqttc do.
            pub fn $test(via: Via<'_>) {
                both_ways(via);
                retained(via);
                will(via);
                session(via);
            }

            fn both_ways(via: Via<'_>) {
                let mut publisher = Peer::connect(via, "publisher", false, None);
                let mut subscriber = Peer::connect(via, "subscriber", false, None);
                let topic = via.case.topic("both");
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

            fn retained(via: Via<'_>) {
                let topic = via.case.topic("retained");
                let mut publisher = Peer::connect(via, "publisher", false, None);
                publisher.publish(&topic, QoS::AtLeastOnce, true, "kept");
                let mut subscriber = Peer::connect(via, "subscriber", false, None);
                subscriber.subscribe(&topic, QoS::ExactlyOnce);
                subscriber.expect(&topic, QoS::AtLeastOnce, true, "kept");
                publisher.publish(&topic, QoS::AtLeastOnce, true, "");
                subscriber.expect(&topic, QoS::AtLeastOnce, false, "");
            }

            fn will(via: Via<'_>) {
                let topic = via.case.topic("will");
                let mut watcher = Peer::connect(via, "watcher", false, None);
                watcher.subscribe(&topic, QoS::AtLeastOnce);
                Peer::connect(via, "content", false, Some(&topic)).disconnect();
                // Dropped: the socket closes without a DISCONNECT.
                drop(Peer::connect(via, "mortal", false, Some(&topic)));
                watcher.expect(&topic, QoS::AtLeastOnce, false, "gone");
                assert!(watcher.messages.is_empty());
            }

            fn session(via: Via<'_>) {
                let topic = via.case.topic("session");
                let mut durable = Peer::connect(via, "durable", true, None);
                assert!(!durable.session_present);
                durable.subscribe(&topic, QoS::ExactlyOnce);
                durable.disconnect();
                let mut publisher = Peer::connect(via, "publisher", false, None);
                for number in 0..20 {
                    publisher.publish(&topic, QOS[1 + number % 2], false, &number.to_string());
                }
                let mut durable = Peer::connect(via, "durable", true, None);
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
