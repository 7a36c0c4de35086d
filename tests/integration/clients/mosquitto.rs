//! mosquitto_pub and mosquitto_sub.

use ringmain_tests::process::Process;
use ringmain_tests::{Case, DEADLINE, broker_tests};

broker_tests!(both: both_ways, retained, will, session);

/// The arguments that every call has.
fn common<'a>(case: &Case, port: &'a str, id: &'a str) -> Vec<&'a str> {
    vec!["-h", "127.0.0.1", "-p", port, "-i", id, "-V", if case.v5() { "mqttv5" } else { "mqttv311" }]
}

/// A `mosquitto_sub` that has subscribed. It prints each message as QoS, RETAIN, topic and payload.
fn subscribe(case: &Case, name: &str, args: &[&str]) -> Process {
    let process = start(case, name, args);
    process.wait_for("Subscribed", DEADLINE).unwrap_or_else(|printed| panic!("mosquitto_sub: {printed}"));
    process
}

fn start(case: &Case, name: &str, args: &[&str]) -> Process {
    let (port, id) = (case.broker().tcp().port().to_string(), case.id(name));
    let all = [&["-oL", "mosquitto_sub"], common(case, &port, &id).as_slice(), &["-d", "-F", "got %q %r %t %p"], args]
        .concat();
    let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
    // Its standard output is line buffered for us only if it is told to.
    Process::start("stdbuf", &all, &[])
}

fn publish(case: &Case, args: &[&str]) {
    let (port, id) = (case.broker().tcp().port().to_string(), case.id("pub"));
    let (status, printed) =
        Process::run("mosquitto_pub", &[common(case, &port, &id).as_slice(), args].concat(), DEADLINE);
    assert!(status.success(), "mosquitto_pub {args:?}: {status} {printed}");
}

fn expect(subscriber: &Process, line: &str) {
    subscriber
        .wait_for(&format!("got {line}"), DEADLINE)
        .unwrap_or_else(|printed| panic!("{line:?} did not come: {printed}"));
}

/// Goal: messages of each QoS reach a subscriber of each QoS.
fn both_ways(case: &Case) {
    for granted in ["0", "1", "2"] {
        let topic = case.topic(granted);
        let subscriber = subscribe(case, "sub", &["-q", granted, "-t", &topic]);
        for qos in ["0", "1", "2"] {
            publish(case, &["-q", qos, "-t", &topic, "-m", &format!("message {qos}")]);
            expect(&subscriber, &format!("{} 0 {topic} message {qos}", qos.min(granted)));
        }
    }
}

/// Goal: a retained message is there for who comes later, until it is removed.
fn retained(case: &Case) {
    let topic = case.topic("t");
    publish(case, &["-q", "1", "-r", "-t", &topic, "-m", "kept"]);
    expect(&subscribe(case, "sub", &["-q", "1", "-t", &topic]), &format!("1 1 {topic} kept"));
    publish(case, &["-q", "1", "-r", "-t", &topic, "-n"]);
    let late = subscribe(case, "late", &["-t", &topic]);
    publish(case, &["-t", &topic, "-m", "live"]);
    expect(&late, &format!("0 0 {topic} live"));
    assert!(!late.printed().contains("kept"));
}

/// Goal: a client that is killed leaves its will.
fn will(case: &Case) {
    let topic = case.topic("will");
    let watcher = subscribe(case, "watcher", &["-q", "1", "-t", &topic]);
    let will = ["--will-topic", &topic, "--will-payload", "gone", "--will-qos", "1", "-t", &case.topic("other")];
    subscribe(case, "mortal", &will).kill();
    expect(&watcher, &format!("1 0 {topic} gone"));
}

/// Goal: what was published while a durable session's client was away is there when it returns.
fn session(case: &Case) {
    let topic = case.topic("t");
    let mut args = vec!["-c", "-q", "2", "-t", &topic];
    if case.v5() {
        args.extend(["-x", "300"]);
    }
    let mut first = subscribe(case, "durable", &args);
    first.signal("TERM");
    first.exit(DEADLINE).expect("mosquitto_sub ends on SIGTERM");
    for number in ["1", "2"] {
        publish(case, &["-q", number, "-t", &topic, "-m", number]);
    }
    let again = start(case, "durable", &args);
    expect(&again, &format!("1 0 {topic} 1"));
    expect(&again, &format!("2 0 {topic} 2"));
}
