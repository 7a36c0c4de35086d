//! What the broker's process costs, as /proc tells it.

use std::path::Path;
use std::{fs, io};

use serde::Serialize;

/// A process to watch.
#[derive(Clone, Copy)]
pub struct Process(pub u32);

/// Memory of a process in bytes (`/proc/PID/smaps_rollup`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// All resident pages.
    pub rss: u64,
    /// Resident pages that no file backs.
    pub anonymous: u64,
}

impl Process {
    /// CPU time of all threads so far, in nanoseconds (`/proc/PID/task/*/schedstat`). A thread that is running is
    /// behind by at most a scheduler tick.
    ///
    /// # Errors
    /// There is no such process, or it is somebody else's.
    pub fn cpu_ns(self) -> io::Result<u64> {
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.0)).map_err(|error| self.explain(&error))? {
            // A thread may end in between.
            total += schedstat(&task?.path()).map_or(0, |stat| stat.ran_ns);
        }
        Ok(total)
    }

    /// Memory now.
    ///
    /// # Errors
    /// As [`Process::cpu_ns`].
    pub fn memory(self) -> io::Result<Memory> {
        let text =
            fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0)).map_err(|error| self.explain(&error))?;
        Ok(Memory { rss: field(&text, "Rss:"), anonymous: field(&text, "Anonymous:") })
    }

    fn explain(self, error: &io::Error) -> io::Error {
        io::Error::new(
            error.kind(),
            format!("cannot read /proc/{} of --broker-pid: {error}; is it running, and yours?", self.0),
        )
    }
}

/// What the scheduler says of a thread.
#[derive(Clone, Copy, Debug)]
pub struct Schedstat {
    /// Nanoseconds on a core.
    pub ran_ns: u64,
    /// Nanoseconds that it waited for one.
    pub waited_ns: u64,
    /// How often it was put on one.
    pub runs: u64,
}

/// The same of the thread with this directory, `/proc/PID/task/TID` (Documentation/scheduler/sched-stats.rst); `None`: it
/// has ended.
pub fn schedstat(task: &Path) -> Option<Schedstat> {
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    let mut numbers = text.split_whitespace().map_while(|number| number.parse().ok());
    Some(Schedstat { ran_ns: numbers.next()?, waited_ns: numbers.next()?, runs: numbers.next()? })
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file's fields are found by name and are in KiB.
    #[test]
    fn smaps_fields() {
        let text = "55d0-7ffe ---p 00000000 00:00 0 [rollup]\nRss:     1234 kB\nPss: 9 kB\nAnonymous:   56 kB\n";
        assert_eq!((field(text, "Rss:"), field(text, "Anonymous:"), field(text, "Swap:")), (1_263_616, 57_344, 0));
    }

    /// This process exists, and has used both.
    #[test]
    fn own_process() {
        let own = Process(std::process::id());
        assert!(own.cpu_ns().unwrap() > 0 && own.memory().unwrap().rss > 0);
        assert!(Process(u32::MAX).cpu_ns().is_err());
    }
}
