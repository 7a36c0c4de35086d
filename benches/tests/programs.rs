//! The programs together: `floor` serves what `ringload` asks for, and `ringload` notices a broker that does wrong.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use serde_json::Value;

/// A `floor` that ends with its value.
struct Floor {
    child: Child,
    port: String,
}

impl Floor {
    fn start(mode: &str) -> Floor {
        let mut child = Command::new(env!("CARGO_BIN_EXE_floor"))
            .args(["--port", "0", "--mode", mode])
            .stdout(Stdio::piped())
            .spawn()
            .expect("floor starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let port = line.trim().rsplit(':').next().expect("an address").to_owned();
        Floor { child, port }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ringload(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringload")).args(args).output().expect("ringload starts")
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report: {output:?}"))
}

/// Every scenario that has a floor runs on it without a fault, with exactly the deliveries that its plan says.
#[test]
fn floor_serves_every_scenario() {
    let cases: [(&str, &[&str], u64); 9] = [
        ("fanout-send", &["fanout", "-c", "20", "--inflight", "8", "--messages", "200"], 4000),
        ("fanout-log", &["fanout", "-c", "20", "--inflight", "8", "--messages", "200", "-V", "5"], 4000),
        ("fanout-log", &["rooms", "--rooms", "3", "-c", "5", "--rate", "5000", "--each", "50"], 750),
        ("fanout-send", &["rooms", "--rooms", "3", "--zipf", "1", "-c", "11", "--each", "50"], 550),
        ("fanout-log", &["fanout", "-c", "5", "--others", "2345", "--each", "30", "-V", "5"], 150),
        ("fanout-send", &["pairs", "-c", "5", "--others", "1", "--each", "30"], 150),
        ("fanin", &["fanin", "-c", "20", "--each", "30"], 600),
        ("fanout-send", &["pairs", "-c", "20", "--each", "30", "-s", "20000", "--inflight", "4"], 600),
        ("fanout-log", &["ping-pong", "--messages", "100"], 100),
    ];
    for (mode, args, deliveries) in cases {
        let floor = Floor::start(mode);
        let pid = floor.child.id().to_string();
        let output = ringload(&[args, &["--json", "-p", &floor.port, "--broker-pid", &pid]].concat());
        let report = report(&output);
        assert_eq!(output.status.code(), Some(0), "{mode} {args:?}: {report}");
        assert_eq!(report["traffic"]["delivered"], deliveries, "{mode} {args:?}");
        assert!(report["traffic"]["broker"]["cpu_ns_per_delivery"].as_f64().is_some_and(|ns| ns > 0.0));
    }
}

/// A subscriber that stops reading for a while takes nothing from the others.
#[test]
fn slow_runs_on_floor() {
    let floor = Floor::start("fanout-log");
    let args = ["slow", "-c", "5", "--rate", "2000", "--windows", "1", "--seconds", "0.2", "--warmup", "0.1"];
    let output = ringload(&[&args[..], &["--json", "-p", &floor.port]].concat());
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!(report["slow"]["windows"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["slow"]["missed"], 0, "floor drops nothing");
}

/// Subscribers gather as Zipf's law says, and unrelated subscriptions are as many as asked for; both are told.
#[test]
fn audiences_are_reported() {
    let floor = Floor::start("fanout-log");
    let args =
        ["rooms", "--rooms", "3", "--zipf", "1", "-c", "11", "--others", "1500", "--rate", "3000", "--each", "9"];
    let output = ringload(&[&args[..], &["--json", "-p", &floor.port]].concat());
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    let rooms = &report["rooms"];
    assert_eq!([&rooms["rooms"], &rooms["largest"], &rooms["smallest"]].map(Value::as_u64), [3, 6, 2].map(Some));
    let others = &report["others"];
    assert_eq!([&others["subscriptions"], &others["connections"]].map(Value::as_u64), [1500, 2].map(Some));
    assert_eq!(report["clients"], 2 + 3 + 11);
    assert!(report["traffic"]["own"]["late_us"]["count"].as_u64().is_some_and(|count| count == 27), "{report}");
}

/// Storms of clients come and go, and the room loses nothing; each storm has as many as asked for, twice over.
#[test]
fn storm_runs_on_floor() {
    let floor = Floor::start("fanout-send");
    let pid = floor.child.id().to_string();
    let args = ["storm", "-c", "5", "--storm", "150", "--windows", "2", "--seconds", "0.1", "--warmup", "0.1"];
    let output = ringload(&[&args[..], &["--json", "-p", &floor.port, "--broker-pid", &pid]].concat());
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    let storm = &report["storm"];
    let stormy: Vec<_> = storm["windows"].as_array().unwrap().iter().map(|window| window["stormy"] == true).collect();
    assert_eq!(stormy, [false, true, false, true]);
    assert_eq!(storm["connect_us"]["count"], 300);
    assert!(storm["connections_per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{storm}");
    assert!(storm["cpu_ns_per_connection"].is_number(), "{storm}");
}

/// A broker that sends what nobody asked for to the holder of unrelated subscriptions misroutes, which is status 3.
#[test]
fn misrouted_to_others_is_noticed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let broker = thread::spawn(move || {
        // They connect in the order of their numbers: the first is the holder.
        let other = listener.accept().unwrap().0;
        let copy = other.try_clone().unwrap();
        let holder = thread::spawn(move || repeat(other, None));
        repeat(listener.accept().unwrap().0, Some(copy));
        holder.join().unwrap();
    });
    let output = ringload(&["ping-pong", "--others", "3", "--messages", "10", "--json", "-p", &port]);
    broker.join().unwrap();
    let report = report(&output);
    assert_eq!(output.status.code(), Some(3), "{report}");
    assert_eq!((&report["faults"]["misrouted"], &report["faults"]["repeated"]), (&10.into(), &0.into()));
}

/// A broker that delivers twice makes the run invalid, which is status 3.
#[test]
fn repeated_messages_are_invalid() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let broker = thread::spawn(move || {
        let client = listener.accept().unwrap().0;
        let copy = client.try_clone().unwrap();
        repeat(client, Some(copy));
    });
    let output = ringload(&["ping-pong", "--messages", "10", "--json", "-p", &port]);
    broker.join().unwrap();
    let report = report(&output);
    assert_eq!(output.status.code(), Some(3), "{report}");
    assert_eq!((&report["valid"], report["faults"]["repeated"].as_u64()), (&Value::Bool(false), Some(10)));
}

/// Serves one client whose packets are below 128 bytes, and sends it its messages, and each to `second` too.
fn repeat(mut client: TcpStream, mut second: Option<TcpStream>) {
    let mut header = [0; 2];
    while client.read_exact(&mut header).is_ok() {
        let mut body = vec![0; usize::from(header[1])];
        client.read_exact(&mut body).unwrap();
        match header[0] {
            0x10 => client.write_all(&[0x20, 2, 0, 0]).unwrap(),
            0x82 => {
                let (mut at, mut codes) = (2, Vec::new());
                while at < body.len() {
                    at += 2 + usize::from(body[at + 1]) + 1;
                    codes.push(0);
                }
                let header = [0x90, 2 + codes.len() as u8, body[0], body[1]];
                client.write_all(&[&header[..], &codes].concat()).unwrap();
            }
            0x30 => {
                let message = [&header[..], &body].concat();
                client.write_all(&message).unwrap();
                if let Some(second) = &mut second {
                    second.write_all(&message).unwrap();
                }
            }
            0xC0 => client.write_all(&[0xD0, 0]).unwrap(),
            _ => return,
        }
    }
}

/// A reader that has seen enough (`| head`) is no failure; a disk that is full is one, with its name. Both were a panic.
#[test]
fn output_that_cannot_be_written() {
    let floor = Floor::start("fanin");
    let measures: &[&str] = &["fanin", "-c", "2", "--each", "3", "-p", &floor.port];
    for args in [measures, &[measures, &["--json"]].concat(), &["suite", "--dry-run"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let run = |out: Stdio| {
            let mut ringload = Command::new(env!("CARGO_BIN_EXE_ringload"));
            let output = ringload.args(args).stdout(out).stderr(Stdio::piped()).output().expect("ringload starts");
            (output.status.code(), String::from_utf8(output.stderr).expect("text"))
        };
        let (code, said) = run(writer.into());
        assert!(code == Some(0) && !said.contains("write"), "{args:?}: {code:?}, {said}");
        let full = File::options().write(true).open("/dev/full").expect("Linux has it");
        let (code, said) = run(full.into());
        assert_eq!(code, Some(1), "{args:?}: {said}");
        assert!(said.contains("ringload: cannot write to standard output: No space left"), "{args:?}: {said}");
    }
}

/// Where nothing listens, the error names the address and what to do.
#[test]
fn refused_connection_is_explained() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let output = ringload(&["connect", "-c", "1", "-p", &port]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("127.0.0.1:{port}")) && said.contains("-h and -p"), "{said}");
}
