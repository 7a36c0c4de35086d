//! mosquitto_pub and mosquitto_sub, over TCP and TLS; Debian's speak no WebSocket.

use super::Via;
use ringmain_tests::authority;
use ringmain_tests::process::Process;
use ringmain_tests::{Case, DEADLINE, Transport, broker_tests};

broker_tests!(both: over_tcp);
broker_tests!(both ours: over_tls);

/// Goal: everything that users of these programs do.
fn over_tcp(case: &Case) {
    exchange(Via { case, transport: Transport::Tcp });
}

/// Goal: the same over TLS.
fn over_tls(case: &Case) {
    exchange(Via { case, transport: Transport::Tls });
}

fn exchange(via: Via<'_>) {
    both_ways(via);
    retained(via);
    will(via);
    session(via);
}

impl Via<'_> {
    /// The arguments that every call has.
    fn common(self, name: &str) -> Vec<String> {
        let level = if self.case.v5() { "mqttv5" } else { "mqttv311" };
        let (address, id) = (self.address(), self.case.id(name));
        let mut words: Vec<String> =
            ["-h", "127.0.0.1", "-p", &address.port().to_string(), "-i", &id, "-V", level].map(str::to_owned).to_vec();
        if self.transport == Transport::Tls {
            words.extend(["--cafile".to_owned(), authority::of_this_run().0.file.display().to_string()]);
        }
        words
    }

    /// A `mosquitto_sub` that has subscribed. It prints each message as QoS, RETAIN, topic and payload.
    fn subscribe(self, name: &str, args: &[&str]) -> Process {
        let process = self.start(name, args);
        process.wait_for("Subscribed", DEADLINE).unwrap_or_else(|printed| panic!("mosquitto_sub: {printed}"));
        process
    }

    fn start(self, name: &str, args: &[&str]) -> Process {
        let own = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let all = [own(&["-oL", "mosquitto_sub"]), self.common(name), own(&["-d", "-F", "got %q %r %t %p"]), own(args)];
        // Its standard output is line buffered for us only if it is told to.
        Process::start("stdbuf", &all.concat(), &[])
    }

    fn publish(self, args: &[&str]) {
        let common = self.common("pub");
        let all: Vec<&str> = common.iter().map(String::as_str).chain(args.iter().copied()).collect();
        let (status, printed) = Process::run("mosquitto_pub", &all, DEADLINE);
        assert!(status.success(), "mosquitto_pub {args:?}: {status} {printed}");
    }
}

fn expect(subscriber: &Process, line: &str) {
    subscriber
        .wait_for(&format!("got {line}"), DEADLINE)
        .unwrap_or_else(|printed| panic!("{line:?} did not come: {printed}"));
}

/// Messages of each QoS reach a subscriber of each QoS.
fn both_ways(via: Via<'_>) {
    for granted in ["0", "1", "2"] {
        let topic = via.case.topic(granted);
        let subscriber = via.subscribe("sub", &["-q", granted, "-t", &topic]);
        for qos in ["0", "1", "2"] {
            via.publish(&["-q", qos, "-t", &topic, "-m", &format!("message {qos}")]);
            expect(&subscriber, &format!("{} 0 {topic} message {qos}", qos.min(granted)));
        }
    }
}

/// A retained message is there for who comes later, until it is removed.
fn retained(via: Via<'_>) {
    let topic = via.case.topic("retained");
    via.publish(&["-q", "1", "-r", "-t", &topic, "-m", "kept"]);
    expect(&via.subscribe("sub", &["-q", "1", "-t", &topic]), &format!("1 1 {topic} kept"));
    via.publish(&["-q", "1", "-r", "-t", &topic, "-n"]);
    let late = via.subscribe("late", &["-t", &topic]);
    via.publish(&["-t", &topic, "-m", "live"]);
    expect(&late, &format!("0 0 {topic} live"));
    assert!(!late.printed().contains("kept"));
}

/// A client that is killed leaves its will.
fn will(via: Via<'_>) {
    let topic = via.case.topic("will");
    let watcher = via.subscribe("watcher", &["-q", "1", "-t", &topic]);
    let will = ["--will-topic", &topic, "--will-payload", "gone", "--will-qos", "1", "-t", &via.case.topic("other")];
    via.subscribe("mortal", &will).kill();
    expect(&watcher, &format!("1 0 {topic} gone"));
}

/// What was published while a durable session's client was away is there when it returns.
fn session(via: Via<'_>) {
    let topic = via.case.topic("session");
    let mut args = vec!["-c", "-q", "2", "-t", &topic];
    if via.case.v5() {
        args.extend(["-x", "300"]);
    }
    let mut first = via.subscribe("durable", &args);
    first.signal("TERM");
    first.exit(DEADLINE).expect("mosquitto_sub ends on SIGTERM");
    for number in ["1", "2"] {
        via.publish(&["-q", number, "-t", &topic, "-m", number]);
    }
    let again = via.start("durable", &args);
    expect(&again, &format!("1 0 {topic} 1"));
    expect(&again, &format!("2 0 {topic} 2"));
}
