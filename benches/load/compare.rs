//! Floor, ringmain and mosquitto in interleaved rounds on one machine: only ratios of one run carry over to another.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::args::Compare;
use crate::histogram::median;
use crate::scenario::Stop;

/// What is measured: the load's arguments, and the cheapest mode of `floor` that does the same.
struct Measure {
    name: &'static str,
    load: &'static [&'static str],
    floor: Option<&'static str>,
}

const MEASURES: [Measure; 5] = [
    Measure {
        name: "fan-out 1 to 1000, 1 in flight",
        load: &["fanout", "-c", "1000", "--inflight", "1"],
        floor: Some("fanout-log"),
    },
    Measure {
        name: "fan-out 1 to 1000, 64 in flight",
        load: &["fanout", "-c", "1000", "--inflight", "64"],
        floor: Some("fanout-log"),
    },
    Measure {
        name: "QoS 1, 1 to 1000, 16 in flight",
        load: &["fanout", "-c", "1000", "--inflight", "16", "-q", "1"],
        floor: None,
    },
    Measure { name: "500 pairs, 1 in flight each", load: &["pairs", "-c", "500"], floor: Some("fanout-send") },
    Measure { name: "fan-in 1000 to 1, 1 in flight each", load: &["fanin", "-c", "1000"], floor: Some("fanin") },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Floor,
    Ringmain,
    Mosquitto,
}

const KINDS: [(Kind, &str); 3] = [(Kind::Floor, "floor"), (Kind::Ringmain, "ringmain"), (Kind::Mosquitto, "mosquitto")];

/// Time for a broker to listen, and for one to end.
const START_MAX: Duration = Duration::from_secs(10);
const STOP_MAX: Duration = Duration::from_secs(6);

/// Runs all measures; returns the exit status.
///
/// # Errors
/// A program is missing, does not start, or a load run could not be made.
pub fn run(args: &Compare, stop: &Stop) -> Result<u8, Box<dyn Error>> {
    let programs = Programs::find(args)?;
    let mut results = Vec::new();
    let wanted = |name: &str| args.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    for measure in MEASURES.iter().filter(|measure| wanted(measure.name)) {
        let mut samples = [const { Vec::new() }; KINDS.len()];
        for round in 0..args.rounds {
            for (at, (kind, name)) in KINDS.into_iter().enumerate() {
                if stop.load(Ordering::Relaxed) {
                    return Ok(130);
                }
                let Some(broker) = programs.start(kind, measure, args)? else { continue };
                let ns = broker.load(measure, args)?;
                if !args.json {
                    eprintln!("round {}: {}: {name} {ns:.0} ns", round + 1, measure.name);
                }
                samples[at].push(ns);
            }
        }
        results.push((measure.name, samples.map(median)));
    }
    if args.json {
        print_json(&results)
    } else {
        print_table(&results)
    }
    Ok(0)
}

/// The median in ns of CPU a delivery of each kind, in the order of [`KINDS`].
type Medians = [Option<f64>; KINDS.len()];

fn print_table(results: &[(&str, Medians)]) {
    println!("CPU of the broker, the kernel's share included, ns a delivery (medians)");
    print!("{:<36}", "");
    for (_, name) in KINDS {
        print!("{name:>11}");
    }
    println!("{:>16}{:>20}", "ringmain/floor", "ringmain/mosquitto");
    let cell = |value: Option<f64>, digits| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
    for (name, medians) in results {
        print!("{name:<36}");
        for median in medians {
            print!("{:>11}", cell(*median, 0));
        }
        let (floor, mosquitto) = ratios(medians);
        println!("{:>16}{:>20}", cell(floor, 2), cell(mosquitto, 4));
    }
}

fn print_json(results: &[(&str, Medians)]) {
    let measures = results.iter().map(|(name, medians)| {
        let [floor, ringmain, mosquitto] = medians;
        let (by_floor, by_mosquitto) = ratios(medians);
        json!({
            "measure": name,
            "floor_ns": floor,
            "ringmain_ns": ringmain,
            "mosquitto_ns": mosquitto,
            "ringmain_by_floor": by_floor,
            "ringmain_by_mosquitto": by_mosquitto,
        })
    });
    println!("{}", Value::from_iter(measures));
}

fn ratios([floor, ringmain, mosquitto]: &Medians) -> (Option<f64>, Option<f64>) {
    let by = |other: &Option<f64>| Some((*ringmain)? / (*other)?);
    (by(floor), by(mosquitto))
}

/// Where the programs are.
struct Programs {
    floor: PathBuf,
    ringmain: Option<PathBuf>,
    mosquitto: Option<PathBuf>,
}

impl Programs {
    fn find(args: &Compare) -> Result<Programs, Box<dyn Error>> {
        let own = std::env::current_exe()?;
        let beside = |name: &str| Some(own.with_file_name(name)).filter(|path| path.exists());
        let missing = "floor is not beside ringload: `cargo build --release -p ringmain-benches`, or --floor PATH";
        let ringmain = args.ringmain.clone().or_else(|| beside("ringmain"));
        let mosquitto = args.mosquitto.clone().or_else(|| in_path("mosquitto"));
        for (program, name, what) in [
            (&ringmain, "ringmain", "`cargo build --release -p ringmain`"),
            (&mosquitto, "mosquitto", "`apt-get install mosquitto`"),
        ] {
            if program.is_none() {
                eprintln!("ringload: no {name} to compare with: {what}, or --{name} PATH");
            }
        }
        Ok(Programs { floor: args.floor.clone().or_else(|| beside("floor")).ok_or(missing)?, ringmain, mosquitto })
    }

    /// Starts a broker on its core; none where there is no such program or it has no such mode.
    fn start(&self, kind: Kind, measure: &Measure, args: &Compare) -> Result<Option<Broker>, Box<dyn Error>> {
        let core = args.broker_core.to_string();
        let mut command = Command::new("taskset");
        command.args(["-c", &core]);
        match kind {
            Kind::Floor => {
                let Some(mode) = measure.floor else { return Ok(None) };
                command.arg(&self.floor).args(["--port", "0", "--mode", mode, "--core", &core]);
                Broker::announced(command).map(Some)
            }
            Kind::Ringmain => {
                let Some(program) = &self.ringmain else { return Ok(None) };
                command.arg(program).args(["--bind", "127.0.0.1:0", "--shards", "1", "--cores", &core]);
                Broker::announced(command).map(Some)
            }
            Kind::Mosquitto => {
                let Some(program) = &self.mosquitto else { return Ok(None) };
                command.arg(program);
                Broker::mosquitto(command).map(Some)
            }
        }
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps daemons where users do not look.
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    folders.into_iter().map(|folder| folder.join(name)).find(|path| path.exists())
}

/// A running broker; it ends with its value.
struct Broker {
    child: Child,
    port: u16,
}

impl Broker {
    /// Starts a broker that says `listening on 127.0.0.1:PORT`.
    fn announced(mut command: Command) -> Result<Broker, Box<dyn Error>> {
        let (reader, writer) = io::pipe()?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let child = spawn(&mut command)?;
        drop(command);
        let mut broker = Broker { child, port: 0 };
        let mut reader = BufReader::new(reader);
        let mut said = String::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(format!("the broker ended before it listened; it said:\n{said}").into());
            }
            if let Some((_, address)) = line.split_once("listening on 127.0.0.1:") {
                let digits = address.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
                broker.port = digits.parse()?;
                break;
            }
            said.push_str(&line);
        }
        // It may say more, and must not block on that.
        thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
        Ok(broker)
    }

    /// Starts mosquitto with nothing between it and its work.
    fn mosquitto(mut command: Command) -> Result<Broker, Box<dyn Error>> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let path = std::env::temp_dir().join(format!("ringload-mosquitto-{port}.conf"));
        let settings = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\n\
             max_inflight_messages 0\npersistence false\nlog_dest none\n"
        );
        std::fs::File::create(&path)?.write_all(settings.as_bytes())?;
        command.arg("-c").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut broker = Broker { child: spawn(&mut command)?, port };
        let begun = Instant::now();
        let result = loop {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break Ok(broker);
            }
            if begun.elapsed() > START_MAX || broker.child.try_wait()?.is_some() {
                break Err(format!("mosquitto does not listen; try `mosquitto -c {}`", path.display()).into());
            }
            thread::sleep(Duration::from_millis(10));
        };
        if result.is_ok() {
            std::fs::remove_file(&path)?;
        }
        result
    }

    /// Runs the load; returns ns of CPU a delivery.
    fn load(&self, measure: &Measure, args: &Compare) -> Result<f64, Box<dyn Error>> {
        let output = Command::new(std::env::current_exe()?)
            .args(measure.load)
            .args(["--json", "--port", &self.port.to_string(), "--broker-pid", &self.child.id().to_string()])
            .args(["--core", &args.load_core.to_string(), "--seconds", &args.seconds.to_string()])
            .stderr(Stdio::inherit())
            .output()?;
        let report: Value = serde_json::from_slice(&output.stdout)
            .map_err(|_| format!("{}: the load ended with {}", measure.name, output.status))?;
        if report["valid"] != true {
            return Err(format!("{}: INVALID: {} {}", measure.name, report["faults"], report["problems"]).into());
        }
        let ns = report["traffic"]["broker"]["cpu_ns_per_delivery"].as_f64();
        ns.ok_or_else(|| format!("{}: the load reported no CPU time", measure.name).into())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = Pid::from_raw(self.child.id() as i32).map(|pid| kill_process(pid, Signal::TERM));
        let begun = Instant::now();
        while begun.elapsed() < STOP_MAX {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(command: &mut Command) -> Result<Child, Box<dyn Error>> {
    command.spawn().map_err(|error| format!("cannot start {:?}: {error}", command.get_program()).into())
}
