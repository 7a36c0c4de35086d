//! A child process that cannot outlive the tests, and what it printed.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// A running program with its output; killed when dropped.
pub struct Process {
    child: Child,
    log: Arc<Log>,
}

/// What a process has printed on both of its outputs.
#[derive(Default)]
struct Log {
    printed: Mutex<Printed>,
    changed: Condvar,
}

#[derive(Default)]
struct Printed {
    text: String,
    ended: bool,
}

impl Process {
    /// Starts a program with both outputs in one log.
    pub fn start(program: &str, args: &[String], environment: &[(String, String)]) -> Self {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        // The kernel kills the child when the thread that started it ends, so a test run that is killed leaves
        // nothing behind.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", program]).args(args).envs(environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(writer.try_clone().expect("a second handle")).stderr(writer);
        let child = spawn(command).unwrap_or_else(|error| panic!("setpriv (of util-linux) does not start: {error}"));
        let log = Arc::new(Log::default());
        let copy = Arc::clone(&log);
        thread::spawn(move || copy.fill(&mut reader));
        Self { child, log }
    }

    /// Runs a program to its end; its exit status and everything that it printed.
    pub fn run(program: &str, args: &[&str], deadline: Duration) -> (ExitStatus, String) {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut process = Self::start(program, &args, &[]);
        let status = process
            .exit(deadline)
            .unwrap_or_else(|| panic!("{program} runs on after {deadline:?}: {}", process.printed()));
        (status, process.printed())
    }

    /// Waits until a line contains `needle`; the rest of that line, or what was printed instead.
    pub fn wait_for(&self, needle: &str, deadline: Duration) -> Result<String, String> {
        let rest = self.log.wait(deadline, |printed| {
            let (_, rest) = printed.text.split_once(needle)?;
            rest.split_once('\n').map(|(line, _)| line.to_owned())
        });
        rest.ok_or_else(|| self.printed())
    }

    /// Waits for the process to end by itself.
    pub fn exit(&mut self, deadline: Duration) -> Option<ExitStatus> {
        // The log ends when the last of the process's outputs is closed.
        self.log.wait(deadline, |printed| printed.ended.then_some(()))?;
        Some(self.child.wait().expect("a child can be waited for"))
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -s {name} {} failed", self.id());
    }

    /// Kills it, as power loss would, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything printed so far.
    pub fn printed(&self) -> String {
        self.log.printed.lock().expect("no reader panics").text.clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error only says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Log {
    fn fill(&self, reader: &mut impl Read) {
        let mut chunk = [0; 4096];
        loop {
            let len = reader.read(&mut chunk).unwrap_or(0);
            let mut printed = self.printed.lock().expect("no waiter panics");
            printed.text.push_str(&String::from_utf8_lossy(&chunk[..len]));
            printed.ended = len == 0;
            self.changed.notify_all();
            if len == 0 {
                return;
            }
        }
    }

    fn wait<T>(&self, deadline: Duration, mut look: impl FnMut(&Printed) -> Option<T>) -> Option<T> {
        let end = Instant::now() + deadline;
        let mut printed = self.printed.lock().expect("no reader panics");
        loop {
            if let Some(found) = look(&printed) {
                return Some(found);
            }
            let left = end.checked_duration_since(Instant::now())?;
            if printed.ended {
                return None;
            }
            printed = self.changed.wait_timeout(printed, left).expect("no reader panics").0;
        }
    }
}

/// Starts `command` on a thread that lives as long as this process: the kernel takes the end of the starting THREAD
/// for the parent's.
fn spawn(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Sender<(Command, Sender<io::Result<Child>>)>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (requests, receiver) = channel::<(Command, Sender<io::Result<Child>>)>();
        thread::spawn(move || {
            for (mut command, answer) in receiver {
                // Who asked waits for the answer, so it is always received.
                let _ = answer.send(command.spawn());
            }
        });
        requests
    });
    let (answer, child) = channel();
    starter.send((command, answer)).expect("the starter never ends");
    child.recv().expect("the starter answers")
}
