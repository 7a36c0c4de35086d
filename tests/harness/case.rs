//! One test against a broker that it shares with others: names of its own, so that none sees another.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::broker::{Broker, Setup};
use crate::client::Client;
use crate::options::Options;
use crate::packet::Version;
use crate::program::Program;
use crate::stream::Transport;

/// A broker that many tests share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One shard: no rings.
    One,
    /// Two shards.
    Two,
    /// Five shards: more than the cores of a small machine.
    Five,
    /// Two shards that use only what Linux 6.1 has.
    TwoOnLinux61,
}

/// What a test gets: the broker, the protocol version, names.
pub struct Case {
    /// The protocol version that [`Case::client`] uses.
    pub version: Version,
    /// How many shards the broker has.
    pub shards: u32,
    broker: &'static Broker,
    name: String,
}

impl Shape {
    /// The configuration of this shape.
    pub fn setup(self) -> Setup {
        let setup = |shards| Setup::shards(shards).toml("[sys]\ninterval = \"1s\"").ws("");
        let setup = |shards| {
            let (tls, wss) = ("name = \"of the case\"", "name = \"web of the case\"");
            setup(shards).encrypted(Transport::Tls, tls).encrypted(Transport::Wss, wss)
        };
        match self {
            Self::One => setup(1),
            Self::Two => setup(2),
            Self::Five => setup(5),
            Self::TwoOnLinux61 => setup(2).toml("[kernel]\nno_sqarray = false\ndirect_descriptors = false"),
        }
    }

    /// The broker of this shape, started at first use and ended with the test process.
    fn broker(self) -> &'static Broker {
        static BROKERS: [OnceLock<Broker>; 4] = [const { OnceLock::new() }; 4];
        BROKERS[self as usize].get_or_init(|| self.setup().start())
    }
}

impl Case {
    /// Runs `test` under the name `path`. Where the broker under test is not ours, tests of ours alone and all shapes
    /// but one pass at once.
    pub fn run(path: &str, shape: Shape, version: Version, ours_only: bool, test: fn(&Self)) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if Program::tested() != Program::Ringmain && (ours_only || shape != Shape::One) {
            return;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let words: Vec<&str> = path.split("::").skip(1).take(2).collect();
        let case = Self {
            version,
            shards: shape.setup().shards,
            broker: shape.broker(),
            name: format!("{}-{number}", words.join("-")),
        };
        test(&case);
    }

    /// The broker; other tests use it at the same time.
    pub fn broker(&self) -> &'static Broker {
        self.broker
    }

    /// Whether the broker under test is ours.
    pub fn ours(&self) -> bool {
        Program::tested() == Program::Ringmain
    }

    /// Whether the protocol version is 5.0.
    pub fn v5(&self) -> bool {
        self.version == Version::V5
    }

    /// A topic or a filter under this test's own first level.
    pub fn topic(&self, rest: &str) -> String {
        format!("{}/{rest}", self.name)
    }

    /// A client identifier of this test alone.
    pub fn id(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    /// A clean connection to be made.
    pub fn client(&self, name: &str) -> Options {
        self.broker.client(self.version, &self.id(name))
    }

    /// A clean connection.
    pub fn connect(&self, name: &str) -> Client {
        self.client(name).connect()
    }
}

/// Makes tests of functions that take a [`Case`]: one for each version of the protocol and each shape of the broker.
///
/// `broker_tests!(both: a, b)` runs with 3.1.1 and 5.0, `v5:` and `v311:` with one; `both ours:` and so on pass at
/// once where the broker under test is not ours.
#[macro_export]
macro_rules! broker_tests {
    (both: $($test:ident),+ $(,)?) => { $($crate::broker_tests!(@module $test false V311 V5);)+ };
    (v5: $($test:ident),+ $(,)?) => { $($crate::broker_tests!(@module $test false V5);)+ };
    (v311: $($test:ident),+ $(,)?) => { $($crate::broker_tests!(@module $test false V311);)+ };
    (both ours: $($test:ident),+ $(,)?) => { $($crate::broker_tests!(@module $test true V311 V5);)+ };
    (v5 ours: $($test:ident),+ $(,)?) => { $($crate::broker_tests!(@module $test true V5);)+ };
    (v311 ours: $($test:ident),+ $(,)?) => { $($crate::broker_tests!(@module $test true V311);)+ };
    (@module $test:ident $ours:literal $($version:ident)+) => {
        #[cfg(test)]
        mod $test {
            $($crate::broker_tests!(@version $test $ours $version);)+
        }
    };
    (@version $test:ident $ours:literal V311) => { $crate::broker_tests!(@shapes v311 $test $ours V311); };
    (@version $test:ident $ours:literal V5) => { $crate::broker_tests!(@shapes v5 $test $ours V5); };
    (@shapes $module:ident $test:ident $ours:literal $version:ident) => {
        mod $module {
            #[test]
            fn shards_1() {
                $crate::broker_tests!(@run $test $ours $version One);
            }
            #[test]
            fn shards_2() {
                $crate::broker_tests!(@run $test $ours $version Two);
            }
            #[test]
            fn shards_5() {
                $crate::broker_tests!(@run $test $ours $version Five);
            }
            #[test]
            fn linux_6_1() {
                $crate::broker_tests!(@run $test $ours $version TwoOnLinux61);
            }
        }
    };
    (@run $test:ident $ours:literal $version:ident $shape:ident) => {
        $crate::case::Case::run(
            module_path!(), $crate::case::Shape::$shape, $crate::packet::Version::$version, $ours, super::super::$test,
        )
    };
}
