//! Starts brokers, each on its core, in a directory of its own that lies in memory, and ends them.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::args::Suite;
use super::broker::Broker;
use super::measure::Measure;
use super::programs::Programs;

/// Time for a broker to listen, and for one to end.
const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(6);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Lines of a broker's log that an error quotes.
const QUOTED_LINES: usize = 8;

/// For ringmain: how long an idle shard of the column *spinning* looks at its queues.
const SPIN: (&str, &str) = ("RINGMAIN__KERNEL__SPIN", "50us");
/// Erlang: one scheduler that does not spin, since it shares its core with the machine's threads for input and output.
const ERLANG: &str = "+S 1:1 +SDcpu 1:1 +SDio 1 +sbwt none +sbwtdcpu none +sbwtdio none";

/// How a broker is configured, as the report prints it: flags, environment and file, `@PORT@` and the like standing for
/// what differs from run to run.
pub fn configuration(broker: Broker) -> String {
    let flags = match broker {
        Broker::Floor => "floor --port 0 --mode MODE --core CORE",
        Broker::Ringmain => "ringmain --no-persistence --bind 127.0.0.1:0 --shards 1 --cores CORE",
        Broker::RingmainSpinning => {
            "RINGMAIN__KERNEL__SPIN=50us ringmain --no-persistence --bind 127.0.0.1:0 --shards 1 --cores CORE"
        }
        Broker::RingmainTwoShards => "ringmain --no-persistence --bind 127.0.0.1:0 --shards 2 --cores CORES",
        Broker::Mosquitto => "mosquitto -c mosquitto.conf",
        Broker::NatsServer => "GOMAXPROCS=1 nats-server -c nats-server.conf",
        Broker::RabbitmqServer => &format!("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='{ERLANG}' rabbitmq-server"),
        Broker::Rumqttd => "rumqttd -q -c rumqttd.toml",
    };
    format!("# taskset -c CORE {flags}\n{}", broker.configuration().unwrap_or_default())
}

/// A running broker; it ends with its value.
pub struct Running {
    child: Child,
    /// Erlang's name server.
    companion: Option<Child>,
    port: u16,
    port_v5: u16,
    directory: TempDir,
}

impl Running {
    /// Starts a broker and waits until it listens.
    ///
    /// # Errors
    /// It does not start; the error quotes what it said.
    pub fn start(
        broker: Broker,
        measure: &Measure,
        programs: &Programs,
        args: &Suite,
    ) -> Result<Running, Box<dyn Error>> {
        let program = programs.path(broker).ok_or_else(|| format!("{} is not installed", broker.program()))?;
        let directory = directory()?;
        match broker {
            Broker::Floor | Broker::Ringmain | Broker::RingmainSpinning | Broker::RingmainTwoShards => {
                announced(own(broker, program, measure, args), directory)
            }
            _ => Peer { broker, program, programs, args, directory }.start(),
        }
    }

    /// The port for clients of MQTT 3.1.1, or of 5.0.
    pub fn port(&self, version_5: bool) -> u16 {
        if version_5 { self.port_v5 } else { self.port }
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Takes its CPU time away, or gives it back.
    ///
    /// # Errors
    /// It has ended.
    pub fn freeze(&mut self, frozen: bool) -> Result<(), Box<dyn Error>> {
        if let Some(status) = self.child.try_wait()? {
            return Err(format!("the broker ended by itself ({status}){}", quote(self.directory.path())).into());
        }
        signal(&self.child, if frozen { Signal::STOP } else { Signal::CONT });
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // There is nothing to keep, and Erlang takes long to say goodbye.
        let slow = self.companion.is_some();
        end(&mut self.child, if slow { Signal::KILL } else { Signal::TERM });
        if let Some(companion) = &mut self.companion {
            end(companion, Signal::KILL);
        }
    }
}

/// A directory in memory where there is such a thing, removed with its value.
fn directory() -> io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let builder = tempfile::Builder::new().prefix("ringload-suite-").to_owned();
    if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() }
}

/// A command on a core, which does not outlive this program (PR_SET_PDEATHSIG).
pub fn on_core(core: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", "-c", core]).arg(program);
    command.stdin(Stdio::null());
    command
}

fn own(broker: Broker, program: &Path, measure: &Measure, args: &Suite) -> Command {
    let core = args.broker_core.to_string();
    let cores = match (broker, args.second_core) {
        (Broker::RingmainTwoShards, Some(second)) => format!("{core},{second}"),
        _ => core,
    };
    let mut command = on_core(&cores, program);
    if broker == Broker::Floor {
        command.args(["--port", "0", "--core", &cores, "--mode", measure.floor.unwrap_or("fanout-send")]);
        return command;
    }
    let shards = if broker == Broker::RingmainTwoShards { "2" } else { "1" };
    // As the peers: none of them keeps anything on disk.
    command.args(["--no-persistence", "--bind", "127.0.0.1:0", "--shards", shards, "--cores", &cores]);
    if broker == Broker::RingmainSpinning {
        command.env(SPIN.0, SPIN.1);
    }
    command
}

fn announced(command: Command, directory: TempDir) -> Result<Running, Box<dyn Error>> {
    let (child, port) = listening(command)?;
    Ok(Running { child, companion: None, port, port_v5: port, directory })
}

/// Starts a broker that says `listening on 127.0.0.1:PORT`, and waits until it does.
///
/// # Errors
/// It does not; the error quotes what it said.
pub fn listening(mut command: Command) -> Result<(Child, u16), Box<dyn Error>> {
    let (reader, writer) = io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut child = spawn(&mut command)?;
    drop(command);
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut said = String::new();
        while let Ok(1..) = reader.read_line(&mut said) {
            let port = said.lines().next_back().and_then(port_of);
            if port.is_some() {
                let _ = tell.send(Ok(port));
                // It may say more, and must not block on that.
                let _ = io::copy(&mut reader, &mut io::sink());
                return;
            }
        }
        let _ = tell.send(Err(said));
    });
    let why = match told.recv_timeout(START_MAX) {
        Ok(Ok(Some(port))) => return Ok((child, port)),
        Ok(Err(said)) => format!("the broker ended before it listened; it said:\n{said}"),
        _ => format!("the broker did not listen within {} s", START_MAX.as_secs()),
    };
    end(&mut child, Signal::KILL);
    Err(why.into())
}

fn port_of(line: &str) -> Option<u16> {
    let (_, address) = line.split_once("listening on 127.0.0.1:")?;
    address.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What is needed to start another project's broker.
struct Peer<'a> {
    broker: Broker,
    program: &'a Path,
    programs: &'a Programs,
    args: &'a Suite,
    directory: TempDir,
}

impl Peer<'_> {
    fn start(self) -> Result<Running, Box<dyn Error>> {
        let [port, port_v5, other, names] = free_ports()?;
        let one_listener = self.broker != Broker::Rumqttd;
        let port_v5 = if one_listener { port } else { port_v5 };
        let directory = self.directory.path().to_owned();
        let text = self.broker.configuration().unwrap_or_default();
        let text = text.replace("@PORT@", &port.to_string()).replace("@PORT_V5@", &port_v5.to_string());
        let text = text.replace("@OTHER_PORT@", &other.to_string()).replace("@DIR@", &directory.to_string_lossy());
        let file = directory.join(if self.broker == Broker::Rumqttd { "broker.toml" } else { "broker.conf" });
        fs::write(&file, text)?;

        let mut command = on_core(&self.args.broker_core.to_string(), self.program);
        let mut companion = None;
        match self.broker {
            Broker::NatsServer => {
                command.env("GOMAXPROCS", "1").arg("-c").arg(&file);
            }
            Broker::RabbitmqServer => {
                companion = Some(self.rabbitmq(&mut command, &file, names)?);
            }
            Broker::Rumqttd => {
                command.arg("-q").arg("-c").arg(&file);
            }
            _ => {
                command.arg("-c").arg(&file);
            }
        }
        let log = File::create(directory.join("log"))?;
        command.current_dir(&directory).stdout(log.try_clone()?).stderr(log);
        let child = spawn(&mut command)?;
        let mut running = Running { child, companion, port, port_v5, directory: self.directory };
        for port in [port, port_v5] {
            wait_for(&mut running.child, port, &directory)?;
        }
        Ok(running)
    }

    /// The environment in which rabbitmq-server finds everything below the directory, and its name server.
    fn rabbitmq(&self, command: &mut Command, file: &Path, names: u16) -> Result<Child, Box<dyn Error>> {
        let directory = self.directory.path();
        let plugins = directory.join("enabled_plugins");
        fs::write(&plugins, "[rabbitmq_mqtt].\n")?;
        let mut path = self.programs.peers.join("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        command.env("PATH", &path).env("HOME", directory).env("ERL_EPMD_PORT", names.to_string());
        command.env("RABBITMQ_CONF_ENV_FILE", "/dev/null").env("RABBITMQ_NODENAME", "ringload@localhost");
        command.env("RABBITMQ_CONFIG_FILE", file).env("RABBITMQ_ENABLED_PLUGINS_FILE", &plugins);
        command.env("RABBITMQ_MNESIA_BASE", directory.join("mnesia")).env("RABBITMQ_LOG_BASE", directory.join("logs"));
        command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", ERLANG);
        // Makes the start script become the broker instead of waiting for it.
        command.env("RUNNING_UNDER_SYSTEMD", "true");
        let own = self.programs.peers.join("bin/epmd");
        let epmd = if own.exists() { own } else { PathBuf::from("epmd") };
        let mut epmd = on_core(&self.args.broker_core.to_string(), &epmd);
        epmd.args(["-address", "127.0.0.1", "-port", &names.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut epmd = spawn(&mut epmd)?;
        wait_for(&mut epmd, names, directory)?;
        Ok(epmd)
    }
}

/// Ports that nobody listens on now.
fn free_ports() -> io::Result<[u16; 4]> {
    let listeners: [io::Result<TcpListener>; 4] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; 4];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        *port = listener?.local_addr()?.port();
    }
    Ok(ports)
}

fn wait_for(child: &mut Child, port: u16, directory: &Path) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Some(status) = child.try_wait()? {
            return Err(format!("the broker ended before it listened ({status}){}", quote(directory)).into());
        }
        if begun.elapsed() > START_MAX {
            let seconds = START_MAX.as_secs();
            return Err(format!("the broker did not listen within {seconds} s{}", quote(directory)).into());
        }
        thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// The end of what a broker said.
fn quote(directory: &Path) -> String {
    let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
    let lines: Vec<_> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let quoted = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n");
    if quoted.is_empty() { "; it said nothing".to_owned() } else { format!("; it said:\n{quoted}") }
}

fn spawn(command: &mut Command) -> Result<Child, Box<dyn Error>> {
    let program = command.get_program().to_owned();
    command.spawn().map_err(|error| format!("cannot start {}: {error}", program.display()).into())
}

fn signal(child: &Child, signal: Signal) {
    let _ = Pid::from_raw(child.id() as i32).map(|pid| kill_process(pid, signal));
}

/// Ends a process, and waits for that.
pub fn end(child: &mut Child, with: Signal) {
    signal(child, with);
    let begun = Instant::now();
    while begun.elapsed() < STOP_MAX {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(LOOK_AGAIN);
    }
    let _ = child.kill();
    let _ = child.wait();
}
