//! Who is measured, and what is known of each before it runs.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::measure::Measure;

/// One column of the report. Its serialised name is the one of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Broker {
    /// Bare io_uring loops, in the mode that fits the measure.
    Floor,
    /// One shard, everything else at its default.
    Ringmain,
    /// The same with 50 µs of spinning before it sleeps.
    RingmainSpinning,
    /// Two shards, everything else at its default.
    RingmainTwoShards,
    Mosquitto,
    NatsServer,
    RabbitmqServer,
    Rumqttd,
}

use Broker::{Floor, Mosquitto, NatsServer, RabbitmqServer, Ringmain, RingmainSpinning, RingmainTwoShards, Rumqttd};

/// All, in the order of the report's columns.
pub const BROKERS: [Broker; 8] =
    [Floor, Ringmain, RingmainSpinning, RingmainTwoShards, Mosquitto, NatsServer, RabbitmqServer, Rumqttd];

impl Broker {
    /// As a column's heading says it.
    pub fn title(self) -> &'static str {
        match self {
            RingmainSpinning => "ringmain, spinning",
            RingmainTwoShards => "ringmain, 2 shards",
            other => other.program(),
        }
    }

    /// The name of its program.
    pub fn program(self) -> &'static str {
        match self {
            Floor => "floor",
            Ringmain | RingmainSpinning | RingmainTwoShards => "ringmain",
            Mosquitto => "mosquitto",
            NatsServer => "nats-server",
            RabbitmqServer => "rabbitmq-server",
            Rumqttd => "rumqttd",
        }
    }

    /// Whether it is another project's.
    pub fn is_peer(self) -> bool {
        matches!(self, Mosquitto | NatsServer | RabbitmqServer | Rumqttd)
    }

    /// Its configuration with placeholders; those without a file are configured by flags alone.
    pub fn configuration(self) -> Option<&'static str> {
        match self {
            Floor | Ringmain | RingmainSpinning | RingmainTwoShards => None,
            Mosquitto => Some(include_str!("../../peers/mosquitto.conf")),
            NatsServer => Some(include_str!("../../peers/nats-server.conf")),
            RabbitmqServer => Some(include_str!("../../peers/rabbitmq.conf")),
            Rumqttd => Some(include_str!("../../peers/rumqttd.toml")),
        }
    }

    /// Whether starting takes so long that one process serves all rounds of a group, stopped (SIGSTOP) while others
    /// run.
    pub fn starts_slowly(self) -> bool {
        self == RabbitmqServer
    }

    /// Why it cannot do what is measured.
    pub fn lacks(self, measure: &Measure) -> Option<&'static str> {
        let qos_2 = measure.argument("-q") == Some("2");
        let version_5 = measure.argument("-V") == Some("5");
        match self {
            Floor => measure.floor.is_none().then_some("the floor has no such loop"),
            NatsServer if qos_2 => Some("nats-server 2.9 has no QoS 2"),
            NatsServer if version_5 => Some("nats-server has no MQTT 5.0"),
            RabbitmqServer if qos_2 => Some("rabbitmq-server delivers QoS 2 as QoS 1"),
            RabbitmqServer if version_5 => Some("rabbitmq-server 3.10 has no MQTT 5.0"),
            _ => None,
        }
    }

    /// Roughly, in seconds: to start and end, for one connection with its subscription, and for one delivery. Only the
    /// expected duration of a suite hangs on it.
    pub fn pace(self) -> (f64, f64, f64) {
        match self {
            Floor | Ringmain | RingmainSpinning | RingmainTwoShards => (0.4, 40e-6, 1e-6),
            Mosquitto => (0.4, 60e-6, 12e-6),
            NatsServer => (0.5, 350e-6, 15e-6),
            RabbitmqServer => (1.0, 4e-3, 90e-6),
            Rumqttd => (0.4, 350e-6, 3e-6),
        }
    }
}
