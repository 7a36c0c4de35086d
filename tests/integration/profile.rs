//! The stage profile: `$SYS/broker/shards/N/profile/`, and the table when the program stops.

use std::collections::BTreeMap;

use ringmain_tests::process::Process;
use ringmain_tests::program::{Program, ringmain};
use ringmain_tests::{Client, DEADLINE, DataDirectory, Options, Setup, Transport, Version};

/// The stages, in the order of the table.
const STAGES: [&str; 14] = [
    "receive",
    "parse",
    "session",
    "frame",
    "ring",
    "match",
    "encode",
    "flush",
    "kernel_send",
    "kernel_poll",
    "kernel_wait",
    "asleep",
    "spin",
    "other",
];

/// A broker that publishes `$SYS` each second, with this much more in its `[node]`.
fn setup(shards: u32, node: &str) -> Setup {
    Setup::shards(shards).toml(&format!("[node]\n{node}\n[sys]\ninterval = \"1s\""))
}

/// Messages from one client to itself, so that each stage has something to do.
fn exchange(client: &mut Client, messages: usize) {
    client.subscribe("t", 0);
    for _ in 0..messages {
        client.publish("t", 0, "12345");
        client.message();
    }
}

/// Goal: with `profile = true` each shard publishes the time and the count of every stage, and those of a message grow
/// with the messages.
#[test]
fn stages_are_published() {
    if Program::tested() != Program::Ringmain {
        return;
    }
    for shards in [1, 2] {
        let broker = setup(shards, "profile = true").start();
        let mut client = broker.client(Version::V5, "a").connect();
        exchange(&mut client, 100);
        client.subscribe("$SYS/broker/shards/+/profile/#", 0);
        let mut told = BTreeMap::new();
        let value = |told: &BTreeMap<String, u64>, shard: u32, name: &str| {
            told.get(&format!("$SYS/broker/shards/{shard}/profile/{name}")).copied()
        };
        let complete = |told: &BTreeMap<String, u64>| {
            let frames: u64 = (0..shards).filter_map(|shard| value(told, shard, "frame/count")).sum();
            frames >= 100 && told.len() == shards as usize * (2 * STAGES.len() + 1)
        };
        while !complete(&told) {
            let message = client.message();
            told.insert(message.topic.clone(), message.text().parse().expect("a number"));
        }
        for shard in 0..shards {
            assert!(value(&told, shard, "turns") > Some(0));
            for stage in STAGES {
                assert!(value(&told, shard, &format!("{stage}/ns")).is_some(), "{stage}: {told:?}");
                assert!(value(&told, shard, &format!("{stage}/count")).is_some(), "{stage}: {told:?}");
            }
        }
    }
}

/// Goal: `--profile` prints a table for each shard at the end, whose shares add up to the whole.
#[test]
fn the_table_adds_up() {
    if Program::tested() != Program::Ringmain {
        return;
    }
    let args = ["--bind", "127.0.0.1:0", "--shards", "2", "--profile"].map(str::to_owned);
    let data = DataDirectory::new();
    let mut process = Process::start(&ringmain().display().to_string(), &args, &data.environment());
    let port = process.wait_for("listening on 127.0.0.1:", DEADLINE).expect("it listens");
    let port = port.split(' ').next().and_then(|port| port.parse().ok()).expect("a port");
    let mut client = Options::new(([127, 0, 0, 1], port).into(), Version::V5, "a").connect_by(Transport::Tcp);
    exchange(&mut client, 100);
    process.signal("TERM");
    assert!(process.exit(DEADLINE).is_some_and(|status| status.success()), "{}", process.printed());
    let printed = process.printed();
    let tables: Vec<&str> = printed.split("profile of shard ").skip(1).collect();
    assert_eq!(tables.len(), 2, "{printed}");
    let mut frames = 0;
    for table in tables {
        let rows: Vec<Vec<&str>> = table.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
        let names: Vec<&str> = rows.iter().take(STAGES.len() + 1).map(|row| row[0]).collect();
        assert_eq!(names, [&STAGES[..], &["all"]].concat(), "{table}");
        let share: f64 = rows[..STAGES.len()].iter().map(|row| row[1].parse::<f64>().expect("a share")).sum();
        assert!((share - 100.0).abs() < 0.2, "{share} %: {table}");
        frames += rows[3][6].parse::<u64>().expect("a count");
    }
    assert!(frames >= 100, "{printed}");
}

/// Goal: without being asked for there is neither a topic nor a table.
#[test]
fn nothing_is_measured_unasked() {
    if Program::tested() != Program::Ringmain {
        return;
    }
    let mut broker = setup(1, "").start();
    let mut client = broker.client(Version::V5, "a").connect();
    // Each publication has the profile before the node's own topics: once the uptime has come twice, it would be there.
    client.subscribe("$SYS/broker/uptime", 0);
    client.message();
    client.message();
    client.subscribe("$SYS/broker/shards/0/profile/#", 0);
    client.subscribe("$SYS/broker/version", 0);
    loop {
        let message = client.message();
        assert!(!message.topic.contains("profile"), "{}", message.topic);
        if message.topic == "$SYS/broker/version" {
            break;
        }
    }
    broker.terminate(DEADLINE);
    let printed = broker.log();
    assert!(!printed.contains("profile of shard"), "{printed}");
}
